//! The health path: one monitor for each service: tick, probe, judge, track, tell.
//!
//! A tick carries no input, so that a restart, a reload and a tick run the same code. In maintenance the service is
//! probed and recorded as always; only what is told of it waits.

pub mod board;
pub mod endpoints;
pub mod flap;
pub mod monitor;
pub mod monitors;
pub mod pace;
pub mod probe;
pub mod restore;
pub mod round;
pub mod tracker;
pub mod traffic;
pub mod window;

use std::fmt;

use crate::health::tracker::Track;
use crate::model::health::Sample;
use crate::model::incident::Change;
use crate::store::BoxFuture;

/// What a monitor has concluded: to be made durable together, before anybody is told.
#[derive(Clone, Debug)]
pub struct Report {
    pub service: String,
    /// Where the tracker stands after `changes`.
    pub track: Track,
    /// In order; not empty.
    pub changes: Vec<Change>,
    /// The newest samples, oldest first, at most 8.
    pub evidence: Vec<Sample>,
    /// Whether the gate answers for the service: recorded, not sent.
    pub muted: bool,
}

/// Who takes reports: the alert path, which this room does not know.
pub trait Reporter: fmt::Debug + Send + Sync {
    /// Keeps track, incident and the notices that follow from the changes in one write; answers when that is durable, or
    /// is known not to be (the rows are in memory then, and what must be sent is sent all the same). Never waits longer
    /// than a second or so.
    fn report(&self, report: Report) -> BoxFuture<'_, ()>;
}
