//! Event Dispatcher: accepts health alerts; its words are those that StockFlow's own job requires.

use serde_json::{Value, json};

use super::{Behaviour, respond};
use crate::wire::answer::Answer;
use crate::wire::serve::Asked;

pub(super) fn answer(asked: &Asked, behaviour: &Behaviour) -> Answer {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET" | "HEAD", "/health") => respond::healthy(&respond::naive_timestamp()),
        ("POST", "/api/v1/health-alert") => health_alert(asked, behaviour),
        (_, "/health") => respond::method_not_allowed("GET"),
        (_, "/api/v1/health-alert") => respond::method_not_allowed("POST"),
        _ => respond::not_found(),
    }
}

/// `channels` left out means mail; `null` or an empty list is accepted and sends nothing.
fn health_alert(asked: &Asked, behaviour: &Behaviour) -> Answer {
    let body = match respond::json_body(asked) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if !body.get("issues").is_some_and(is_list_of_text) {
        return respond::unprocessable(&["body", "issues"], "Input should be a valid list");
    }
    let channels = body.get("channels").cloned().unwrap_or_else(|| json!(["email"]));
    if !channels.is_null() && !is_list_of_text(&channels) {
        return respond::unprocessable(&["body", "channels"], "Input should be a valid list");
    }
    if body.get("channel").is_some_and(|it| !it.is_string()) {
        return respond::unprocessable(&["body", "channel"], "Input should be a valid string");
    }
    behaviour.accept(body);
    Answer::json(200, &json!({ "status": "Health alert process initiated", "channels": channels }))
}

fn is_list_of_text(value: &Value) -> bool {
    value.as_array().is_some_and(|it| it.iter().all(Value::is_string))
}
