//! Host, path and method find the most specific route.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::config::{Config, PathMatch, Route};
use crate::generation::path_index::PathIndex;

/// Methods of a route that names none, as `Allow` lists them. Others pass too, but for CONNECT and TRACE.
const USUAL_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// All routes of a generation, ready to be searched at a cost that does not grow with their number.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    any_host: PathTable,
    by_host: HashMap<String, PathTable>,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub enum Found<'t> {
    /// The most specific route, and its index in the config.
    Route(&'t Route, usize),
    /// The path is routed, the method is not; the methods that are, as `Allow` lists them.
    MethodNotAllowed(String),
    /// No route has the path.
    None,
}

/// Routes of one host.
#[derive(Debug, Default)]
struct PathTable {
    index: PathIndex,
    /// By the index's ids.
    places: Vec<Place>,
}

/// Routes with the same path text, as indexes into the table's routes, in file order.
#[derive(Debug, Default)]
struct Place {
    exact: Vec<usize>,
    prefix: Vec<usize>,
}

impl RouteTable {
    /// Indexes the routes of a config.
    pub fn build(config: &Config) -> Self {
        let mut table = Self { routes: config.routes.clone(), ..Self::default() };
        for (number, route) in config.routes.iter().enumerate() {
            let paths = match &route.host {
                Some(host) => table.by_host.entry(host.to_ascii_lowercase()).or_default(),
                None => &mut table.any_host,
            };
            paths.add(&route.path, number);
        }
        table
    }

    /// The most specific route for a canonical path: a named host before any host, the exact path before the longest
    /// prefix of whole segments. The method is looked at last: a path whose most specific routes lack it is a 405 and
    /// never falls back to a shorter prefix, which may be less protected.
    pub fn find(&self, authority: &str, path: &str, method: &str) -> Found<'_> {
        let owners = self.owners(authority, path);
        let pick = |number: &&usize| self.routes.get(**number).is_some_and(|it| takes(it, method));
        if let Some(number) = owners.iter().find(pick)
            && let Some(route) = self.routes.get(*number)
        {
            return Found::Route(route, *number);
        }
        if owners.is_empty() { Found::None } else { Found::MethodNotAllowed(self.allow(owners)) }
    }

    /// The service's route for a preflight: the one that takes the method asked about, else the first with the path.
    pub fn owner(
        &self,
        authority: &str,
        path: &str,
        asked_method: &str,
    ) -> Option<(&Route, usize)> {
        if let Found::Route(route, number) = self.find(authority, path, asked_method) {
            return Some((route, number));
        }
        let first = *self.owners(authority, path).first()?;
        self.routes.get(first).map(|it| (it, first))
    }

    fn owners(&self, authority: &str, path: &str) -> &[usize] {
        if !self.by_host.is_empty()
            && let Some(paths) = self.by_host.get(host_of(authority).as_ref())
        {
            let own = paths.owners(path);
            if !own.is_empty() {
                return own;
            }
        }
        self.any_host.owners(path)
    }

    fn allow(&self, owners: &[usize]) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for route in owners.iter().filter_map(|it| self.routes.get(*it)) {
            let named = route
                .methods
                .iter()
                .flat_map(|it| std::iter::once(it.as_str()).chain((it == "GET").then_some("HEAD")));
            let usual = route.methods.is_empty().then_some(USUAL_METHODS);
            for method in named.chain(usual.into_iter().flat_map(|it| it.split(", "))) {
                if !methods.contains(&method) {
                    methods.push(method);
                }
            }
        }
        methods.join(", ")
    }
}

impl PathTable {
    fn add(&mut self, path: &PathMatch, number: usize) {
        let (text, exact) = match path {
            PathMatch::Prefix(text) => (text.trim_end_matches('/'), false),
            PathMatch::Exact(text) => (text.as_str(), true),
        };
        let id = self.index.add(text);
        if self.places.len() <= id {
            self.places.resize_with(id + 1, Place::default);
        }
        if let Some(place) = self.places.get_mut(id) {
            if exact { place.exact.push(number) } else { place.prefix.push(number) }
        }
    }

    /// Routes of the most specific path; empty when there is none.
    fn owners(&self, path: &str) -> &[usize] {
        let mut best: &[usize] = &[];
        self.index.visit(path, |hit| {
            let Some(place) = self.places.get(hit.id).filter(|_| hit.same_case) else { return };
            if hit.segments && !place.prefix.is_empty() {
                best = &place.prefix;
            }
            if hit.whole && !place.exact.is_empty() {
                best = &place.exact;
            }
        });
        best
    }
}

/// Whether a route takes a method: GET brings HEAD along (RFC 9110 §9.3.2), CONNECT and TRACE must be named.
pub fn takes(route: &Route, method: &str) -> bool {
    if route.methods.is_empty() {
        return !matches!(method, "CONNECT" | "TRACE");
    }
    route.methods.iter().any(|it| it == method || (it == "GET" && method == "HEAD"))
}

/// Host of an authority as routes name it: lower case, without port and trailing dot; IPv6 keeps its brackets.
pub fn host_of(authority: &str) -> Cow<'_, str> {
    let bare = match authority.rfind(']') {
        Some(end) if authority.starts_with('[') => authority.get(..=end).unwrap_or(authority),
        _ => authority.split_once(':').map_or(authority, |it| it.0),
    };
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if bare.bytes().any(|it| it.is_ascii_uppercase()) {
        return Cow::Owned(bare.to_ascii_lowercase());
    }
    Cow::Borrowed(bare)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, proptest};
    use proptest::sample::select;

    use super::{Found, RouteTable, host_of, takes};
    use crate::config::{Config, PathMatch, Route};
    use crate::generation::fixture;

    /// `[host]path`, `=` before an exact path, methods after a blank.
    fn route(line: &str) -> Route {
        let (target, methods) = line.split_once(' ').unwrap_or((line, ""));
        let at = target.find(['/', '=']).unwrap_or(target.len());
        let (host, path) = target.split_at(at);
        let path = match path.strip_prefix('=') {
            Some(exact) => PathMatch::Exact(exact.to_owned()),
            None => PathMatch::Prefix(path.trim_end_matches('/').to_owned()),
        };
        let methods = methods.split_whitespace().map(str::to_owned).collect();
        Route {
            host: (!host.is_empty()).then(|| host.to_owned()),
            path,
            methods,
            ..fixture::public("", 0)
        }
    }

    fn config(lines: &[&str]) -> Config {
        Config { routes: lines.iter().map(|it| route(it)).collect(), ..fixture::config("") }
    }

    fn find(table: &RouteTable, host: &str, path: &str, method: &str) -> String {
        match table.find(host, path, method) {
            Found::Route(_, number) => number.to_string(),
            Found::MethodNotAllowed(allow) => allow,
            Found::None => "none".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let table = RouteTable::build(&config(&[
            "/",                      // 0
            "/api",                   // 1
            "/api/admin GET POST",    // 2
            "=/api/admin/health",     // 3
            "/API/admin",             // 4
            "h.example/api",          // 5
            "h.example=/only DELETE", // 6
            "[::1]/six",              // 7
            "=/slash/",               // 8
            "/api/admin PUT",         // 9
        ]));
        for (host, path, method, expected) in [
            ("x", "/", "GET", "0"),
            ("x", "/other/deep/path", "GET", "0"),
            ("x", "/api", "GET", "1"),
            ("x", "/api/", "GET", "1"),
            ("x", "/apix", "GET", "0"),
            ("x", "/api/M%26M.NS", "GET", "1"),
            ("x", "/api/admin", "GET", "2"),
            ("x", "/api/admin", "HEAD", "2"),
            ("x", "/api/admin/x", "PUT", "9"),
            ("x", "/api/admin/x", "DELETE", "GET, HEAD, POST, PUT"),
            ("x", "/api/administrator", "GET", "1"),
            ("x", "/api/admin/health", "GET", "3"),
            ("x", "/api/admin/health", "DELETE", "3"),
            ("x", "/api/admin/health/", "GET", "2"),
            ("x", "/api/admin/health/x", "GET", "2"),
            ("x", "/API/admin/x", "GET", "4"),
            ("x", "/Api/admin/x", "GET", "0"),
            ("h.example", "/api/admin/x", "GET", "5"),
            ("H.Example.:8080", "/api/admin/x", "GET", "5"),
            ("h.example", "/other", "GET", "0"),
            ("h.example", "/only", "DELETE", "6"),
            ("h.example", "/only", "GET", "DELETE"),
            ("h.example.org", "/only", "GET", "0"),
            ("[::1]:80", "/six/x", "GET", "7"),
            ("x", "/slash/", "GET", "8"),
            ("x", "/slash", "GET", "0"),
            ("x", "/api", "TRACE", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ("x", "/api", "CONNECT", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ("x", "/api", "BREW", "1"),
        ] {
            assert_eq!(find(&table, host, path, method), expected, "{host} {path} {method}");
        }
    }

    #[test]
    fn no_route_is_none() {
        let table = RouteTable::build(&config(&["/api", "h.example/x"]));
        assert_eq!(find(&table, "x", "/", "GET"), "none");
        assert_eq!(find(&table, "x", "/x", "GET"), "none");
        assert_eq!(find(&RouteTable::build(&config(&[])), "x", "/", "GET"), "none");
    }

    #[test]
    fn a_preflight_goes_to_the_route_of_the_method_it_asks_about() {
        let table = RouteTable::build(&config(&["/a GET", "/a POST"]));
        assert_eq!(table.owner("x", "/a", "POST").map(|it| it.1), Some(1));
        assert_eq!(table.owner("x", "/a", "DELETE").map(|it| it.1), Some(0));
        assert_eq!(table.owner("x", "/b", "GET").map(|it| it.1), None);
    }

    #[test]
    fn hosts_lose_port_case_and_trailing_dot() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("A.Example:80", "a.example"),
            ("a.example.:80", "a.example"),
            ("[::1]", "[::1]"),
            ("[FE80::1]:8080", "[fe80::1]"),
            ("", ""),
            (":80", ""),
            ("[", "["),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }

    /// Scores every route and takes the best: what the table must come to.
    fn naive(routes: &[Route], host: &str, path: &str, method: &str) -> String {
        let score = |it: &Route| {
            let fits_host = it.host.as_ref().is_none_or(|it| it == host);
            let length = match &it.path {
                PathMatch::Exact(text) => (text == path).then_some((1, text.len())),
                PathMatch::Prefix(text) => (path == text
                    || path.strip_prefix(text.as_str()).is_some_and(|it| it.starts_with('/')))
                .then_some((0, text.len())),
            };
            length.filter(|_| fits_host).map(|it| (it.0.min(1), it.1, it.0)).map(|it| (it.2, it.1))
        };
        let rank = |it: &Route| score(it).map(|(exact, length)| (it.host.is_some(), exact, length));
        let Some(best) = routes.iter().filter_map(rank).max() else { return "none".to_owned() };
        let mut owners = routes.iter().enumerate().filter(|it| rank(it.1) == Some(best));
        owners
            .find(|it| takes(it.1, method))
            .map_or_else(|| "405".to_owned(), |it| it.0.to_string())
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        let host = select(vec!["", "", "a.example", "b.example"]);
        let methods = select(vec!["", "", " GET", " POST"]);
        let line =
            (host, "=?(/[ab]{1,2}){1,3}", methods).prop_map(|(h, p, m)| format!("{h}{p}{m}"));
        prop::collection::vec(line, 0..10)
    }

    proptest! {
        #[test]
        fn agrees_with_scoring_every_route(
            lines in lines(),
            host in select(vec!["a.example", "c.example"]),
            path in "(/[ab]{1,2}){1,4}/?",
            method in select(vec!["GET", "HEAD", "POST"]),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let config = config(&lines);
            let found = find(&RouteTable::build(&config), host, &path, method);
            let found = if found.contains(|it: char| it.is_ascii_uppercase()) { "405".to_owned() } else { found };
            assert_eq!(found, naive(&config.routes, host, &path, method), "{lines:?} {path}");
        }
    }
}
