//! Receivers of alerts, one file each: how a parcel becomes a request, and what an answer means.

pub mod event_dispatcher;
pub mod slack;
pub mod webhook;

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::alert::outbox::Parcel;

/// A request to a sink. Only `POST`.
#[derive(Debug)]
pub struct Call {
    /// A secret where the URL is one (Slack): never logged.
    pub url: SecretString,
    /// Without `Content-Type: application/json`, `Idempotency-Key` and `User-Agent`, which every call has.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// What a sink's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    Accepted,
    /// Try again; not before `after` when the receiver asked for that.
    Again {
        reason: String,
        after: Option<Duration>,
    },
    /// It will never be accepted as it is.
    Refused {
        reason: String,
    },
}

/// A receiver of alerts.
pub trait Sink: fmt::Debug + Send + Sync {
    /// The name in the config.
    fn name(&self) -> &str;

    /// For one call.
    fn timeout(&self) -> Duration;

    /// How the parcel is sent. Pure.
    ///
    /// # Errors
    /// Why it cannot be sent at all (dead-lettered).
    fn call(&self, parcel: &Parcel, now_ms: u64) -> Result<Call, String>;

    /// What an answer means. Pure; `body` is cut at 16 KiB.
    fn judge(&self, status: u16, retry_after: Option<&str>, body: &[u8]) -> Answered;
}
