//! What a decision rests on, step by step, for whoever wants to hear it.

use crate::auth::KeyEntry;
use crate::config::Route;
use crate::maintenance::Window;

/// Hears what a decision rests on, step by step (`explain`). The request path uses `()`, which costs nothing.
pub trait Witness {
    /// One step.
    fn saw(&mut self, step: &Step<'_>);
}

impl Witness for () {
    fn saw(&mut self, _step: &Step<'_>) {}
}

/// One step on the way to a decision.
#[derive(Clone, Debug)]
pub enum Step<'s> {
    /// The path that counts.
    Canonical(&'s str),
    /// A CORS preflight: passes without a key.
    Preflight,
    /// The path is answered by the gate itself.
    Own(&'s str),
    /// The path belongs to this route.
    Routed(&'s Route, Origin),
    /// The service's maintenance is on.
    Covered(&'s Window),
    /// It is on, and the path is that of the service's health, which passes.
    Passes(&'s Window),
    /// The service is covered, and no maintenance is on.
    Open,
    /// The service does not obey maintenance.
    Exempt,
    /// A key with this scope is needed.
    Demanded(&'s str, Because<'s>),
    /// The key that was admitted; `None`: none, or not a valid one.
    Key(Option<&'s KeyEntry>),
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Index in `config.routes`.
    Config(usize),
    /// The config's admin service.
    AdminService,
    /// Its health, which is public.
    AdminHealth,
}

/// Why a scope is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because<'s> {
    /// The route says so.
    Route,
    /// The path is under the admin prefix.
    AdminPrefix,
    /// A server could read the path as one under this protected path.
    CouldReach(&'s str),
}
