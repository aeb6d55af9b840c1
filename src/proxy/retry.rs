//! When a request may be sent a second time.

use crate::config::Retry;
use crate::proxy::plan::Forwarding;

/// Whether a request that got no response may be sent again: where nothing was taken; where the route asks for more, also
/// after connections that had idled, and once after one that had not, to another endpoint.
pub fn may_repeat(forwarding: &Forwarding, pooled: bool) -> bool {
    let nothing_taken = forwarding.request.accepted == 0;
    nothing_taken
        || (forwarding.retry == Retry::Idempotent
            && forwarding.idempotent
            && forwarding.request.has_ended()
            && (pooled || !forwarding.repeated))
}
