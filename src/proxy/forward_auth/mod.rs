//! Answers an edge that asks before it forwards: yes with the key's name, or the refusal as it is.
//!
//! For Traefik's `ForwardAuth`, Caddy's `forward_auth` and nginx's `auth_request`. The edge then forwards what *it* has:
//! so a path is passed only if it is canonical as it stands, and an answer that is no yes is never 2xx.

use std::net::IpAddr;

use crate::generation::Gate;
use crate::model::UnixMs;
use crate::proxy::decide::{Decision, FORWARD_AUTH_DENIED, Forward, decide};
use crate::proxy::reject::{Asked, Reject};
use crate::semantics::class::Class;
use crate::semantics::forwarded::Client;
use crate::semantics::head::{Framing, RequestHead};
use crate::semantics::path::canonical;
use crate::semantics::target;
use crate::wire::answer::Answer;

/// A question that is answered with no.
#[derive(Debug)]
pub struct Denied<'a> {
    pub reject: Reject,
    /// Whether a key was presented, so that a 401 counts against the client.
    pub presented: bool,
    /// The client that the edge asks for.
    pub client: IpAddr,
    /// The request asked about; `None` when the question does not say.
    asked: Option<RequestHead<'a>>,
}

impl Denied<'_> {
    /// The refusal as the edge must hear it; `reject` is this one's own or a 429 in its place, `question` as for any
    /// other answer.
    pub fn answer(&self, reject: &Reject, question: &Asked<'_>) -> Answer {
        reject.answer_to_edge(&Asked { head: self.asked.as_ref(), ..*question })
    }
}

const ANOTHER_PATH: Reject = Reject::Question {
    status: 403,
    code: "path-not-canonical",
    detail: "servers read this path differently; ask for its canonical form",
};

const OUR_OWN: Reject = Reject::Question {
    status: 403,
    code: "data-listener-only",
    detail: "the gate answers this path itself: route it to the gate's data listener instead of asking about it",
};

/// The reply of a filter would be a yes to the edge.
pub const FILTER_ANSWERS: Reject = Reject::Question {
    status: 403,
    code: "filter-answers",
    detail: "a filter of this route answers in place of the service: route the path to the gate's data listener instead of asking about it",
};

/// An edge cannot be told to remove or append a field.
pub const FILTER_EDITS: Reject = Reject::Question {
    status: 403,
    code: "filter-edits",
    detail: "a filter of this route removes or appends header fields: route the path to the gate's data listener instead of asking about it",
};

/// nginx asks twice; if the state has changed in between, the client may try again.
const CHANGED: Reject = Reject::Question {
    status: 503,
    code: "changed-meanwhile",
    detail: "the request would pass now; send it again",
};

/// A request that may pass, as far as the gate itself has a say.
#[derive(Debug)]
pub struct Yes<'g, 'a> {
    pub forward: Forward<'g, 'a>,
    /// The request asked about.
    pub asked: RequestHead<'a>,
    /// Whether this is nginx's second question, which is never answered with yes.
    second: bool,
    presented: bool,
    client: IpAddr,
}

impl<'a> Yes<'_, 'a> {
    /// A no in its place.
    pub fn denied(&self, reject: Reject) -> Box<Denied<'a>> {
        let Self { presented, client, .. } = *self;
        Box::new(Denied { reject, presented, client, asked: Some(self.asked) })
    }

    /// The answer to the question.
    ///
    /// # Errors
    /// [`Denied`] for a second question.
    pub fn answer(&self, question: &RequestHead<'_>) -> Result<Answer, Box<Denied<'a>>> {
        if self.second { Err(self.denied(CHANGED)) } else { Ok(yes(&self.forward, question)) }
    }
}

/// Decides and answers without asking filters.
///
/// # Errors
/// [`Denied`] with the refusal to answer.
pub fn answer<'a>(
    gate: &Gate,
    question: &RequestHead<'a>,
    client: &Client,
    now: UnixMs,
) -> Result<Answer, Box<Denied<'a>>> {
    judge(gate, question, client, now)?.answer(question)
}

/// Decides on the request that a trusted peer's question describes in `X-Forwarded-Method`, `-Uri` and `-Host`, with
/// the question's own fields (key, `Accept`, `Origin`). Aliases with `_` are never read.
///
/// # Errors
/// [`Denied`] with the refusal to answer.
pub fn judge<'g, 'a>(
    gate: &'g Gate,
    question: &RequestHead<'a>,
    client: &Client,
    now: UnixMs,
) -> Result<Yes<'g, 'a>, Box<Denied<'a>>> {
    let presented = question.api_key.is_some();
    let denied = |reject, asked| Box::new(Denied { reject, presented, client: client.ip, asked });
    let asked = asked_about(question).map_err(|detail| {
        denied(Reject::Question { status: 400, code: "bad-question", detail }, None)
    })?;
    if canonical(asked.raw_path).is_ok_and(|it| it != asked.raw_path) {
        return Err(denied(ANOTHER_PATH, Some(asked)));
    }
    // The one asked about is no proxy: no question within a question.
    let client = Client { trusted_peer: false, ..*client };
    let reject = match decide(gate, &asked, &client, now) {
        Decision::Forward(forward) => {
            let second = is_second(question);
            return Ok(Yes { forward, asked, second, presented, client: client.ip });
        }
        Decision::Refuse(reject) => reject,
        Decision::Preflight => instead_of_preflight(gate, &asked, &client, now),
        Decision::Admin(_) | Decision::ForwardAuth | Decision::OptionsStar => OUR_OWN,
    };
    Err(denied(reject, Some(asked)))
}

/// 200; the key is echoed only where the service may see it (an edge told to take it from here drops it otherwise).
fn yes(forward: &Forward<'_, '_>, question: &RequestHead<'_>) -> Answer {
    let mut answer = Answer { status: 200, headers: Vec::new(), body: Vec::new() }
        .with("Cache-Control", "no-store");
    if let Some(key) = forward.key {
        answer = answer.with("X-Headgate-Client", key.name.as_str());
    }
    let key = question.api_key.filter(|_| forward.service.service.forward_key);
    match key.and_then(|it| str::from_utf8(it).ok()) {
        Some(key) => answer.with("X-Api-Key", key),
        None => answer,
    }
}

/// The gate would answer a preflight itself, which an edge cannot be told: 2xx means "pass on". In maintenance the
/// service must stay alone, so the refusal of the request to come stands for it.
fn instead_of_preflight(
    gate: &Gate,
    asked: &RequestHead<'_>,
    client: &Client,
    now: UnixMs,
) -> Reject {
    let method = asked.first(Class::CorsMethod).and_then(|it| str::from_utf8(it).ok());
    let real = RequestHead { method: method.unwrap_or("GET"), ..*asked };
    match decide(gate, &real, client, now) {
        Decision::Refuse(reject @ Reject::Maintenance { .. }) => reject,
        _ => OUR_OWN,
    }
}

/// Whether this is nginx's second question, which must never be answered with 2xx: `/forward-auth/denied`, or
/// `/forward-auth?denied`.
fn is_second(question: &RequestHead<'_>) -> bool {
    question.query == Some("denied")
        || canonical(question.raw_path).is_ok_and(|it| it == FORWARD_AUTH_DENIED)
}

/// The head of the request asked about. It has no body, whatever the question says; an upgrade is the request's own
/// (Caddy passes the client's fields on), and no answer here is ever a 101.
fn asked_about<'a>(question: &RequestHead<'a>) -> Result<RequestHead<'a>, &'static str> {
    let method = the_one(question, "x-forwarded-method")?
        .ok_or("the question has no X-Forwarded-Method: let the edge send it")?;
    let uri = the_one(question, "x-forwarded-uri")?
        .ok_or("the question has no X-Forwarded-Uri: let the edge send it")?;
    let authority = match the_one(question, "x-forwarded-host")? {
        Some(host) => target::valid(host.as_bytes())
            .map_err(|_| "X-Forwarded-Host is not one name or address with an optional port")?,
        None => question.authority,
    };
    if method.is_empty() || !method.bytes().all(|it| it.is_ascii_alphabetic() || it == b'-') {
        return Err("X-Forwarded-Method is not a method");
    }
    if !uri.starts_with('/') {
        return Err("X-Forwarded-Uri does not begin with a slash");
    }
    let (raw_path, query) = match uri.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri, None),
    };
    Ok(RequestHead {
        method,
        raw_path,
        query,
        authority,
        framing: Framing::None,
        expect_continue: false,
        ..*question
    })
}

/// The value of a field that must not be there twice.
fn the_one<'a>(question: &RequestHead<'a>, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = question.fields.iter().filter(|it| it.name.eq_ignore_ascii_case(name));
    let Some(field) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("the question has an X-Forwarded field twice");
    }
    str::from_utf8(field.value).map(Some).map_err(|_| "an X-Forwarded field is not UTF-8")
}

#[cfg(test)]
mod tests;
