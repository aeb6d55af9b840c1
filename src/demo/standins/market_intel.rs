//! Market Intel: health and a chat whose caller reads the first key of the answer.

use serde_json::json;

use super::respond;
use crate::wire::answer::Answer;
use crate::wire::serve::Asked;

pub(super) fn answer(asked: &Asked, is_maintained: bool) -> Answer {
    if is_maintained {
        return respond::in_maintenance();
    }
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET" | "HEAD", "/health") => respond::healthy(&respond::timestamp()),
        ("POST", "/chat") => chat(asked),
        (_, "/health") => respond::method_not_allowed("GET"),
        (_, "/chat") => respond::method_not_allowed("POST"),
        _ => respond::without_trailing_slash(asked).unwrap_or_else(respond::not_found),
    }
}

fn chat(asked: &Asked) -> Answer {
    let body = match respond::json_body(asked) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let Some(prompt) = body.get("prompt").and_then(|it| it.as_str()) else {
        return respond::unprocessable(&["body", "prompt"], "Field required");
    };
    let result = format!("A stand-in has no opinion on {} characters.", prompt.chars().count());
    Answer::json(200, &json!({ "result": result, "timestamp": respond::timestamp() }))
}
