//! One synchronous pure function decides on every request, whatever the protocol or tool.

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::KeyEntry;
use crate::config::Route;
use crate::generation::{Gate, LiveService};
use crate::model::UnixMs;
use crate::proxy::reject::Reject;
use crate::semantics::forwarded::Client;
use crate::semantics::head::RequestHead;

/// What happens to a request.
#[derive(Debug)]
pub enum Decision<'g, 'a> {
    /// Goes to an upstream.
    Forward(Forward<'g, 'a>),
    /// Is answered by the admin API; the key (if any is needed) has been admitted.
    Admin(AdminCall<'g>),
    /// `/forward-auth` of a trusted peer.
    ForwardAuth,
    /// A CORS preflight that the gate answers itself (own endpoints, and covered services in maintenance).
    Preflight,
    /// `OPTIONS *`.
    OptionsStar,
    /// Refused.
    Refuse(Reject),
}

/// A request that may go on.
#[derive(Debug)]
pub struct Forward<'g, 'a> {
    pub route: &'g Route,
    pub service: &'g Arc<LiveService>,
    /// Canonical; matched, authorised and to be forwarded.
    pub path: Cow<'a, str>,
    /// The admitted key, if a valid one was presented.
    pub key: Option<&'g KeyEntry>,
    /// Passed a maintenance by scope `maintenance:bypass`.
    pub bypassed: bool,
}

/// A request for an endpoint of our own.
#[derive(Debug, PartialEq, Eq)]
pub struct AdminCall<'g> {
    /// Path below `{prefix}/api/admin/`, for example `maintenance/on` or `headgate/config`.
    pub endpoint: String,
    /// Name of the admitted key.
    pub actor: Option<&'g str>,
}

/// Decides. Looks at nothing but its arguments.
pub fn decide<'g, 'a>(
    _gate: &'g Gate,
    _head: &RequestHead<'a>,
    _client: &Client,
    _now: UnixMs,
) -> Decision<'g, 'a> {
    Decision::Refuse(Reject::NoRoute)
}
