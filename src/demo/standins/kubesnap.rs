//! Kubesnap: takes a diagnostic snapshot of a namespace, behind its own key check.

use secrecy::SecretString;
use serde_json::json;

use super::{Behaviour, respond};
use crate::wire::answer::Answer;
use crate::wire::serve::Asked;

/// Namespaces that the stand-in's cluster has.
const NAMESPACES: &[&str] = &["default", "dev", "kubesnap"];

pub(super) fn answer(asked: &Asked, key: &SecretString, behaviour: &Behaviour) -> Answer {
    let segments = respond::segments(asked);
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["api", "kubesnap", _] if !["GET", "HEAD"].contains(&asked.method.as_str()) => {
            respond::method_not_allowed("GET")
        }
        ["api", "kubesnap", "health"] => respond::healthy(&respond::timestamp()),
        ["api", "kubesnap", _] if !respond::has_key(asked, key) => respond::bad_key(),
        ["api", "kubesnap", namespace] => snapshot(namespace, behaviour),
        _ => respond::not_found(),
    }
}

fn snapshot(namespace: &str, behaviour: &Behaviour) -> Answer {
    if !NAMESPACES.contains(&namespace) {
        let detail = format!("namespaces \"{namespace}\" not found");
        return Answer::json(500, &json!({ "status": "error", "detail": detail }));
    }
    let now = respond::naive_timestamp();
    // Names hold colons and have a resolution of one second, as the original's.
    let name = format!("kubesnap_{namespace}_{}.zip", now.split('.').next().unwrap_or(&now));
    let name = name.replace(' ', "_");
    behaviour.take_snapshot(name.clone());
    Answer::json(
        200,
        &json!({
            "snapshot_status": "success",
            "file_name": name,
            "timestamp": respond::timestamp(),
            "upload_status": "success",
        }),
    )
}
