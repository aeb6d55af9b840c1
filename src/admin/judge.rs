//! `plugins/judge` and `plugins/format`: what acts for a service or for alerts answers to data that the caller brings.
//!
//! Nothing is sent and nothing is snapshot. A policy answers from its memory as it is, and does not remember the try.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admin::problem::{Problem, shown};
use crate::admin::query::Query;
use crate::admin::{Admin, Call};
use crate::model::alert::Event;
use crate::model::health::Window;
use crate::plugin::{Digest, Fault};

impl Admin {
    /// The verdict of a service's policy on the window in the body.
    pub(super) async fn judge(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["service"])?;
        let Some(service) = query.one("service")? else {
            return Err(Problem::bad_value("service", "name the service: ?service=NAME"));
        };
        let generation = Arc::clone(&self.parts.live.load().generation);
        let policies = &generation.plugins.policies;
        let Some(policy) = policies.iter().find(|it| it.service == service) else {
            let detail = format!("there is no service {}", shown(service));
            return Err(Problem::bad_value("service", detail));
        };
        let window: Window = read(call, "window")?;
        let judged = policy.try_out(Arc::new(window)).await;
        Ok(told("verdict", &json!(judged.verdict), judged.by, judged.fault.as_ref()))
    }

    /// The words of the acting formatter for the event in the body; `message: null` is a suppressed one.
    pub(super) async fn format(&self, call: &Call) -> Result<Value, Problem> {
        Query::parse(call.query.as_deref())?.only(&[])?;
        let generation = Arc::clone(&self.parts.live.load().generation);
        let event: Event = read(call, "event")?;
        let formatted = generation.plugins.formatter.format(Arc::new(event)).await;
        Ok(told("message", &json!(formatted.message), formatted.by, formatted.fault.as_ref()))
    }
}

fn read<T: DeserializeOwned>(call: &Call, what: &'static str) -> Result<T, Problem> {
    serde_json::from_slice(&call.body).map_err(|error| {
        let detail = format!("the body is no {what} as in wit/ (names in kebab-case): {error}");
        Problem::bad_value("body", detail)
    })
}

fn told(name: &str, answer: &Value, by: Option<Digest>, fault: Option<&Fault>) -> Value {
    let fault = fault.map(|it| json!({ "outcome": it.label(), "message": it.to_string() }));
    let acts = if by.is_some() { "component" } else { "native" };
    json!({ name: answer, "by": acts, "digest": by, "fault": fault })
}
