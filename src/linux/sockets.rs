//! Socket options that only Linux has.

use std::io;
use std::os::fd::AsFd;

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{SockFilter, SockRef};

/// `ldb [13]`: the flags of a TCP header.
const LOAD_FLAGS: SockFilter = SockFilter::new(0x30, 0, 0, 13);
/// `and #0x12`: SYN and ACK.
const ONLY_SYN_AND_ACK: SockFilter = SockFilter::new(0x54, 0, 0, 0x12);
/// `jeq #0x02, 0, 1`: a SYN that opens a connection.
const IS_OPENING: SockFilter = SockFilter::new(0x15, 0, 1, 0x02);
/// `ret #0`: drop.
const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
/// `ret #-1`: keep.
const KEEP: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);

/// Ends a connection whose peer has not acknowledged what was sent for so long (`TCP_USER_TIMEOUT`).
///
/// # Errors
/// The operating system's error.
pub fn give_up_unacknowledged_after_ms(stream: &impl AsFd, ms: u32) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, ms)?)
}

/// Makes every connection that a listening socket gives send at once: they inherit `TCP_NODELAY`, which saves a system
/// call for each.
///
/// # Errors
/// The operating system's error.
pub fn accept_without_delay(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).set_tcp_nodelay(true)
}

/// Lets no new connection begin on a listening socket, while handshakes under way still end in its queue.
///
/// Closing a listener resets what is queued in it, and a connection may always arrive between the last `accept` and the
/// `close`. With its SYN dropped the client asks again a second later: it then meets the successor, or nobody, but is never
/// reset in the middle. Not for a socket that another process also holds.
///
/// # Errors
/// The operating system's error.
pub fn refuse_new_connections(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).attach_filter(&[LOAD_FLAGS, ONLY_SYN_AND_ACK, IS_OPENING, DROP, KEEP])
}

/// Lets this process have as many descriptors as it may: shells and systemd give 1024 at first.
pub fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Client connections that this process has descriptors for: each may need another one to an upstream, and the state
/// file must never want for one.
pub fn affordable_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::accept_without_delay;

    #[test]
    fn accepted_connections_inherit_no_delay() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        accept_without_delay(&listener).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
