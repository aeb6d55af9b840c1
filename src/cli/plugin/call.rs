//! One call of a plugin of any kind: JSON in, JSON out, by the gate's own doors.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::model::alert::Event;
use crate::model::health::{Attrs, Saved, Window};
use crate::model::hex;
use crate::plugin::facts::{Fact, Facts};
use crate::plugin::host::{Component, FilterDecision, HeaderOp, Instance};
use crate::plugin::{Called, Fault, Info, Kind, Said, Spent};

/// Headers that no star grants.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

/// What a plugin is called with.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Window(Box<Window>),
    Event(Box<Event>),
    Request(Box<Request>),
}

/// A request as a filter sees it, in JSON; every member has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Request {
    method: String,
    path: String,
    query: Option<String>,
    authority: String,
    client: String,
    route: String,
    id: String,
    now_ms: u64,
    key_name: Option<String>,
    /// Pairs of name and value; those that are not granted are not seen.
    headers: Attrs,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: None,
            authority: "localhost".to_owned(),
            client: "127.0.0.1".to_owned(),
            route: "0".to_owned(),
            id: "0".to_owned(),
            now_ms: 1_767_225_600_000,
            key_name: None,
            headers: Vec::new(),
        }
    }
}

impl Input {
    /// Reads what a plugin of this kind is called with.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub(super) fn read(kind: Kind, json: &Value) -> Result<Self, String> {
        let what = match kind {
            Kind::Policy => "a window (health-policy.input)",
            Kind::Formatter => "an event (alert-formatter.event)",
            Kind::Filter => "a request",
        };
        let read = match kind {
            Kind::Policy => Window::deserialize(json).map(|it| Self::Window(Box::new(it))),
            Kind::Formatter => Event::deserialize(json).map(|it| Self::Event(Box::new(it))),
            Kind::Filter => Request::deserialize(json).map(|it| Self::Request(Box::new(it))),
        };
        read.map_err(|error| format!("the input of a {} is {what} in JSON: {error}", kind.word()))
    }
}

/// What came of a call.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The verdict, message (null: suppressed) or decision; of a fault `{fault, message}`.
    pub(super) json: Value,
    pub(super) fault: Option<Fault>,
    pub(super) spent: Spent,
    pub(super) said: Said,
    /// A policy's new memory.
    pub(super) state: Option<Vec<u8>>,
}

impl Answer {
    fn of<T>(called: Called<T>, json: impl FnOnce(&T) -> Value) -> Self {
        let Called { outcome, spent, said } = called;
        let (json, fault) = match outcome {
            Ok(it) => (json(&it), None),
            Err(fault) => (fault_json(&fault), Some(fault)),
        };
        Self { json, fault, spent, said, state: None }
    }

    /// What must be the same when the call is made again.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        self.json == other.json && self.said == other.said
    }
}

/// A fault as an answer.
pub(super) fn fault_json(fault: &Fault) -> Value {
    json!({ "fault": fault.label(), "message": fault.to_string() })
}

/// Calls in a fresh instance.
pub(super) fn fresh(
    component: &Component,
    settings: &str,
    input: &Input,
    prior: Option<&Saved>,
) -> Answer {
    match input {
        Input::Window(window) => {
            let called = component.evaluate(settings, window, prior);
            let state = called.outcome.as_ref().ok().and_then(|it| it.state.clone());
            Answer { state, ..Answer::of(called, plain) }
        }
        Input::Event(event) => Answer::of(component.format(settings, event), plain),
        Input::Request(request) => {
            let begin = Instant::now();
            let mut answer = match component.instance(settings) {
                Ok(mut instance) => reused(&mut instance, component.info(), request),
                Err(fault) => failed(fault),
            };
            answer.spent.time = begin.elapsed();
            answer
        }
    }
}

/// Calls a filter's instance, which may have been called before.
pub(super) fn reused(instance: &mut Instance, info: &Info, request: &Request) -> Answer {
    let mut said = Said::default();
    let mut facts = facts(request, info);
    let (begin, fuel) = (Instant::now(), instance.fuel());
    let outcome = instance.on_request(&mut facts, &mut said);
    let time = begin.elapsed();
    let fuel = instance.fuel().zip(fuel).map(|(after, before)| after.saturating_sub(before));
    let spent = Spent { time, memory_bytes: instance.memory_bytes(), fuel };
    Answer::of(Called { outcome, spent, said }, decision)
}

fn failed(fault: Fault) -> Answer {
    let nothing =
        Called::<()> { outcome: Err(fault), spent: Spent::default(), said: Said::default() };
    Answer::of(nothing, |()| Value::Null)
}

fn plain(value: &impl serde::Serialize) -> Value {
    // Nothing of the model has keys that are no text.
    serde_json::to_value(value).unwrap_or_default()
}

/// The request with what the plugin wants granted, as an operator would who grants it everything.
pub(super) fn facts(request: &Request, info: &Info) -> Facts {
    let mut facts = Facts::default();
    facts.now_ms = request.now_ms;
    let texts = [
        (Fact::Method, Some(&request.method)),
        (Fact::Path, Some(&request.path)),
        (Fact::Query, request.query.as_ref()),
        (Fact::Authority, Some(&request.authority)),
        (Fact::Client, Some(&request.client)),
        (Fact::Route, Some(&request.route)),
        (Fact::Id, Some(&request.id)),
        (Fact::KeyName, request.key_name.as_ref()),
    ];
    for (fact, text) in texts {
        if let Some(text) = text {
            facts.set(fact, text.as_bytes());
        }
    }
    for (name, value) in &request.headers {
        if granted(info, name) {
            facts.add_header(name.as_bytes(), value.as_bytes());
        }
    }
    facts
}

fn granted(info: &Info, name: &str) -> bool {
    let wanted = info.wants.iter().filter_map(|it| it.strip_prefix("header:"));
    let credential = CREDENTIALS.iter().any(|it| it.eq_ignore_ascii_case(name));
    wanted.into_iter().any(|it| it.eq_ignore_ascii_case(name) || (it == "*" && !credential))
}

/// As `request-filter.decision` is written: the case's name, or an object of it and its value.
fn decision(decision: &FilterDecision) -> Value {
    match decision {
        FilterDecision::Next => json!("next"),
        FilterDecision::Edit(edits) => {
            json!({ "edit": edits.iter().map(edit).collect::<Vec<_>>() })
        }
        FilterDecision::Reply(reply) => {
            let headers = reply.headers.iter().map(|(name, value)| json!([name, text(value)]));
            let headers: Vec<Value> = headers.collect();
            json!({ "reply": { "status": reply.status, "headers": headers, "body": text(&reply.body) } })
        }
    }
}

fn edit(edit: &HeaderOp) -> Value {
    match edit {
        HeaderOp::Set(name, value) => json!({ "set": [name, text(value)] }),
        HeaderOp::Append(name, value) => json!({ "append": [name, text(value)] }),
        HeaderOp::Remove(name) => json!({ "remove": name }),
    }
}

/// Bytes as text where they are UTF-8, else in hex.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(wants: &[&str]) -> Info {
        Info {
            name: "x".to_owned(),
            version: String::new(),
            summary: String::new(),
            config_schema: None,
            example_config: None,
            state_version: 0,
            wants: wants.iter().map(|it| (*it).to_owned()).collect(),
            metrics: Vec::new(),
            extra: Vec::new(),
        }
    }

    #[test]
    fn inputs_are_of_the_kind_or_refused_with_what_was_expected() {
        let window = json!({ "now-ms": 1, "service": { "name": "a" }, "current": "ok", "since-ms": 0, "samples": [] });
        let event = json!({ "now-ms": 1, "id": "i", "phase": "opened", "severity": "info", "service": { "name": "a" }, "old": "ok", "new": "failing", "code": "c" });
        let request = json!({ "path": "/a", "headers": [["x", "y"]] });
        let kinds = [Kind::Policy, Kind::Formatter, Kind::Filter];
        for (good, json) in [window, event, request].iter().enumerate() {
            for (index, kind) in kinds.iter().enumerate() {
                assert_eq!(Input::read(*kind, json).is_ok(), index == good, "{kind:?} {json}");
            }
        }
        let error = Input::read(Kind::Filter, &json!({ "pth": "/" })).unwrap_err();
        assert!(error.contains("pth") && error.contains("path"), "{error}");
    }

    #[test]
    fn only_wanted_headers_are_seen_and_a_star_covers_no_credentials() {
        let headers = ["X-Tenant", "x-other", "Cookie", "X-Api-Key"];
        let rows = [
            (vec![], vec![]),
            (vec!["header:x-tenant"], vec!["X-Tenant"]),
            (vec!["header:*"], vec!["X-Tenant", "x-other"]),
            (vec!["header:*", "header:cookie"], vec!["X-Tenant", "x-other", "Cookie"]),
            (vec!["action:alert"], vec![]),
        ];
        for (wants, seen) in rows {
            let info = info(&wants);
            let got: Vec<&str> = headers.iter().copied().filter(|it| granted(&info, it)).collect();
            assert_eq!(got, seen, "{wants:?}");
        }
    }

    #[test]
    fn decisions_read_as_in_the_wit() {
        let reply = crate::plugin::host::FilterReply {
            status: 403,
            headers: vec![("a".to_owned(), b"b".to_vec())],
            body: vec![0xff],
        };
        let rows = [
            (FilterDecision::Next, json!("next")),
            (
                FilterDecision::Edit(vec![
                    HeaderOp::Set("a".to_owned(), b"b".to_vec()),
                    HeaderOp::Remove("c".to_owned()),
                ]),
                json!({ "edit": [{ "set": ["a", "b"] }, { "remove": "c" }] }),
            ),
            (
                FilterDecision::Reply(reply),
                json!({ "reply": { "status": 403, "headers": [["a", "b"]], "body": { "hex": "ff" } } }),
            ),
        ];
        for (given, expected) in rows {
            assert_eq!(decision(&given), expected);
        }
    }
}
