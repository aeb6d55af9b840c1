//! Controller: checks the key itself, toggles maintenance, starts jobs, keeps the list of top stocks.

use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::SecretString;
use serde_json::json;

use super::respond;
use crate::model::UnixMs;
use crate::wire::answer::Answer;
use crate::wire::serve::Asked;

/// Any prefix stands before `/api/admin`.
pub(super) fn answer(asked: &Asked, key: &SecretString, maintenance: &AtomicBool) -> Answer {
    let segments = respond::segments(asked);
    let path: Vec<&str> =
        segments.iter().map(String::as_str).skip_while(|it| *it != "api").collect();
    let get = ["GET", "HEAD"].contains(&asked.method.as_str());
    match path.as_slice() {
        ["api", "admin", "health"] if get => respond::healthy(&respond::timestamp()),
        ["api", "admin", "maintenance", word] if get => toggle(asked, key, maintenance, word),
        ["api", "admin", "trigger-cron"] if get => trigger_cron(asked, key),
        ["api", "admin", "top-stocks"] if asked.method == "POST" => top_stocks(asked, key),
        ["api", "admin", "top-stocks"] => respond::method_not_allowed("POST"),
        ["api", "admin", "health" | "trigger-cron"] | ["api", "admin", "maintenance", _] => {
            respond::method_not_allowed("GET")
        }
        _ => respond::not_found(),
    }
}

/// `status` needs no key. Any unknown word changes nothing and answers 200: so does the original.
fn toggle(asked: &Asked, key: &SecretString, maintenance: &AtomicBool, word: &str) -> Answer {
    if word != "status" && !respond::has_key(asked, key) {
        return respond::bad_key();
    }
    if word == "on" || word == "off" {
        maintenance.store(word == "on", Ordering::Relaxed);
    }
    let status = if maintenance.load(Ordering::Relaxed) { "on" } else { "off" };
    Answer::json(200, &json!({ "status": status, "timestamp": respond::timestamp() }))
}

/// Starts a Job each time, which is why it must never be sent twice.
fn trigger_cron(asked: &Asked, key: &SecretString) -> Answer {
    if !respond::has_key(asked, key) {
        return respond::bad_key();
    }
    let job = format!("signal-check-cronjob-manual-{}", UnixMs::now().0);
    Answer::json(200, &json!({ "status": "success", "job_name": job }))
}

/// The framework reads the body before the key is looked at: a malformed one is 422 even without a key.
fn top_stocks(asked: &Asked, key: &SecretString) -> Answer {
    let body = match respond::json_body(asked) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let tickers = body.get("tickers").and_then(|it| it.as_array());
    let Some(tickers) = tickers.filter(|it| it.iter().all(serde_json::Value::is_string)) else {
        return respond::unprocessable(&["body", "tickers"], "Input should be a valid list");
    };
    if !respond::has_key(asked, key) {
        return respond::bad_key();
    }
    if tickers.is_empty() {
        return respond::detail(500, "400: Tickers list is empty");
    }
    Answer::json(200, &json!({ "status": "success", "count": tickers.len() }))
}
