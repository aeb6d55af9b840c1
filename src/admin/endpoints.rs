//! All endpoints in one table: what dispatch admits, what a wrong name is met with, what `openapi.json` tells.

use crate::admin::problem::Problem;
use crate::admin::{Call, acting, asking, meant, plugins};

/// How a call must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It changes nothing.
    Asks,
    /// It changes something, and what it says it says in the query.
    Acts,
    /// It has a body; nobody's page may make it.
    Means,
}

/// What an endpoint takes in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// A component.
    Wasm,
    /// JSON of this schema.
    Json(&'static str),
}

/// A value in the query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// `string`, `integer` or `boolean`.
    pub(super) kind: &'static str,
    pub(super) what: &'static str,
}

/// One endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    /// Below `{prefix}/api/admin/`; `{id}` is one segment.
    pub(super) path: &'static str,
    pub(super) methods: &'static [&'static str],
    pub(super) manner: Manner,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Body,
    /// Schema of the answer in `openapi.json`.
    pub(super) answer: &'static str,
    pub(super) summary: &'static str,
}

pub(super) const STATUS: &str = "maintenance/status";
pub(super) const EVENTS: &str = "headgate/events";
pub(super) const INCIDENT: &str = "headgate/incidents/{id}";

const GET: &[&str] = &["GET", "HEAD"];
const POST: &[&str] = &["POST"];

const fn text(name: &'static str, what: &'static str) -> Parameter {
    Parameter { name, kind: "string", what }
}

const fn number(name: &'static str, what: &'static str) -> Parameter {
    Parameter { name, kind: "integer", what }
}

const fn flag(name: &'static str, what: &'static str) -> Parameter {
    Parameter { name, kind: "boolean", what }
}

const fn asks(path: &'static str, answer: &'static str, summary: &'static str) -> Endpoint {
    Endpoint {
        path,
        methods: GET,
        manner: Manner::Asks,
        parameters: &[],
        body: Body::None,
        answer,
        summary,
    }
}

const fn acts(path: &'static str, answer: &'static str, summary: &'static str) -> Endpoint {
    Endpoint { methods: POST, manner: Manner::Acts, ..asks(path, answer, summary) }
}

const fn means(
    (path, body): (&'static str, Body),
    answer: &'static str,
    summary: &'static str,
) -> Endpoint {
    Endpoint { manner: Manner::Means, body, ..acts(path, answer, summary) }
}

const SERVICE: Parameter = text("service", "name of a service");
const SINK: Parameter = text("sink", "name of a sink");
const PLUGIN: Parameter = text("plugin", "name of a plugin");

/// All of them.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        methods: &["GET", "POST"],
        parameters: &[
            text("service", "only this service; may be repeated"),
            text("ttl", "end by itself after this time: 90s, 30m, 2h"),
            text("until", "`healthy`: end as soon as the probes see the service well"),
            text("reason", "why; shown in the status and kept in the audit file"),
            text("drain", "wait at most this long for what runs, then close tunnels"),
        ],
        ..acts("maintenance/on", "Toggled", "Switches maintenance on.")
    },
    Endpoint {
        methods: &["GET", "POST"],
        parameters: &[text("service", "only this service; may be repeated")],
        ..acts("maintenance/off", "Toggled", "Switches maintenance off.")
    },
    Endpoint {
        methods: &["GET", "HEAD", "POST"],
        ..asks(
            STATUS,
            "Maintenance",
            "Says what is in maintenance. Unknown parameters are passed over.",
        )
    },
    Endpoint {
        parameters: &[text("service", "only this service")],
        ..asks(
            "headgate/health",
            "Health",
            "The gate's own state, what it thinks of each service, stores and sinks, and everything that is in trouble, \
             with the time of the next try.",
        )
    },
    Endpoint {
        parameters: &[
            SERVICE,
            flag("open", "only those that are open, or only those that are over"),
            number("limit", "at most, 1 to 1000; 50 unless told"),
        ],
        ..asks(
            "headgate/incidents",
            "Incidents",
            "Open incidents first, then the newest; without timelines.",
        )
    },
    asks(INCIDENT, "IncidentAnswer", "One incident with its timeline and evidence."),
    Endpoint {
        parameters: &[
            SINK,
            flag("dead", "only what was refused for good or given up, or only what waits"),
            number("number", "only this one, with the words that go out; needs `sink`"),
            number("limit", "at most, 1 to 1000; 100 unless told"),
        ],
        ..asks("headgate/outbox", "Outbox", "What has to be delivered, and how the sinks are.")
    },
    Endpoint {
        parameters: &[SINK, number("number", "this one"), flag("dead", "all that are dead")],
        ..acts(
            "headgate/outbox/retry",
            "Acted",
            "Sends again: `sink` and `number`, or all dead ones.",
        )
    },
    Endpoint {
        parameters: &[SINK, number("number", "this one"), flag("dead", "all that are dead")],
        ..acts(
            "headgate/outbox/drop",
            "Acted",
            "Deletes undelivered: `sink` and `number`, or all dead ones.",
        )
    },
    Endpoint {
        parameters: &[
            SERVICE,
            text(
                "since",
                "how far back (24h) or unix milliseconds; everything that is kept unless told",
            ),
            text("after", "`next` of the page before"),
            number("limit", "at most, 1 to 2000; 500 unless told"),
        ],
        ..asks(
            "headgate/observations",
            "Observations",
            "What was seen and judged, oldest first, page by page.",
        )
    },
    Endpoint {
        parameters: &[text("sink", "only this sink; may be repeated")],
        ..acts(
            "headgate/alerts/test",
            "Tested",
            "Sends a test alert and waits for the receivers' answers.",
        )
    },
    Endpoint {
        parameters: &[text("incident", "words for this incident instead of the body's event")],
        ..means(
            ("headgate/alerts/preview", Body::Json("Event")),
            "Preview",
            "The words for an event, and what would go to which sink; sends nothing.",
        )
    },
    Endpoint {
        methods: &["GET"],
        ..asks(
            EVENTS,
            "Events",
            "Server-sent events. Nothing is sent again: `Last-Event-ID` is not looked at. Who lags is told by `event: lost`.",
        )
    },
    asks("headgate/openapi.json", "OpenApi", "This document."),
    asks(
        "headgate/config",
        "Config",
        "The live generation, and what came of the last attempt to replace it.",
    ),
    acts("headgate/reload", "Reloaded", "Reads the config again, now."),
    asks("headgate/keys", "Keys", "Names and validity of keys."),
    Endpoint {
        parameters: &[number("limit", "at most, 1 to 1000; 50 unless told")],
        ..asks("headgate/audit", "Audit", "Who changed what.")
    },
    asks("headgate/plugins", "Plugins", "What decides here."),
    Endpoint {
        parameters: &[PLUGIN],
        ..asks("headgate/plugins/logs", "PluginLog", "The last lines that a plugin logged.")
    },
    Endpoint {
        parameters: &[SERVICE, number("limit", "the newest so many, 1 to 256; 1 unless told")],
        ..asks(
            "headgate/plugins/windows",
            "Windows",
            "Windows of a service as its policy saw them, oldest first.",
        )
    },
    Endpoint {
        parameters: &[
            PLUGIN,
            text("sha256", "refuse other bytes"),
            flag("shadow", "only beside what acts"),
            flag("dryRun", "prove and tell, change nothing"),
        ],
        ..means((plugins::PUSH, Body::Wasm), "Acted", "Proves a component and lets it act.")
    },
    Endpoint {
        parameters: &[PLUGIN, text("to", "`previous` or `config`")],
        ..acts("headgate/plugins/rollback", "Acted", "Goes back to an earlier component.")
    },
    Endpoint {
        parameters: &[PLUGIN],
        ..acts("headgate/plugins/promote", "Acted", "Lets the shadow act.")
    },
    Endpoint {
        parameters: &[SERVICE],
        ..means(
            ("headgate/plugins/judge", Body::Json("Window")),
            "Judged",
            "The verdict of a service's policy on a window. A try-out: nothing is told, snapshot, recorded or remembered.",
        )
    },
    means(
        ("headgate/plugins/format", Body::Json("Event")),
        "Formatted",
        "The words of the acting formatter for an event; sends nothing.",
    ),
];

impl Endpoint {
    /// Refuses a call that is not made as this endpoint wants it.
    pub(super) fn admit(&self, call: &Call) -> Result<(), Problem> {
        match self.manner {
            Manner::Asks => asking(call, self.methods),
            Manner::Acts => acting(call, self.methods),
            Manner::Means => meant(call, self.methods),
        }
    }
}

/// The endpoint that a path is about, and what stands for `{id}`.
pub(super) fn find(path: &str) -> Result<(&'static Endpoint, &str), Problem> {
    let exact = ENDPOINTS.iter().find(|it| it.path == path).map(|it| (it, ""));
    let found = exact.or_else(|| {
        ENDPOINTS.iter().find_map(|it| {
            let id = path.strip_prefix(it.path.strip_suffix("{id}")?)?;
            (!id.is_empty() && !id.contains('/')).then_some((it, id))
        })
    });
    found.ok_or_else(|| {
        let names: Vec<&str> = ENDPOINTS.iter().map(|it| it.path).collect();
        Problem::unknown_endpoint(path, &names)
    })
}
