//! Answers as StockFlow's web framework words them.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::wire::answer::Answer;
use crate::wire::serve::Asked;

/// `{"detail":…}`, the framework's form of every error.
pub(super) fn detail(status: u16, detail: &str) -> Answer {
    Answer::json(status, &json!({ "detail": detail }))
}

pub(super) fn not_found() -> Answer {
    detail(404, "Not Found")
}

pub(super) fn method_not_allowed(allow: &str) -> Answer {
    detail(405, "Method Not Allowed").with("Allow", allow)
}

/// Wrong key: the Controller's and Kubesnap's words.
pub(super) fn bad_key() -> Answer {
    detail(401, "Invalid or missing API Key")
}

/// A body that does not fit the model.
pub(super) fn unprocessable(place: &[&str], message: &str) -> Answer {
    let fault = json!({ "type": "value_error", "loc": place, "msg": message });
    Answer::json(422, &json!({ "detail": [fault] }))
}

/// `{"status":"OK","timestamp":…}`.
pub(super) fn healthy(timestamp: &str) -> Answer {
    Answer::json(200, &json!({ "status": "OK", "timestamp": timestamp }))
}

/// What Signal Engine and Market Intel answer on every route while they are in maintenance themselves.
pub(super) fn in_maintenance() -> Answer {
    Answer::json(200, &json!({ "status": "Maintenance mode is enabled" }))
}

/// `2026-11-23 23:24:39.76+00:00`, as the services print it.
pub(super) fn timestamp() -> String {
    format!("{}+00:00", naive_timestamp())
}

/// The same without an offset, as the Event Dispatcher prints it.
pub(super) fn naive_timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.2f").to_string()
}

/// Whether the first `X-API-Key` is the right one (of two the framework reads the first).
pub(super) fn has_key(asked: &Asked, key: &SecretString) -> bool {
    asked.headers.get("x-api-key").is_some_and(|it| it.as_bytes() == key.expose_secret().as_bytes())
}

/// Segments of the percent-decoded path: the framework decodes before it routes.
pub(super) fn segments(asked: &Asked) -> Vec<String> {
    decoded(&asked.path).split('/').skip(1).map(str::to_owned).collect()
}

fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let value = escaped
            .and_then(|it| str::from_utf8(it).ok())
            .and_then(|it| u8::from_str_radix(it, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A path with a trailing slash is sent to the one without; `Location` is built from `Host`.
pub(super) fn without_trailing_slash(asked: &Asked) -> Option<Answer> {
    let path = asked.path.strip_suffix('/').filter(|it| !it.is_empty())?;
    let host = asked.headers.get("host").and_then(|it| it.to_str().ok()).unwrap_or("localhost");
    let answer = Answer { status: 307, headers: Vec::new(), body: Vec::new() };
    Some(answer.with("Location", format!("http://{host}{path}")))
}

/// The body as JSON, or the framework's 422.
pub(super) fn json_body(asked: &Asked) -> Result<serde_json::Value, Answer> {
    let kind =
        asked.headers.get("content-type").and_then(|it| it.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(unprocessable(&["body"], "Input should be a valid dictionary"));
    }
    serde_json::from_slice(&asked.body)
        .map_err(|error| unprocessable(&["body"], &format!("JSON decode error: {error}")))
}

/// CORS is the services' own: every origin.
pub(super) fn with_cors(answer: Answer, asked: &Asked) -> Answer {
    if asked.headers.contains_key("origin") {
        answer.with("Access-Control-Allow-Origin", "*")
    } else {
        answer
    }
}

/// The answer to OPTIONS.
pub(super) fn preflight(asked: &Asked) -> Answer {
    let wanted = asked.headers.get("access-control-request-headers");
    let headers = wanted.and_then(|it| it.to_str().ok()).unwrap_or("*").to_owned();
    let answer = Answer { status: 200, headers: Vec::new(), body: b"OK".to_vec() };
    with_cors(answer, asked)
        .with("Access-Control-Allow-Methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
        .with("Access-Control-Allow-Headers", headers)
}
