//! Which scopes a path demands besides its own route's, because a server may read it as a protected one.

use crate::config::{Config, PathMatch, Route};
use crate::generation::path_index::PathIndex;
use crate::generation::routes::host_of;
use crate::model::{Access, SCOPE_ADMIN};
use crate::semantics::path::could_reach;

/// A path that only holders of a scope may reach, however a request spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Host it is limited to (lower case); `None`: any.
    pub host: Option<String>,
    /// Canonical, without trailing slash.
    pub path: String,
    /// Whether only this path is protected, not what lies under it.
    pub exact: bool,
    /// What a key must have.
    pub scope: String,
}

/// All protected paths of a generation.
#[derive(Debug, Default)]
pub struct GuardTable {
    guards: Vec<Guarded>,
    index: PathIndex,
    /// Indexes into `guards` by the index's ids.
    places: Vec<Vec<usize>>,
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
            table.add(Guarded {
                host: None,
                path: admin_prefix.to_owned(),
                exact: false,
                scope: SCOPE_ADMIN.to_owned(),
            });
        }
        for route in &config.routes {
            if let Access::Key(scope) = &route.access {
                let (text, exact) = text_of(&route.path);
                table.add(Guarded {
                    host: route.host.as_ref().map(|it| it.to_ascii_lowercase()),
                    path: text.trim_end_matches('/').to_owned(),
                    exact,
                    scope: scope.clone(),
                });
            }
        }
        table
    }

    /// All guards, the admin prefix first.
    pub fn all(&self) -> &[Guarded] {
        &self.guards
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
        mut demanded: impl FnMut(&'t Guarded),
    ) {
        if self.guards.is_empty() {
            return;
        }
        let asked = Asked { authority, path, own, plain: is_plain(path) };
        if !asked.plain {
            let reached = self.guards.iter().filter(|it| could_reach(path, &it.path));
            return reached.filter(|it| asked.is_held_by(it)).for_each(demanded);
        }
        self.index.visit(path, |hit| {
            let place = self.places.get(hit.id).map_or(&[][..], Vec::as_slice);
            let guards = place.iter().filter_map(|it| self.guards.get(*it));
            guards.filter(|it| asked.is_held_by(it)).for_each(&mut demanded);
        });
    }

    fn add(&mut self, guard: Guarded) {
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
    plain: bool,
}

impl Asked<'_> {
    /// Whether a guard whose path can be reached counts for this request.
    fn is_held_by(&self, guard: &Guarded) -> bool {
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
            let is_own = own_exact && own == self.path;
            return !is_own && self.path.trim_end_matches('/').eq_ignore_ascii_case(&guard.path);
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

/// Whether servers can read a canonical path in one way only, but for the case of letters: nothing to decode, no
/// parameters, no backslash, no segment that ends in a dot (which Windows drops).
pub fn is_plain(path: &str) -> bool {
    let usual = |it: u8| it.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&it);
    path.bytes().all(usual) && !path.ends_with('.') && !path.contains("./")
}
