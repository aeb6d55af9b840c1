//! The written config becomes a valid one: every check that needs more than one word.

mod access;
mod alerts;
mod clock;
mod health;
mod keys;
pub(super) mod listeners;
mod numbers;
mod plugins;
mod probe;
mod query;
mod routes;
mod services;
mod sinks;
mod urls;
pub(super) mod words;

use std::path::{Path, PathBuf};

use super::findings::{Problem, Problems, nearest};
use super::raw::{self, Opt};
use super::shapes::At;
use super::tree::{NodeId, Tree};
use super::{Config, Cors, Log, defaults};

/// Lowers a document. What is wrong goes to the problems; the config is only good when no error is among them.
pub(super) fn lower(document: &At<raw::Document>, cx: &Cx<'_>) -> Option<Config> {
    let raw = document.value.as_ref()?;
    let prefix = routes::prefix(raw, cx);
    let names = services::names(raw, cx);
    let admin = raw.admin.as_ref().and_then(|it| it.value.as_ref());
    let keys = keys::keys(raw, cx);
    let known = plugins::Known::of(raw, cx);
    let config = Config {
        listeners: listeners::listeners(raw, cx, &keys),
        trusted_proxies: listeners::trusted_proxies(raw, cx),
        cores: numbers::cores(raw, cx),
        state_dir: state_dir(raw, cx),
        services: services::services(raw, cx, (&known, &prefix)),
        routes: routes::routes(
            document.id,
            raw,
            cx,
            routes::Around { prefix: &prefix, names: &names, plugins: &known },
        ),
        keys,
        admin_service: admin.and_then(|it| cx.service(&it.service, &names)),
        admin_on_data: true,
        status_needs_key: admin.is_some_and(|it| cx.or(&it.status_needs_key, false)),
        maintenance: numbers::maintenance(raw, cx),
        cors: cors(raw, cx),
        limits: numbers::limits(raw, cx),
        timeouts: numbers::timeouts(raw, cx),
        log: log(raw, cx),
        plugins: plugins::plugins(raw, cx),
        formatter: plugins::formatter(raw, cx, &known),
        alerts: alerts::alerts(raw, cx, &names),
        prefix,
    };
    access::check(raw, cx, &config);
    services::refuse_loops(raw, cx, &config);
    plugins::warn_unused(raw, cx, &config.plugin_uses());
    if raw.services.is_none() {
        cx.missing(document.id, "services", "at least one service");
    }
    Some(config)
}

/// What every part of the lowering needs.
#[derive(Debug)]
pub(super) struct Cx<'t> {
    pub(super) tree: &'t Tree,
    pub(super) problems: &'t Problems,
    /// Folder of the config file: relative paths start there.
    pub(super) folder: &'t Path,
}

impl Cx<'_> {
    fn error(&self, id: NodeId, message: impl Into<String>) -> Problem {
        Problem::error(self.tree.spot(id), message)
    }

    fn warning(&self, id: NodeId, message: impl Into<String>) -> Problem {
        Problem::warning(self.tree.spot(id), message)
    }

    fn push(&self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Says that a field is missing below a node.
    fn missing(&self, parent: NodeId, field: &str, expected: &str) {
        let message = format!("field `{field}` is missing");
        self.push(Problem::error(self.tree.label(parent), message).expected(expected));
    }

    /// The value, or the default where it is left out or bad (then it has been noted).
    fn or<T: Copy>(&self, field: &Opt<T>, default: T) -> T {
        field.as_ref().and_then(|it| it.value).unwrap_or(default)
    }

    /// The value with its node; notes when it is left out.
    fn required<'r, T>(
        &self,
        parent: NodeId,
        field: &'r Opt<T>,
        says: (&str, &str),
    ) -> Option<(NodeId, &'r T)> {
        let Some(at) = field else {
            self.missing(parent, says.0, says.1);
            return None;
        };
        at.value.as_ref().map(|it| (at.id, it))
    }

    /// What a word means, or a note why it means nothing.
    fn word<T>(&self, at: &At<String>, read: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        let text = at.value.as_deref()?;
        match read(text) {
            Ok(it) => Some(it),
            Err(wrong) => {
                self.push(
                    self.error(at.id, wrong.message)
                        .expected(wrong.expected)
                        .nearest(wrong.nearest),
                );
                None
            }
        }
    }

    /// The service that a field names.
    fn service(&self, field: &Opt<String>, names: &[String]) -> Option<crate::model::ServiceId> {
        let at = field.as_ref()?;
        let name = at.value.as_deref()?;
        let index = names.iter().position(|it| it == name);
        if index.is_none() {
            let candidates = names.iter().map(String::as_str);
            let known: Vec<&str> = candidates.clone().collect();
            let expected = match known.as_slice() {
                [] => String::from("a name under `services`"),
                some => super::decode::one_of(some),
            };
            self.push(
                self.error(at.id, format!("there is no service `{name}`"))
                    .expected(expected)
                    .nearest(nearest(name, candidates)),
            );
        }
        index.map(crate::model::ServiceId)
    }

    /// A path of the config, relative to its folder.
    fn path(&self, text: &str) -> PathBuf {
        words::within(self.folder, text)
    }
}

/// Why a word is refused.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) expected: String,
    pub(super) nearest: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { message: message.into(), expected: expected.into(), nearest: None }
    }

    fn nearest(self, word: impl Into<String>) -> Self {
        Self { nearest: Some(word.into()), ..self }
    }
}

fn state_dir(raw: &raw::Document, cx: &Cx<'_>) -> PathBuf {
    let Some(at) = raw.state.as_ref() else { return cx.path(defaults::STATE) };
    let text = at.value.as_deref().unwrap_or(defaults::STATE);
    if text.is_empty() {
        cx.push(
            cx.error(at.id, "the path is empty").expected("a directory, for example `./state`"),
        );
    }
    cx.path(text)
}

fn cors(raw: &raw::Document, cx: &Cx<'_>) -> Option<Cors> {
    let at = raw.cors.as_ref()?;
    let cors = at.value.as_ref()?;
    let says = ("origins", "origins such as `https://app.example`, or `*`");
    let (id, origins) = cx.required(at.id, &cors.origins, says)?;
    if origins.0.is_empty() {
        cx.push(cx.error(id, "the list is empty").expected(says.1));
    }
    let read: Vec<String> = origins.0.iter().filter_map(|it| cx.word(it, words::origin)).collect();
    let any = origins.0.iter().find(|it| it.value.as_deref() == Some("*"));
    let credentials = cx.or(&cors.credentials, false);
    if let Some(any) = any {
        if origins.0.len() > 1 {
            cx.push(
                cx.error(any.id, "`*` stands beside other origins")
                    .expected("`*` alone, or a list without it"),
            );
        }
        if credentials {
            let id = cors.credentials.as_ref().map_or(any.id, |it| it.id);
            let message = "credentials for every origin: any page could act as its visitor";
            cx.push(cx.error(id, message).expected("a list of origins, or `credentials: false`"));
        }
    }
    Some(Cors { origins: read, credentials })
}

fn log(raw: &raw::Document, cx: &Cx<'_>) -> Log {
    let Some(log) = raw.log.as_ref().and_then(|it| it.value.as_ref()) else { return defaults::LOG };
    Log {
        access: cx.or(&log.access, defaults::LOG.access),
        ring_lines: cx.count(&log.ring_lines, (1, 1_000_000), defaults::LOG.ring_lines),
    }
}
