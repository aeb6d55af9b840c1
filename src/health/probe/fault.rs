//! Why a check ended early: errors of sockets, TLS and HTTP as one of the outcomes, with a line for people.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::model::health::Outcome;

/// Causes of one error that are looked at; a chain has three or four.
const CAUSES_MAX: usize = 8;

/// A check that ended early.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) outcome: Outcome,
    pub(super) text: String,
}

/// More bytes came than a check takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more came than a probe reads")
    }
}

impl Error for TooMuch {}

impl Fault {
    pub(super) fn new(outcome: Outcome, text: impl Into<String>) -> Self {
        Self { outcome, text: text.into() }
    }

    /// The answer cannot be understood.
    pub(super) fn protocol(text: impl Into<String>) -> Self {
        Self::new(Outcome::Protocol, text)
    }

    pub(super) fn late(timeout: Duration) -> Self {
        Self::new(Outcome::Timeout, format!("not done within {} ms", timeout.as_millis()))
    }

    /// What an error of an exchange means: its innermost known cause decides.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut outcome = Outcome::Protocol;
        let mut text = String::new();
        let mut cause = Some(error);
        for _ in 0..CAUSES_MAX {
            let Some(it) = cause else { break };
            say(&mut text, &it.to_string());
            if let Some(known) = known(it) {
                outcome = known;
            }
            cause = it.source();
        }
        Self { outcome, text }
    }

    /// The same for a handshake of TLS, where every end but a socket's own is TLS's.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let fault = Self::of(error);
        let own = matches!(fault.outcome, Outcome::Reset | Outcome::Timeout);
        if own { fault } else { Self { outcome: Outcome::Tls, ..fault } }
    }
}

/// Causes often repeat each other's words.
fn say(text: &mut String, cause: &str) {
    if text.is_empty() {
        cause.clone_into(text);
    } else if !text.contains(cause) {
        text.push_str(": ");
        text.push_str(cause);
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<Outcome> {
    if error.is::<rustls::Error>() {
        return Some(Outcome::Tls);
    }
    if error.is::<TooMuch>() {
        return Some(Outcome::Protocol);
    }
    of_socket(error.downcast_ref::<io::Error>()?)
}

fn of_socket(error: &io::Error) -> Option<Outcome> {
    // An error that wraps another is passed over by `source`.
    if let Some(inner) = error.get_ref() {
        return if inner.is::<rustls::Error>() { Some(Outcome::Tls) } else { known(inner) };
    }
    if is_ours(error) {
        return Some(Outcome::Skipped);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Some(Outcome::Refused),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => Some(Outcome::Reset),
        io::ErrorKind::TimedOut => Some(Outcome::Timeout),
        _ => None,
    }
}

/// What this machine lacks says nothing about the service.
fn is_ours(error: &io::Error) -> bool {
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
        Errno::AGAIN,
    ];
    Errno::from_io_error(error).is_some_and(|it| ours.contains(&it))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{Fault, TooMuch};
    use crate::model::health::Outcome;

    #[test]
    fn each_error_has_its_outcome() {
        let raw = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for (error, outcome) in [
            (raw(Errno::CONNREFUSED), Outcome::Refused),
            (raw(Errno::HOSTUNREACH), Outcome::Refused),
            (raw(Errno::CONNRESET), Outcome::Reset),
            (raw(Errno::PIPE), Outcome::Reset),
            (raw(Errno::TIMEDOUT), Outcome::Timeout),
            (raw(Errno::MFILE), Outcome::Skipped),
            (raw(Errno::ADDRNOTAVAIL), Outcome::Skipped),
            (raw(Errno::IO), Outcome::Protocol),
            (io::Error::other(TooMuch), Outcome::Protocol),
            (io::Error::other(rustls::Error::DecryptError), Outcome::Tls),
            (io::Error::other(raw(Errno::CONNRESET)), Outcome::Reset),
            (io::ErrorKind::UnexpectedEof.into(), Outcome::Protocol),
        ] {
            assert_eq!(Fault::of(&error).outcome, outcome, "{error:?}");
        }
        let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Fault::of_handshake(&ended).outcome, Outcome::Tls);
        assert_eq!(Fault::of_handshake(&raw(Errno::CONNRESET)).outcome, Outcome::Reset);
    }
}
