//! The synchronous step over one response head: read, check, encode, and send with the body that came with it.

use std::task::{Context, Poll};

use crate::proxy::core::{Core, Phase};
use crate::proxy::plan::Forwarding;
use crate::semantics::head::{Framing, Parsed, Storage, Version};
use crate::semantics::response::{ResponseHead, parse_response};
use crate::wire::h1::encode::{self, ResponseRewrite};
use crate::wire::h1::read::Step;
use crate::wire::h1::relay::{Broken, Relay};
use crate::wire::transport::Transport;

/// Interim responses (1xx) that one exchange may have.
const INTERIM_MAX: u8 = 8;

/// What one response head meant.
#[derive(Debug)]
pub enum Answered {
    Interim,
    Final,
    Switched,
    Refuse(&'static str),
    ClientGone,
}

/// What the step works on.
#[derive(Debug)]
pub struct Passing<'x, D> {
    pub core: &'x Core,
    pub down: &'x mut D,
    pub forwarding: &'x Forwarding,
    pub response: &'x mut Relay,
    pub keep: &'x mut bool,
    pub upstream_keeps: &'x mut bool,
    pub status: &'x mut u16,
    pub interims: &'x mut u8,
    pub interim_bytes: &'x mut u64,
    pub sent: bool,
    pub head_bytes_max: usize,
}

impl<D: Transport> Passing<'_, D> {
    /// The step.
    pub fn step(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Step<Answered> {
        let mut storage = Storage::default();
        let method = if self.forwarding.head_only { "HEAD" } else { "GET" };
        let (head, used) = match parse_response(bytes, &mut storage, method, self.head_bytes_max) {
            Ok(Parsed::Partial) => return Step::More,
            Ok(Parsed::Whole(head, used)) => (head, used),
            Err(error) => return Step::Done { value: Answered::Refuse(error.code), used: 0 },
        };
        match head.status {
            101 => Step::Done { value: self.switched(cx, &head), used },
            100..=199 => Step::Done { value: self.interim(cx, &head), used },
            _ => {
                let (value, body) = self.last(cx, &head, bytes.get(used..).unwrap_or_default());
                Step::Done { value, used: used + body }
            }
        }
    }

    fn interim(&mut self, cx: &mut Context<'_>, head: &ResponseHead<'_>) -> Answered {
        *self.interims += 1;
        if *self.interims > INTERIM_MAX {
            return Answered::Refuse("too-many-interim-responses");
        }
        let understood = self.forwarding.version != Version::Http10;
        let asked = head.status != 100 || self.forwarding.expect_continue;
        if understood && asked {
            let before = self.response.queue().len();
            encode::interim(self.response.queue(), head);
            *self.interim_bytes += (self.response.queue().len() - before) as u64;
            let now = self.core.clock.now_ms();
            if let Poll::Ready(Err(_)) = self.response.poll_flush(cx, now, self.down) {
                return Answered::ClientGone;
            }
        }
        Answered::Interim
    }

    fn switched(&mut self, cx: &mut Context<'_>, head: &ResponseHead<'_>) -> Answered {
        if !self.forwarding.upgrade || head.upgrade.is_none() {
            return Answered::Refuse("unasked-101");
        }
        *self.status = 101;
        self.encode(head, Framing::None, true);
        let now = self.core.clock.now_ms();
        match self.response.poll_flush(cx, now, self.down) {
            Poll::Ready(Err(_)) => Answered::ClientGone,
            Poll::Ready(Ok(())) | Poll::Pending => Answered::Switched,
        }
    }

    fn last(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead<'_>,
        body: &[u8],
    ) -> (Answered, usize) {
        let old = self.forwarding.version == Version::Http10;
        let unknown_length = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
        let framing = match (unknown_length, old) {
            (false, _) => head.framing,
            (true, false) => Framing::Chunked,
            (true, true) => Framing::UntilClose,
        };
        let request_read = self.sent || self.forwarding.request.has_ended();
        *self.keep = self.forwarding.keep_alive
            && request_read
            && framing != Framing::UntilClose
            && self.core.phase() == Phase::Serving;
        // What an upstream that answers early does with the rest of the request is its own affair: perhaps it reads it
        // as another request.
        *self.upstream_keeps = head.keep_alive && self.sent;
        self.encode(head, framing, *self.keep);
        self.response.begin(head.framing, framing == Framing::Chunked);
        let before = *self.status;
        *self.status = head.status;
        match self.response.push(cx, self.core.clock.now_ms(), body, self.down) {
            Ok(used) => (Answered::Final, used),
            Err(Broken::Malformed(code)) if self.response.accepted <= *self.interim_bytes => {
                *self.status = before;
                (Answered::Refuse(code), 0)
            }
            Err(_) => (Answered::ClientGone, 0),
        }
    }

    fn encode(&mut self, head: &ResponseHead<'_>, framing: Framing, keep_alive: bool) {
        let rewrite = ResponseRewrite {
            version: self.forwarding.version,
            framing,
            keep_alive,
            request_id: self.forwarding.record.request_id.as_bytes(),
            bypassed: self.forwarding.bypassed,
        };
        encode::response(self.response.queue(), head, &rewrite);
    }
}
