//! Clients that do not read for a while: what they get in the end is whole or visibly broken off.

use crate::support::wire::WireError;
use crate::support::{Gateway, Upstream, until};

const LONG_HEADS: &str = "limits: { responseHeadBytes: 1MiB }";
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// Interim responses of almost 8 MiB together: more than the kernel keeps for a client that does not read.
fn interims() -> String {
    let fields = format!("X-Hint: {}\r\n", "v".repeat(10_000)).repeat(98);
    format!("HTTP/1.1 103 Early Hints\r\n{fields}\r\n").repeat(8)
}

#[test]
fn a_refusal_never_stands_in_the_middle_of_an_interim_response() {
    let upstream = Upstream::http1()
        .handle("/hints", |it| it.send(interims()).close())
        .otherwise("right")
        .start();
    let gateway = Gateway::in_front_of("a", &upstream).with(LONG_HEADS).start();
    let mut client = gateway.connect();
    client.get("/hints", "");
    until("the exchange is over", || !gateway.access_lines().is_empty());
    let mut hints = 0;
    let end = loop {
        match client.wire.head() {
            Ok(head) if head.start == "HTTP/1.1 103 Early Hints" => {
                assert_eq!(head.fields.len(), 98, "a torn head");
                hints += 1;
            }
            other => break other,
        }
    };
    match end {
        Ok(head) => assert_eq!((hints, head.start.as_str()), (8, "HTTP/1.1 502 Bad Gateway")),
        Err(why) => assert!(matches!(why, WireError::Reset | WireError::Truncated), "{why:?}"),
    }
    gateway.get("/next").send().expect_text("right");
}

#[test]
fn a_101_that_could_not_be_sent_at_once_comes_before_the_tunnel() {
    let upstream = Upstream::by(|it| {
        it.send(interims());
        it.send(format!("HTTP/1.1 101 Switching Protocols\r\n{HANDSHAKE}\r\ngreeting")).close();
    });
    let gateway = Gateway::in_front_of("a", &upstream).with(LONG_HEADS).start();
    let mut client = gateway.connect();
    client.get("/ws", HANDSHAKE);
    until("the tunnel is open", || gateway.metric("headgate_tunnels", "") > 0.0);
    for _ in 0..8 {
        assert_eq!(client.head().start, "HTTP/1.1 103 Early Hints");
    }
    assert_eq!(client.head().start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.wire.take(8).as_deref(), Ok(b"greeting".as_slice()));
}
