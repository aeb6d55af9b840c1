//! What a path demands besides its own route's, because a server may read it as another's: scopes and filters.

use crate::config::{Config, PathMatch, Route};
use crate::generation::path_index::PathIndex;
use crate::generation::routes::host_of;
use crate::model::{Access, SCOPE_ADMIN};
use crate::semantics::path::Readings;

/// A path that nobody reaches without something, however a request spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded<T> {
    /// Host it is limited to (lower case); `None`: any.
    pub host: Option<String>,
    /// Canonical, without trailing slash.
    pub path: String,
    /// Whether only this path is protected, not what lies under it.
    pub exact: bool,
    /// What is demanded.
    pub needs: T,
}

impl<T> Guarded<T> {
    /// The path of a route.
    fn of(route: &Route, needs: T) -> Self {
        let (text, exact) = text_of(&route.path);
        Self {
            host: route.host.as_ref().map(|it| it.to_ascii_lowercase()),
            path: text.trim_end_matches('/').to_owned(),
            exact,
            needs,
        }
    }
}

/// Guarded paths, ready to be searched.
#[derive(Debug)]
struct Guards<T> {
    guards: Vec<Guarded<T>>,
    index: PathIndex,
    /// Indexes into `guards` by the index's ids.
    places: Vec<Vec<usize>>,
}

/// All paths of a generation that need a key; what they need is its scope.
#[derive(Debug, Default)]
pub struct GuardTable {
    guards: Guards<String>,
    holds_admin: bool,
}

impl GuardTable {
    /// Collects what the routes protect, and the admin prefix unless nothing could be behind it.
    pub fn build(config: &Config, admin_prefix: &str) -> Self {
        let mut table = Self::default();
        // Without keys and without anything of ours behind it the prefix is a path like others (`run --to` without
        // `--key`); as soon as there is a key, nobody without scope may pass it.
        if config.admin_on_data || config.admin_service.is_some() || !config.keys.is_empty() {
            table.holds_admin = true;
            table.guards.add(Guarded {
                host: None,
                path: admin_prefix.to_owned(),
                exact: false,
                needs: SCOPE_ADMIN.to_owned(),
            });
        }
        for route in &config.routes {
            if let Access::Key(scope) = &route.access {
                table.guards.add(Guarded::of(route, scope.clone()));
            }
        }
        table
    }

    /// All guards, the admin prefix first.
    pub fn all(&self) -> &[Guarded<String>] {
        &self.guards.guards
    }

    /// Whether the admin prefix is protected, and not a path like others.
    pub fn holds_admin(&self) -> bool {
        self.holds_admin
    }

    /// Calls `demanded` for every guard, other than the route's own, that `path` could reach by any server's reading.
    ///
    /// A route beneath a guard (a public health path under a keyed prefix) is an exception the operator wrote down: it
    /// holds for paths that have one reading only, so that `health/..%2fsecret` still needs the key.
    pub fn each<'t>(
        &'t self,
        authority: &str,
        path: &str,
        own: &Route,
        demanded: impl FnMut(&'t Guarded<String>),
    ) {
        self.guards.each(authority, path, own, demanded);
    }
}

/// All paths of a generation that have filters.
#[derive(Debug, Default)]
pub struct FilterTable {
    /// Each needs the filters of the route with this number.
    guards: Guards<usize>,
}

impl FilterTable {
    /// Collects the routes with filters.
    pub fn build(config: &Config) -> Self {
        let mut table = Self::default();
        for route in config.routes.iter().filter(|it| !it.filters.is_empty()) {
            if let Some(number) = route.number {
                table.guards.add(Guarded::of(route, number));
            }
        }
        table
    }

    /// Numbers of the routes whose filters a request passes: of its own first, then of every other that `path` could reach,
    /// as keys are demanded.
    pub fn each(&self, authority: &str, path: &str, own: &Route, mut asked: impl FnMut(usize)) {
        if self.guards.guards.is_empty() {
            return;
        }
        own.number.filter(|_| !own.filters.is_empty()).into_iter().for_each(&mut asked);
        self.guards.each(authority, path, own, |it| asked(it.needs));
    }
}

impl<T> Default for Guards<T> {
    fn default() -> Self {
        Self { guards: Vec::new(), index: PathIndex::default(), places: Vec::new() }
    }
}

impl<T: PartialEq> Guards<T> {
    fn each<'t>(
        &'t self,
        authority: &str,
        path: &str,
        own: &Route,
        mut demanded: impl FnMut(&'t Guarded<T>),
    ) {
        if self.guards.is_empty() {
            return;
        }
        let readings = Readings::of(path);
        let asked = Asked { authority, path, own, plain: readings.agree() };
        if !asked.plain {
            let reached = self.guards.iter().filter(|it| readings.reach(&it.path));
            return reached.filter(|it| asked.is_held_by(it)).for_each(demanded);
        }
        self.index.visit(path, |hit| {
            let place = self.places.get(hit.id).map_or(&[][..], Vec::as_slice);
            let guards = place.iter().filter_map(|it| self.guards.get(*it));
            guards.filter(|it| asked.is_held_by(it)).for_each(&mut demanded);
        });
    }

    fn add(&mut self, guard: Guarded<T>) {
        if self.guards.contains(&guard) {
            return;
        }
        let id = self.index.add(&guard.path);
        if self.places.len() <= id {
            self.places.resize_with(id + 1, Vec::new);
        }
        if let Some(place) = self.places.get_mut(id) {
            place.push(self.guards.len());
        }
        self.guards.push(guard);
    }
}

/// One request as the guards see it.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    authority: &'a str,
    path: &'a str,
    own: &'a Route,
    /// Whether servers read the path alike, but for the case of letters.
    plain: bool,
}

impl Asked<'_> {
    /// Whether a guard whose path can be reached counts for this request.
    fn is_held_by<T>(&self, guard: &Guarded<T>) -> bool {
        if guard.host.as_ref().is_some_and(|it| it.as_str() != host_of(self.authority)) {
            return false;
        }
        let (own, own_exact) = text_of(&self.own.path);
        let own = own.trim_end_matches('/');
        if own == guard.path && own_exact == guard.exact {
            return false; // the same place (by another method or host): the route's own access says what it needs
        }
        if !self.plain {
            return true;
        }
        if guard.exact {
            // Servers like to treat `/x/` as `/x`; what lies deeper is not protected by an exact path.
            return self.path.trim_end_matches('/').eq_ignore_ascii_case(&guard.path);
        }
        !is_at_or_under(own, &guard.path)
    }
}

fn text_of(path: &PathMatch) -> (&str, bool) {
    match path {
        PathMatch::Prefix(text) => (text, false),
        PathMatch::Exact(text) => (text, true),
    }
}

fn is_at_or_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|it| it.is_empty() || it.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, proptest};
    use proptest::sample::select;

    use super::{FilterTable, GuardTable};
    use crate::config::{Config, PluginUse, Route};
    use crate::generation::fixture;
    use crate::semantics::path::{canonical, could_reach};

    fn table(config: &Config) -> GuardTable {
        GuardTable::build(config, "/api/admin")
    }

    /// Scopes demanded for `path` on the public route `own`.
    fn demanded(table: &GuardTable, path: &str, own: &Route) -> Vec<String> {
        let mut scopes = Vec::new();
        table.each("a.example", path, own, |it| scopes.push(it.needs.clone()));
        scopes.sort();
        scopes
    }

    #[test]
    fn exceptions_below_a_guard_hold_for_plain_paths_only() {
        let mut config = fixture::config("");
        config.routes.push(fixture::exactly("/only", fixture::keyed("", 0, "only")));
        let table = table(&config);
        let health = fixture::exactly("/api/kubesnap/health", fixture::public("", 2));
        let open = fixture::public("/api/kubesnap/open", 2);
        let all = fixture::public("", 0);
        let beside = fixture::public("/only", 0);
        for (path, own, scopes) in [
            ("/api/kubesnap/health", &health, &[][..]),
            ("/api/kubesnap/open/x", &open, &[]),
            ("/api/kubesnap/open/M%26M", &open, &[]),
            ("/api/kubesnap/open/..%2Fx", &open, &["kubesnap"]),
            ("/api/kubesnap/open;v=1", &open, &["kubesnap"]),
            ("/api/kubesnap/open/%252e%252e/x", &open, &["kubesnap"]),
            ("/api/KubeSnap/x", &all, &["kubesnap"]),
            ("/api/kubesnapper", &all, &[]),
            ("/only", &all, &["only"]),
            ("/only/", &all, &["only"]),
            ("/only/", &beside, &["only"]),
            ("/only%2F", &beside, &["only"]),
            ("/only/deeper", &beside, &[]),
            ("/api/admin./x", &all, &["admin"]),
            ("/api/admin%20/x", &all, &["admin"]),
            ("/ONLY", &all, &["only"]),
            ("/only/deeper", &all, &[]),
            ("/only%2F", &all, &["only"]),
            ("/x/..%2Fapi%2Fadmin", &all, &["admin"]),
            ("/x", &all, &[]),
            ("/", &all, &[]),
        ] {
            assert_eq!(demanded(&table, path, own), scopes, "{path}");
        }
    }

    #[test]
    fn a_guard_of_one_host_leaves_others_alone() {
        let host = Some("B.example".to_owned());
        let mut config = fixture::bare();
        config.routes.push(Route { host, ..fixture::keyed("/x", 0, "b") });
        let table = GuardTable::build(&config, "/api/admin");
        for (host, expected) in [("a.example", 0), ("b.EXAMPLE.:80", 1), ("b.example", 1), ("", 0)]
        {
            let mut seen = 0;
            table.each(host, "/x", &fixture::public("", 0), |_| seen += 1);
            assert_eq!(seen, expected, "{host}");
        }
    }

    #[test]
    fn filters_of_every_route_that_a_path_could_reach_are_asked() {
        let mut config = fixture::bare();
        let filters = vec![PluginUse::builtin("require-header", String::new())];
        let open = |path: &str| fixture::public(path, 0);
        let host = Some("B.example".to_owned());
        let routes = [
            (open(""), false),                                           // 0
            (open("/t"), true),                                          // 1
            (open("/t/open"), false),                                    // 2
            (fixture::exactly("/only", open("")), true),                 // 3
            (Route { host: host.clone(), ..open("/h") }, true),          // 4
            (Route { methods: vec!["PUT".into()], ..open("/t") }, true), // 5
            (Route { host, ..open("") }, false),                         // 6
            (open("/t/deep"), true),                                     // 7
        ];
        for (number, (route, filtered)) in routes.into_iter().enumerate() {
            let filters = if filtered { filters.clone() } else { Vec::new() };
            config.routes.push(Route { number: Some(number), filters, ..route });
        }
        let table = FilterTable::build(&config);
        for (host, path, own, expected) in [
            ("a.example", "/x", 0, &[][..]),
            ("a.example", "/t/x", 1, &[1]),
            ("a.example", "/t/x", 5, &[5]),
            ("a.example", "/t%2Fx", 0, &[1, 5]),
            ("a.example", "/t;v=1/x", 0, &[1, 5]),
            ("a.example", "/T/x", 0, &[1, 5]),
            ("a.example", "/x/..%2Ft/x", 0, &[1, 5]),
            ("a.example", "/t/%252e%252e/only", 1, &[1, 3]),
            ("a.example", "/t/open/x", 2, &[]),
            ("a.example", "/t/open/..%2Fx", 2, &[1, 5]),
            ("a.example", "/t/deep/x", 7, &[7]),
            ("a.example", "/t/deep%2Fx", 1, &[1, 7]),
            ("a.example", "/only", 3, &[3]),
            ("a.example", "/only/", 0, &[3]),
            ("a.example", "/only/deeper", 0, &[]),
            ("a.example", "/h%2Fx", 0, &[]),
            ("b.example", "/h%2Fx", 6, &[4]),
            ("b.example", "/t/x", 6, &[1, 5]),
        ] {
            let mut asked = Vec::new();
            table.each(host, path, &config.routes[own], |it| asked.push(it));
            assert_eq!(asked, expected, "{host} {path}");
        }
    }

    #[test]
    fn a_path_of_too_many_readings_needs_every_key_at_once() {
        let table = table(&fixture::config(""));
        let own = fixture::public("/x", 0);
        let nested = format!("/x/%{}2f", "25".repeat(100));
        assert_eq!(demanded(&table, &nested, &own).len(), table.all().len());
        let plain = format!("/x/{}", "%26a/".repeat(1000));
        assert!(demanded(&table, &plain, &own).is_empty());
    }

    /// Paths from pieces that servers disagree about.
    fn odd_path() -> impl Strategy<Value = String> {
        let piece = select(vec![
            "/",
            "/",
            "api",
            "API",
            "admin",
            "admin.",
            "admin%20",
            "Admin",
            "kubesnap",
            "health",
            "x",
            "..",
            ".",
            "%2f",
            "%2F",
            "%5c",
            "%252f",
            "%25",
            "%2e",
            ";",
            ";v=1",
            "%3b",
            "%26",
            "%20",
            "%C3%A9",
            "%c0%af",
            "%e0%80%af",
            "&",
            "|",
            "%61",
            "reports",
            "open",
            "only",
        ]);
        prop::collection::vec(piece, 0..9).prop_map(|it| format!("/{}", it.concat()))
    }

    proptest! {
        #[test]
        fn the_index_misses_nothing_that_a_path_could_reach(raw in odd_path()) {
            let Ok(path) = canonical(&raw) else { return Ok(()) };
            let table = table(&fixture::config(""));
            // Not at or under any guard, so that no exception applies.
            let own = fixture::public("/elsewhere", 0);
            let mut naive: Vec<String> = table.all().iter()
                .filter(|it| could_reach(&path, &it.path))
                .map(|it| it.needs.clone())
                .collect();
            naive.sort();
            assert_eq!(demanded(&table, &path, &own), naive, "{path}");
        }
    }
}
