//! The step between decision and encoding: the filters of a route see the request, edit its head or answer it.
//!
//! Filters see what goes to the upstream of what the client sent, as far as they were granted it, and never the key, other
//! credentials unless they are named one by one, or fields of one hop. All of a route read the same request: an edit of
//! one is not seen by the next.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::PathMatch;
use crate::generation::{Generation, plugins};
use crate::model::{UnixMs, push_ipv4};
use crate::plugin::facts::{Fact, Facts, Readers};
use crate::plugin::host::{FilterReply, HeaderOp};
use crate::plugin::request_filter::{CoreFilters, Filtered, Note, RequestFilter};
use crate::proxy::decide::Forward;
use crate::proxy::reject::Reject;
use crate::semantics::class::{Class, Field};
use crate::semantics::fields::is_one_name;
use crate::semantics::forwarded::Client;
use crate::semantics::head::RequestHead;
use crate::semantics::refusal::TWIN_NAME;
use crate::wire::answer::Answer;
use crate::wire::h1::edit::Edit;

/// Code of a filter's own answer in logs and metrics.
pub const REPLIED: &str = "filtered";

/// A field that carries who somebody is; `*` does not stand for it.
const CREDENTIALS: [&str; 2] = ["authorization", "cookie"];

/// One core's filters and the buffer that they read from.
#[derive(Debug, Default)]
pub struct Filters {
    core: CoreFilters,
    facts: Facts,
    /// Number of the generation whose filters have instances here.
    generation: u64,
}

/// What a request's facts are taken from.
#[derive(Clone, Copy, Debug)]
pub struct About<'x, 'a> {
    pub head: &'x RequestHead<'a>,
    pub client: &'x Client,
    pub forward: &'x Forward<'x, 'a>,
    pub request_id: &'x str,
    pub now: UnixMs,
}

/// What becomes of a request after its filters.
#[derive(Debug)]
pub enum Passage {
    /// It goes on with these edits.
    Pass(Vec<HeaderOp>),
    /// A filter answers it.
    Reply(FilterReply),
    /// A filter gave no answer, and its mode is closed.
    Refuse(Reject),
}

/// The filters to ask about a request: those of its route, and those of every route that a server could take it for. None
/// for a preflight, which carries nothing that a filter could ask for.
#[inline]
pub fn of<'g>(
    generation: &'g Generation,
    head: &RequestHead<'_>,
    forward: &Forward<'_, '_>,
) -> Cow<'g, [Arc<RequestFilter>]> {
    if forward.preflight {
        return Cow::Borrowed(&[]);
    }
    plugins::filters(generation, head.authority, &forward.path, forward.route)
}

impl Filters {
    /// Asks the filters, in order. More than there is room for is a path that could be read as too many routes': refused.
    pub fn run(
        &mut self,
        filters: &[Arc<RequestFilter>],
        about: &About<'_, '_>,
    ) -> (Passage, Option<Note>) {
        if filters.len() > Readers::MOST {
            return (Passage::Refuse(Reject::FilterFailed), None);
        }
        if has_twin(filters, about.head) {
            return (Passage::Refuse(Reject::Head(TWIN_NAME)), None);
        }
        fill(&mut self.facts, filters, about);
        let passage = match self.core.run(filters, &mut self.facts) {
            Filtered::Pass(edits) => Passage::Pass(edits),
            Filtered::Reply { reply, .. } if (200..600).contains(&reply.status) => {
                Passage::Reply(reply)
            }
            Filtered::Reply { .. } | Filtered::Refused { .. } => {
                Passage::Refuse(Reject::FilterFailed)
            }
        };
        (passage, self.core.take_note())
    }

    /// Lets go of what another generation has no use for.
    pub fn follow(&mut self, generation: &Generation) {
        if self.generation != generation.number {
            self.generation = generation.number;
            self.core.keep(generation.plugins.filters.iter().flatten());
        }
    }

    /// Instances of this core.
    pub fn instances(&self) -> usize {
        self.core.instances()
    }
}

/// Fills the facts with what these filters may know.
fn fill(facts: &mut Facts, filters: &[Arc<RequestFilter>], about: &About<'_, '_>) {
    let About { head, client, forward, request_id, now } = *about;
    facts.clear();
    facts.now_ms = now.0;
    facts.set(Fact::Method, head.method.as_bytes());
    facts.set(Fact::Path, forward.path.as_bytes());
    if let Some(query) = head.query {
        facts.set(Fact::Query, query.as_bytes());
    }
    let authority = head.authority.bytes().map(|it| it.to_ascii_lowercase());
    facts.set_by(Fact::Authority, |text| text.extend(authority));
    facts.set_by(Fact::Client, |text| push_ip(text, client.ip));
    facts.set_by(Fact::Route, |text| push_route(text, forward));
    facts.set(Fact::Id, request_id.as_bytes());
    if let Some(key) = forward.key {
        facts.set(Fact::KeyName, key.name.as_bytes());
    }
    for (field, class) in head.fields.iter().zip(head.classes) {
        if is_visible(*class, client) {
            let readers = readers(field, filters);
            if readers != Readers::NONE {
                facts.add_header_for(readers, field.name.as_bytes(), field.value);
            }
        }
    }
}

/// Whether a field is spelled with `_` so that a server which takes `_` for `-` (CGI, WSGI) may read it in the place of one
/// that a filter looks at, unseen by the filter.
fn has_twin(filters: &[Arc<RequestFilter>], head: &RequestHead<'_>) -> bool {
    let are_twins =
        |one: &str, other: &str| is_one_name(one, other) && !one.eq_ignore_ascii_case(other);
    let is_looked_at = |name: &str| {
        let mut granted = filters.iter().flat_map(|it| &it.headers);
        granted.any(|grant| match grant.as_str() {
            "*" => head.fields.iter().any(|it| are_twins(it.name, name)),
            grant => are_twins(grant, name),
        })
    };
    head.fields.iter().any(|it| it.name.contains('_') && is_looked_at(it.name))
}

/// Whether a field can be shown at all: what the client says and the gate lets through.
fn is_visible(class: Class, client: &Client) -> bool {
    match class {
        Class::ContentLength | Class::Via | Class::TraceParent | Class::TraceState => true,
        Class::XForwardedFor
        | Class::XForwardedProto
        | Class::XForwardedHost
        | Class::XForwardedPort
        | Class::XForwardedOther => client.trusted_peer,
        other => other.is_plain(),
    }
}

/// Which of the filters were granted this field.
fn readers(field: &Field<'_>, filters: &[Arc<RequestFilter>]) -> Readers {
    let granted = |filter: &RequestFilter| {
        filter.headers.iter().any(|grant| match grant.as_str() {
            "*" => !CREDENTIALS.iter().any(|it| field.name.eq_ignore_ascii_case(it)),
            name => field.name.eq_ignore_ascii_case(name),
        })
    };
    let each = filters.iter().enumerate().filter(|it| granted(it.1));
    each.fold(Readers::NONE, |all, (place, _)| all.and(Readers::only(place)))
}

fn push_ip(text: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(it) => push_ipv4(text, it),
        IpAddr::V6(it) => {
            // Writing into a vector does not fail.
            let _ = write!(text, "{it}");
        }
    }
}

/// A route has no name: it is what it matches, as `explain` tells it.
fn push_route(text: &mut Vec<u8>, forward: &Forward<'_, '_>) {
    text.extend_from_slice(forward.route.host.as_deref().unwrap_or_default().as_bytes());
    match &forward.route.path {
        PathMatch::Exact(path) => text.extend_from_slice(path.as_bytes()),
        PathMatch::Prefix(path) => {
            text.extend_from_slice(path.as_bytes());
            text.extend_from_slice(b"/*");
        }
    }
}

/// Edits as the encoder takes them.
pub fn as_edits(ops: &[HeaderOp]) -> Vec<Edit<'_>> {
    ops.iter().map(as_edit).collect()
}

fn as_edit(op: &HeaderOp) -> Edit<'_> {
    match op {
        HeaderOp::Set(name, value) => Edit::Set(name, value),
        HeaderOp::Append(name, value) => Edit::Append(name, value),
        HeaderOp::Remove(name) => Edit::Remove(name),
    }
}

/// Fields as the encoder takes them.
pub fn as_fields(fields: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    fields.iter().map(|it| (it.0.as_str(), it.1.as_slice())).collect()
}

/// The fields that are set, if nothing else is done: what an edge can be told.
pub fn sets(ops: &[HeaderOp]) -> Option<Vec<(&str, &[u8])>> {
    let told: Vec<(&str, &[u8])> = ops.iter().map(set_field).collect::<Option<_>>()?;
    let is_last = |at: usize, name: &str| {
        let later = told.get(at + 1..).unwrap_or_default();
        !later.iter().any(|it| it.0.eq_ignore_ascii_case(name))
    };
    let last = told.iter().enumerate().filter(|it| is_last(it.0, it.1.0));
    Some(last.map(|it| *it.1).collect())
}

fn set_field(op: &HeaderOp) -> Option<(&str, &[u8])> {
    match op {
        HeaderOp::Set(name, value) => Some((name, value)),
        HeaderOp::Append(..) | HeaderOp::Remove(_) => None,
    }
}

/// A filter's reply as an answer of the gate's, still to be dressed, and the fields that are the filter's. Caches are told
/// to keep it only by the filter itself: many a reply is for one client.
pub fn answer(reply: FilterReply) -> (Answer, Vec<(String, Vec<u8>)>) {
    let FilterReply { status, headers, body } = reply;
    // 205 has no content (RFC 9110 §15.3.6).
    let body = if status == 205 { Vec::new() } else { body };
    let answer = Answer { status, headers: Vec::new(), body };
    let caches = headers.iter().any(|it| it.0.eq_ignore_ascii_case("cache-control"));
    (if caches { answer } else { answer.with("Cache-Control", "no-store") }, headers)
}

#[cfg(test)]
mod tests;
