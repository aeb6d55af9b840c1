//! The test language: the real binary, raw clients and raw upstreams on real sockets.
#![allow(
    dead_code,
    reason = "a word of the language may be used by few tests, or by none for a while"
)]

pub(crate) mod alerting;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod peers;
pub(crate) mod setup;
pub(crate) mod toxic;
pub(crate) mod upstream;
pub(crate) mod wait;
pub(crate) mod wire;

pub(crate) use client::{RawClient, Response};
pub(crate) use gateway::Gateway;
pub(crate) use setup::Setup;
pub(crate) use toxic::{ToxicProxy, Toxics};
pub(crate) use upstream::{Exchange, RawUpstream, Upstream};
pub(crate) use wait::{Signal, until};

/// A key with scope `admin` in most tests; long enough to draw no warning.
pub(crate) const OPERATOR: &str = "operator-key-0123456789abcdef";

/// A key of lesser rank in some tests.
pub(crate) const READER: &str = "reader-key-0123456789abcdefgh";
