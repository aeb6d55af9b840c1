//! Writes a refusal as problem, JSON, HTML page or gRPC status.

use std::fmt::Write as _;

use serde::Serialize;

use crate::proxy::reject::{Asked, Reject, vary};
use crate::semantics::class::Class;
use crate::semantics::negotiate::{self, Form};
use crate::wire::answer::Answer;

/// Longest path that is repeated in a problem's `instance`.
const INSTANCE_BYTES_MAX: usize = 1024;

/// The answer to a caller, in the form it can read: gRPC callers read nothing but a gRPC status.
pub(crate) fn for_caller(reject: &Reject, asked: &Asked<'_>) -> Answer {
    match grpc_media(asked) {
        Some(media) => grpc(reject, asked, media),
        None => document(reject, asked, reject.status(asked.config)),
    }
}

/// The answer as a document with this status, in the form that `Accept` prefers.
pub(crate) fn document(reject: &Reject, asked: &Asked<'_>, status: u16) -> Answer {
    let accept = asked.head.and_then(|it| it.first(Class::Accept));
    let is_maintenance = matches!(reject, Reject::Maintenance { .. });
    let default = if is_maintenance { Form::Json } else { Form::Problem };
    let (body, media) = match negotiate::form(accept, default) {
        Form::Html => (html(reject, asked, status).into_bytes(), "text/html; charset=utf-8"),
        Form::Json if is_maintenance => (stockflow(reject, asked), "application/json"),
        Form::Json => (problem(reject, asked, status), "application/json"),
        Form::Problem => (problem(reject, asked, status), "application/problem+json"),
    };
    let mut answer = Answer { status, headers: vec![("Content-Type", media.to_owned())], body }
        .with("X-Content-Type-Options", "nosniff");
    if media.starts_with("text/html") {
        answer = answer.with(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        );
    }
    vary(&mut answer, "Accept");
    answer
}

/// What StockFlow's services answer in maintenance, and more behind it.
#[derive(Debug, Serialize)]
struct StockFlow<'a> {
    status: &'static str,
    message: &'static str,
    #[serde(flatten)]
    window: Facts<'a>,
    request_id: &'a str,
}

/// What is told about a maintenance. Who switched it on is for key holders.
#[derive(Debug, Serialize)]
struct Facts<'a> {
    service: &'a str,
    since: String,
    retry_after: u64,
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// RFC 9457 §3.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    window: Option<Facts<'a>>,
    request_id: &'a str,
}

fn facts<'a>(reject: &'a Reject, asked: &Asked<'_>) -> Option<Facts<'a>> {
    let Reject::Maintenance { service, window } = reject else { return None };
    Some(Facts {
        service,
        since: window.since.rfc3339(),
        retry_after: reject.retry_after(asked).unwrap_or(1),
        until: window.until.map(|it| it.rfc3339()),
        reason: window.reason.as_deref(),
    })
}

fn stockflow(reject: &Reject, asked: &Asked<'_>) -> Vec<u8> {
    let Some(window) = facts(reject, asked) else { return Vec::new() };
    let status = "Maintenance mode is enabled";
    let message = "Maintenance mode enabled";
    to_json(&StockFlow { status, message, window, request_id: asked.request_id })
}

fn problem(reject: &Reject, asked: &Asked<'_>, status: u16) -> Vec<u8> {
    to_json(&Problem {
        kind: format!("urn:headgate:{}", reject.code()),
        title: reject.title(status),
        status,
        detail: &reject.detail(),
        instance: asked.head.map(|it| it.raw_path).filter(|it| it.len() <= INSTANCE_BYTES_MAX),
        window: facts(reject, asked),
        request_id: asked.request_id,
    })
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    // Cannot fail: strings and numbers only. An empty body would still be framed and have its status.
    serde_json::to_vec(body).unwrap_or_default()
}

fn html(reject: &Reject, asked: &Asked<'_>, status: u16) -> String {
    let title = Escaped(reject.title(status));
    let detail = reject.detail();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"robots\" content=\"noindex\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem}}\
         small{{opacity:.7}}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n",
        Escaped(&detail)
    );
    if let Some(window) = facts(reject, asked) {
        if let Some(reason) = window.reason {
            let _ = writeln!(page, "<p>{}</p>", Escaped(reason));
        }
        if let Some(until) = window.until {
            let _ = writeln!(page, "<p>Expected to end at {}.</p>", Escaped(&until));
        }
    }
    let _ = writeln!(
        page,
        "<p><small>Status {status}, request {}</small></p>",
        Escaped(asked.request_id)
    );
    page.push_str("</body>\n</html>\n");
    page
}

/// Text inside HTML, also inside quoted attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|it| match it {
            '&' => out.write_str("&amp;"),
            '<' => out.write_str("&lt;"),
            '>' => out.write_str("&gt;"),
            '"' => out.write_str("&quot;"),
            '\'' => out.write_str("&#39;"),
            _ => out.write_char(it),
        })
    }
}

/// Trailers-only (gRPC over HTTP/2, "Responses"): 200 without a body, the status in the fields.
fn grpc(reject: &Reject, asked: &Asked<'_>, media: String) -> Answer {
    let message = match facts(reject, asked).and_then(|it| it.reason) {
        Some(reason) => format!("{}: {reason}", reject.detail()),
        None => reject.detail().into_owned(),
    };
    Answer { status: 200, headers: vec![("Content-Type", media)], body: Vec::new() }
        .with("Grpc-Status", grpc_status(reject, reject.status(asked.config)).to_string())
        .with("Grpc-Message", percent_encoded(&message))
}

/// The media type to answer a gRPC or gRPC-web call with; `None` for other requests.
fn grpc_media(asked: &Asked<'_>) -> Option<String> {
    let sent = str::from_utf8(asked.head?.first(Class::ContentType)?).ok()?;
    let media = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let rest = media.strip_prefix("application/grpc")?;
    let known = rest.is_empty() || rest.starts_with('+') || rest.starts_with("-web");
    let clean = rest.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-._".contains(&it));
    (known && clean).then_some(media)
}

/// The gRPC code for a refusal; where no better one exists, by gRPC's own table for HTTP statuses.
fn grpc_status(reject: &Reject, status: u16) -> u8 {
    match (reject, status) {
        (Reject::Maintenance { .. }, _) => 14,
        (_, 401) => 16,
        (_, 403) => 7,
        (_, 404 | 405 | 501) => 12,
        (_, 408 | 504) => 4,
        (_, 413 | 431) => 8,
        (_, 429 | 502 | 503) => 14,
        (_, 400..=599) => 13,
        _ => 2,
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
        out
    })
}
