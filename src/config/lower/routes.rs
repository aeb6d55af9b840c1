//! Routes: paths, what may not be routed, and which route hides another.

use super::super::raw;
use super::super::shapes::At;
use super::super::tree::NodeId;
use super::super::{OnRevoke, PathMatch, Retry, Route};
use super::plugins::{Known, filters};
use super::{Cx, Wrong, words};
use crate::model::{Access, ServiceId};
use crate::semantics::path::{canonical, could_reach};

/// What a route refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) prefix: &'a str,
    pub(super) names: &'a [String],
    pub(super) plugins: &'a Known,
}

pub(super) fn prefix(raw: &raw::Document, cx: &Cx<'_>) -> String {
    let read = |text: &str| {
        let expected = "nothing, or a path such as `/dev`, without trailing slash";
        if text.is_empty() {
            return Ok(String::new());
        }
        if let Some(bare) = text.strip_suffix('/') {
            let near = format!("/{}", bare.trim_start_matches('/'));
            return Err(Wrong::new("the prefix ends with a slash", expected).nearest(near));
        }
        plain(text, expected)
    };
    raw.prefix.as_ref().and_then(|at| cx.word(at, read)).unwrap_or_default()
}

pub(super) fn routes(
    document: NodeId,
    raw: &raw::Document,
    cx: &Cx<'_>,
    around: Around<'_>,
) -> Vec<Route> {
    let Some(at) = raw.routes.as_ref() else {
        cx.missing(document, "routes", "at least one route");
        return Vec::new();
    };
    let list = at.value.as_deref().unwrap_or_default();
    if at.value.is_some() && list.is_empty() {
        cx.push(cx.error(at.id, "there is no route").expected("at least one route"));
    }
    let mut routes: Vec<(NodeId, Route)> = Vec::new();
    for (number, at) in list.iter().enumerate() {
        let Some(raw) = at.value.as_ref() else { continue };
        let filters = filters(raw, number, cx, around.plugins);
        let Some((path_id, mut route)) = route(at, raw, cx, around) else { continue };
        refuse_filters(&route.path, raw, cx, around.prefix);
        (route.number, route.filters) = (Some(number), filters);
        if whole(raw, &route) {
            refuse_hidden(path_id, &route, &routes, cx);
        }
        routes.push((path_id, route));
    }
    routes.into_iter().map(|it| it.1).collect()
}

/// The route and the node of its path; `None` when its path is bad.
fn route(
    at: &At<raw::Route>,
    raw: &raw::Route,
    cx: &Cx<'_>,
    around: Around<'_>,
) -> Option<(NodeId, Route)> {
    let path = path(at, raw, cx, around.prefix);
    let says = ("access", "`public`, or `key:SCOPE`, for example `key:admin`");
    let access = cx
        .required(at.id, &raw.access, says)
        .and(raw.access.as_ref())
        .and_then(|at| cx.word(at, words::access));
    let service = cx
        .required(at.id, &raw.service, ("service", "the name of a service"))
        .and_then(|_| cx.service(&raw.service, around.names));
    let methods = methods(raw, cx);
    let host = raw.host.as_ref().and_then(|at| cx.word(at, words::host));
    let (id, path) = path?;
    refuse_reserved(id, &path, access.as_ref(), (cx, around.prefix));
    refuse_retry(&path, raw, cx, around.prefix);
    let route = Route {
        host,
        path,
        methods,
        // With a mistake here the config is refused; the stricter value is the one to go on with.
        access: access.unwrap_or_else(|| Access::Key(String::from("admin"))),
        service: service.unwrap_or(ServiceId(0)),
        retry: match cx.or(&raw.retry, raw::Retry::Unsent) {
            raw::Retry::Unsent => Retry::Unsent,
            raw::Retry::Idempotent => Retry::Idempotent,
        },
        on_revoke: match cx.or(&raw.on_revoke, raw::OnRevoke::Close) {
            raw::OnRevoke::Close => OnRevoke::Close,
            raw::OnRevoke::Keep => OnRevoke::Keep,
        },
        number: None,
        filters: Vec::new(),
    };
    Some((id, route))
}

fn path(
    at: &At<raw::Route>,
    raw: &raw::Route,
    cx: &Cx<'_>,
    prefix: &str,
) -> Option<(NodeId, PathMatch)> {
    match (&raw.path, &raw.exact) {
        (Some(below), None) => {
            let read = cx.word(below, |text| prefix_path(text, prefix))?;
            Some((below.id, PathMatch::Prefix(read)))
        }
        (None, Some(exact)) => {
            let read = cx.word(exact, |text| exact_path(text, prefix))?;
            Some((exact.id, PathMatch::Exact(read)))
        }
        (Some(_), Some(exact)) => {
            let message = "the route has both `path` and `exact`";
            cx.push(cx.error(exact.id, message).expected("one of them"));
            None
        }
        (None, None) => {
            cx.missing(at.id, "path", "`path` (and everything below) or `exact`");
            None
        }
    }
}

const PATH: &str = "a path such as `{prefix}/api/`";

/// Path and query that a probe asks for; the path in the form in which requests are matched.
pub(super) fn probe_path(text: &str, prefix: &str) -> Result<String, Wrong> {
    let expected = "a path such as `/health` or `{prefix}/api/health`";
    let (path, query) = text.split_once('?').map_or((text, None), |it| (it.0, Some(it.1)));
    let path = exact_path(path, prefix).map_err(|it| Wrong { expected: expected.into(), ..it })?;
    let Some(query) = query else { return Ok(path) };
    if !query.bytes().all(|it| it.is_ascii_graphic() && it != b'#') {
        return Err(Wrong::new("the query has a character that must be escaped", expected));
    }
    Ok(format!("{path}?{query}"))
}

/// A path and everything below it, without the trailing slash.
fn prefix_path(text: &str, prefix: &str) -> Result<String, Wrong> {
    let text = text.strip_suffix('*').filter(|it| it.ends_with('/')).unwrap_or(text);
    let path = expand(text, prefix)?;
    match path.strip_suffix('/').unwrap_or(&path) {
        "" => Ok(String::new()),
        bare => plain(bare, PATH),
    }
}

fn exact_path(text: &str, prefix: &str) -> Result<String, Wrong> {
    let path = expand(text, prefix)?;
    if path == "/" { Ok(path) } else { plain(&path, PATH) }
}

fn expand(text: &str, prefix: &str) -> Result<String, Wrong> {
    let rest = text.strip_prefix("{prefix}");
    if rest.unwrap_or(text).contains(['{', '}']) {
        let message =
            "`{prefix}` stands only at the beginning of a path, and there is no other variable";
        return Err(Wrong::new(message, PATH));
    }
    // `{prefix}api` would become `/devapi`.
    if rest.unwrap_or(text).starts_with('/') || rest == Some("") && !prefix.is_empty() {
        return Ok(rest.map_or_else(|| text.to_owned(), |it| format!("{prefix}{it}")));
    }
    if rest.unwrap_or(text).is_empty() {
        return Err(Wrong::new("the path is empty", PATH).nearest("/"));
    }
    let near = if rest.is_some() { text.replacen('}', "}/", 1) } else { format!("/{text}") };
    Err(Wrong::new("the path does not start with `/`", PATH).nearest(near))
}

/// A path that is already in the one form that requests are matched in.
fn plain(path: &str, expected: &str) -> Result<String, Wrong> {
    let wrong = |message: &str| Err(Wrong::new(message, expected));
    if !path.starts_with('/') {
        return Err(Wrong::new("it does not start with `/`", expected).nearest(format!("/{path}")));
    }
    if path.contains('*') {
        return wrong("`*` stands only at the end, after `/`");
    }
    if path.contains(['?', '#']) {
        return wrong("a path has no query and no fragment");
    }
    if path.split('/').skip(1).any(|it| it == "." || it == "..") || path.contains("//") {
        return wrong(
            "requests are matched after `.`, `..` and `//` are gone: this would never match",
        );
    }
    match canonical(path) {
        Ok(same) if same == path => Ok(path.to_owned()),
        Ok(other) => {
            let message = "requests are matched in canonical form: this would never match";
            Err(Wrong::new(message, expected).nearest(other))
        }
        Err(_) => wrong("no request with this path is let in"),
    }
}

fn methods(raw: &raw::Route, cx: &Cx<'_>) -> Vec<String> {
    let Some((id, list)) =
        raw.methods.as_ref().and_then(|at| at.value.as_ref().map(|it| (at.id, it)))
    else {
        return Vec::new();
    };
    if list.0.is_empty() {
        let expected = "at least one method; leave `methods` out for all";
        cx.push(cx.error(id, "the list is empty").expected(expected));
    }
    list.0.iter().filter_map(|at| cx.word(at, words::method)).collect()
}

/// Refuses what is the gate's own, and what would open the admin prefix.
fn refuse_reserved(
    id: NodeId,
    path: &PathMatch,
    access: Option<&Access>,
    (cx, prefix): (&Cx<'_>, &str),
) {
    let text = text(path);
    let admin = format!("{prefix}/api/admin");
    for own in
        [format!("{admin}/headgate"), format!("{admin}/maintenance"), String::from("/forward-auth")]
    {
        if under(text, &own) {
            let message = format!("`{own}` is answered by the gate itself");
            cx.push(cx.error(id, message).expected("a path outside of it"));
            return;
        }
    }
    let health = format!("{admin}/health");
    let open = access == Some(&Access::Public) && *path != PathMatch::Exact(health);
    if open && under(text, &admin) {
        let message = format!("a public route under the admin prefix `{admin}`");
        let expected = "`key:SCOPE`; only `exact: {prefix}/api/admin/health` may be public";
        cx.push(cx.error(id, message).expected(expected));
    }
}

/// StockFlow's admin paths change state by GET (`trigger-cron`): sending one twice is never safe.
fn refuse_retry(path: &PathMatch, raw: &raw::Route, cx: &Cx<'_>, prefix: &str) {
    let more = raw.retry.as_ref().filter(|at| matches!(at.value, Some(raw::Retry::Idempotent)));
    if let Some(at) = more.filter(|_| under(text(path), &format!("{prefix}/api/admin"))) {
        let message = "admin paths change state even by GET: they are never sent twice";
        cx.push(cx.error(at.id, message).expected("`unsent`"));
    }
}

/// A filter that fails closed must not lock out those who could take it away.
fn refuse_filters(path: &PathMatch, raw: &raw::Route, cx: &Cx<'_>, prefix: &str) {
    let some =
        raw.filters.as_ref().filter(|it| it.value.as_ref().is_some_and(|it| !it.0.is_empty()));
    if let Some(at) = some.filter(|_| under(text(path), &format!("{prefix}/api/admin"))) {
        let message = "no filter runs under the admin prefix: it could lock out its operator";
        cx.push(cx.error(at.id, message).expected("no `filters` on this route"));
    }
}

fn text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Prefix(it) | PathMatch::Exact(it) => it,
    }
}

/// Whether `path` is `above` or below it, by whole segments; letters of both cases are taken for the same because some
/// servers do.
fn under(path: &str, above: &str) -> bool {
    // Plain paths need no guess at what a server decodes.
    if path.contains(['%', ';']) && could_reach(path, above) {
        return true;
    }
    let head = path.get(..above.len()).is_some_and(|it| it.eq_ignore_ascii_case(above));
    head && path.get(above.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether host and methods were understood: without them the route would seem to take more than it does.
fn whole(raw: &raw::Route, route: &Route) -> bool {
    raw.host.is_some() == route.host.is_some() && raw.methods.is_some() != route.methods.is_empty()
}

/// Refuses a route that could never be chosen because an earlier one takes all that it would.
fn refuse_hidden(id: NodeId, route: &Route, before: &[(NodeId, Route)], cx: &Cx<'_>) {
    let hides = |other: &Route| {
        let methods = other.methods.is_empty()
            || (!route.methods.is_empty()
                && route.methods.iter().all(|it| other.methods.contains(it)));
        other.host == route.host && other.path == route.path && methods
    };
    if let Some((first, _)) = before.iter().find(|it| hides(&it.1)) {
        let node = cx.tree.node(*first);
        let message = format!(
            "`{}` (line {}) takes every request that this route would",
            node.path, node.place.line
        );
        cx.push(cx.error(id, message).expected("another path, host or methods"));
    }
}
