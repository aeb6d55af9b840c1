//! A downstream connection as its exchanges see it, and what becomes of it after each.

use crate::proxy::plan::Peer;
use crate::wire::clock::Alarm;

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request may follow.
    Keep,
    /// The last answer was sent to a request that was read whole: just closed.
    Close,
    /// The last answer was sent and the client may still be sending: closed in a way that lets it read the answer.
    Linger,
    /// Nothing more to say: the client has gone, or what was sent must not look complete.
    Abort,
}

/// A downstream connection and what was read from it too early.
#[derive(Debug)]
pub struct Downstream<D> {
    pub connection: D,
    pub kept: Vec<u8>,
    pub alarm: Alarm,
    pub peer: Peer,
}
