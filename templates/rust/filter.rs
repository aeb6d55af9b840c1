//! A request filter: lets in the requests of known tenants.

use std::sync::OnceLock;

use serde::Deserialize;

mod wit {
    wit_bindgen::generate!({ path: "wit", world: "request-filter-plugin" });
}
use wit::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use wit::exports::headgate::plugin::request_filter::{self, Decision, HeaderOp, Reply};
use wit::headgate::plugin::request;
use wit::headgate::plugin::telemetry::{self, Level};

/// Read by the rule; `describe` asks for it.
const HEADER: &str = "x-tenant";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    tenants: Vec<String>,
    default: Option<String>,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The rule: a known tenant passes, an absent one gets the default, anything else is refused.
fn decide(settings: &Settings, tenant: Option<&[u8]>) -> Decision {
    match (tenant, &settings.default) {
        (Some(tenant), _) if settings.tenants.iter().any(|it| it.as_bytes() == tenant) => {
            Decision::Next
        }
        (None, Some(default)) => {
            Decision::Edit(vec![HeaderOp::Set((HEADER.to_string(), default.clone().into_bytes()))])
        }
        _ => Decision::Reply(Reply {
            status: 403,
            headers: vec![("content-type".to_string(), b"application/json".to_vec())],
            body: br#"{"error":"unknown tenant"}"#.to_vec(),
        }),
    }
}

struct Plugin;
wit::export!(Plugin with_types_in wit);

impl request_filter::Guest for Plugin {
    fn on_request() -> Decision {
        let settings = SETTINGS.get().expect("configure is called before");
        decide(settings, request::header(HEADER).as_deref())
    }
}

impl plugin::Guest for Plugin {
    fn describe() -> Info {
        Info {
            name: "{{name}}".to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            summary: "Lets in the requests of known tenants".to_string(),
            config_schema: Some(include_str!("../settings.schema.json").to_string()),
            example_config: Some(include_str!("../settings.example.json").to_string()),
            state_version: 0,
            wants: vec![format!("header:{HEADER}")],
            metrics: vec![],
            extra: vec![("security".to_string(), "true".to_string())],
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        // A panic ends the call with a trap, which says where; this says why.
        std::panic::set_hook(Box::new(|it| telemetry::log(Level::Error, &it.to_string())));
        let settings = serde_json::from_str(&json)
            .map_err(|it| vec![Issue { path: String::new(), message: it.to_string() }])?;
        SETTINGS.set(settings).map_err(|_| vec![])
    }

    fn self_test() -> Vec<Check> {
        let settings = Settings { tenants: vec!["blue".to_string()], default: None };
        let decision = decide(&settings, Some(b"red"));
        vec![Check {
            name: "a stranger is refused".to_string(),
            passed: matches!(&decision, Decision::Reply(it) if it.status == 403),
            message: format!("a reply with 403 was expected, this came: {decision:?}"),
        }]
    }
}
