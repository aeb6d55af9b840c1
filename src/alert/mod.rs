//! The alert path: what was concluded becomes incidents, notices, words and parcels, and goes out until it is accepted.
//!
//! `book` keeps what monitors report, in one write with the notices that follow → `responder` takes notices that are due,
//! groups them, waits a little for the snapshot, has them put into words and puts parcels into the outbox → `outbox` has
//! one worker for each sink. Everything is written before it is sent, so that a crash at any moment loses nothing.

pub mod backoff;
pub mod book;
pub mod client;
#[cfg(test)]
pub(crate) mod fixture;
pub mod grouping;
pub mod incidents;
pub mod kubesnap;
pub mod notice;
pub mod outbox;
pub mod quiet;
pub mod responder;
pub mod routing;
pub mod sinks;
pub mod snapshot_budget;
pub mod snapshot_call;
pub mod steady;
pub mod trial;
pub mod wording;
