//! What the admin API refuses, as RFC 9457 problems.

use serde_json::{Map, Value, json};

use crate::admin::Call;
use crate::admin::query::nearest;
use crate::wire::answer::Answer;

/// A refusal of the admin API.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: u16,
    /// Stable; the end of `type`.
    code: &'static str,
    title: &'static str,
    detail: Box<str>,
    /// Further members (RFC 9457 §3.2).
    more: Vec<(&'static str, Value)>,
    header: Option<(&'static str, String)>,
}

impl Problem {
    pub(super) fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Box<str>>,
    ) -> Self {
        Self { status, code, title, detail: detail.into(), more: Vec::new(), header: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more.push((name, value));
        self
    }

    /// Says when it is worth trying again.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.header = Some(("Retry-After", seconds.to_string()));
        self
    }

    /// Never reached behind the proxy, which asks for the key first; words as the Controller's.
    pub(super) fn unauthorized() -> Self {
        let challenge = r#"ApiKey realm="headgate", header="X-API-KEY""#.to_owned();
        Self {
            header: Some(("WWW-Authenticate", challenge)),
            ..Self::new(401, "unauthorized", "Unauthorized", "Invalid or missing API Key")
        }
    }

    pub(super) fn method_not_allowed(method: &str, allowed: &[&str]) -> Self {
        let allow = allowed.join(", ");
        let detail = format!("{} does nothing here; use {allow}", shown(method));
        Self {
            header: Some(("Allow", allow)),
            ..Self::new(405, "method-not-allowed", "Method not allowed", detail)
        }
    }

    pub(super) fn unknown_endpoint(asked: &str, endpoints: &[&str]) -> Self {
        let detail = match nearest(asked, endpoints) {
            Some(it) => format!("there is no endpoint {}; did you mean {it}?", shown(asked)),
            None => format!("there is no endpoint {}", shown(asked)),
        };
        Self::new(404, "unknown-endpoint", "No such endpoint", detail)
            .with("endpoints", json!(endpoints))
    }

    /// A value that is understood by nobody.
    pub(super) fn bad_value(name: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self::new(422, "bad-parameter", "Parameter cannot be used", detail)
            .with("parameter", json!(name))
    }

    pub(super) fn answer(self, call: &Call) -> Answer {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("urn:headgate:{}", self.code)));
        body.insert("title".to_owned(), json!(self.title));
        body.insert("status".to_owned(), json!(self.status));
        body.insert("detail".to_owned(), json!(self.detail));
        body.insert("request_id".to_owned(), json!(call.request_id));
        body.extend(self.more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let mut headers = vec![("Content-Type", "application/problem+json".to_owned())];
        headers.extend(self.header);
        let body = serde_json::to_vec(&Value::Object(body)).unwrap_or_default();
        Answer { status: self.status, headers, body }
    }
}

/// What somebody sent, quoted and cut, so that it can stand in a sentence.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    format!("{cut:?}")
}
