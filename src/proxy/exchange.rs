//! One exchange with an upstream as one polled machine: request and response move at the same time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use crate::generation::LiveService;
use crate::model::Coverage;
use crate::proxy::core::Core;
use crate::proxy::downstream::Downstream;
use crate::proxy::patience::{Mark, Patience};
use crate::proxy::plan::Forwarding;
use crate::proxy::reject::Reject;
use crate::proxy::respond::{Answered, Passing};
use crate::proxy::retry::may_repeat;
use crate::semantics::head::Framing;
use crate::wire::h1::read::{HeadReader, NoHead};
use crate::wire::h1::relay::{Broken, Relay};
use crate::wire::transport::Transport;

/// Bytes of following requests that are read while a response is awaited; the read tells whether the client is still there.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// How an exchange ended.
#[derive(Debug)]
pub enum Outcome {
    /// Whole response sent. `keep`: the client's connection may go on; `read`: its request was read to the end;
    /// `reuse`: the upstream's connection may go on.
    Done { keep: bool, read: bool, reuse: bool },
    /// Nothing was taken: another connection may be tried.
    Again,
    /// Refused before a byte of a final response was sent.
    Refuse(Reject),
    /// Broken off after the response began, or the client is gone. The slug says why; `None`: the client went.
    Broken(Option<&'static str>),
    /// The 101 was sent: bytes go both ways from now on.
    Tunnel,
}

/// The machine.
#[derive(Debug)]
pub struct Exchange<U> {
    pub(super) service: Arc<LiveService>,
    pub(super) patience: Patience,
    connection: U,
    /// Read from the upstream and not yet used.
    kept: Vec<u8>,
    pooled: bool,
    pub(super) request: RequestState,
    pub(super) response: Relay,
    pub(super) awaiting: Option<HeadReader>,
    interims: u8,
    /// Bytes of interim responses: they do not count as a response begun.
    interim_bytes: u64,
    pub(super) continued: bool,
    pub(super) began_ms: u64,
    pub(super) sent_ms: u64,
    /// Since when it has been the client's turn to send, or the last look at its rate.
    pub(super) turn: Option<Mark>,
    keep: bool,
    upstream_keeps: bool,
    pub status: u16,
}

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestState {
    Sending,
    Sent,
    /// The upstream stopped reading; it may still have answered.
    Stopped,
}

impl<U: Transport> Exchange<U> {
    /// Ready to be polled.
    pub fn new(
        core: &Core,
        service: &Arc<LiveService>,
        patience: Patience,
        connection: U,
        pooled: bool,
    ) -> Self {
        let now = core.clock.now_ms();
        Self {
            service: Arc::clone(service),
            patience,
            connection,
            kept: Vec::new(),
            pooled,
            request: RequestState::Sending,
            response: Relay::new(core.buffers.take(), Framing::None, false, now),
            awaiting: Some(HeadReader::default()),
            interims: 0,
            interim_bytes: 0,
            continued: false,
            began_ms: now,
            sent_ms: now,
            turn: None,
            keep: false,
            upstream_keeps: false,
            status: 499,
        }
    }

    /// Bytes that the client has got.
    pub fn sent_bytes(&self) -> u64 {
        self.response.accepted
    }

    /// The output buffer, to be recycled.
    pub fn into_buffer(self) -> Vec<u8> {
        self.response.into_buffer()
    }

    /// The upstream connection and the output buffer.
    pub fn into_parts(self) -> (U, Vec<u8>) {
        (self.connection, self.response.into_buffer())
    }

    /// The upstream connection, what was read from it beyond the 101, and what the client has not got of the 101.
    pub fn into_tunnel_parts(self) -> (U, Vec<u8>, Vec<u8>) {
        (self.connection, self.kept, self.response.into_unwritten())
    }

    /// Moves what can be moved.
    pub fn poll<D: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core,
        down: &mut Downstream<D>,
        forwarding: &mut Forwarding,
    ) -> Poll<Outcome> {
        self.poll_all(cx, core, down, forwarding).map(|outcome| match outcome {
            // A part of an interim response has left: what came after it would be read as its rest.
            Outcome::Refuse(reject)
                if self.sent_bytes() > 0 && self.sent_bytes() < self.interim_bytes =>
            {
                Outcome::Broken(Some(reject.code()))
            }
            outcome => outcome,
        })
    }

    fn poll_all<D: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core,
        down: &mut Downstream<D>,
        forwarding: &mut Forwarding,
    ) -> Poll<Outcome> {
        if let Some(outcome) = self.poll_both(cx, core, down, forwarding) {
            return Poll::Ready(outcome);
        }
        if self.is_below_min_rate(core, forwarding) {
            let reject = Outcome::Refuse(Reject::ClientTooSlow);
            let outcome = if self.is_unanswered() {
                reject
            } else {
                Outcome::Broken(Some("client-too-slow"))
            };
            return Poll::Ready(outcome);
        }
        if self.is_client_gone(cx, core, down) {
            return Poll::Ready(Outcome::Broken(None));
        }
        let due = self.due_ms(forwarding);
        down.alarm.poll_due(cx, due).map(|()| self.overdue(core, forwarding))
    }

    fn poll_both<D: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core,
        down: &mut Downstream<D>,
        forwarding: &mut Forwarding,
    ) -> Option<Outcome> {
        if forwarding.request.accepted == 0
            && let Some(reject) = self.look_again(core, forwarding)
        {
            return Some(Outcome::Refuse(reject));
        }
        if self.request == RequestState::Sending
            && let Some(outcome) = self.poll_request(cx, core, down, forwarding)
        {
            return Some(outcome);
        }
        while self.awaiting.is_some() {
            match self.poll_head(cx, core, down, forwarding) {
                Poll::Pending => return None,
                Poll::Ready(Some(outcome)) => return Some(outcome),
                Poll::Ready(None) => {}
            }
        }
        self.poll_body(cx, core, down, forwarding)
    }

    /// Before the first byte of every attempt: has maintenance begun since the decision?
    fn look_again(&self, core: &Core, forwarding: &Forwarding) -> Option<Reject> {
        let gate = core.gate();
        let unchanged = forwarding.gate.as_ref().is_some_and(|it| Arc::ptr_eq(&gate, it));
        if unchanged || forwarding.bypassed || forwarding.passes {
            return None;
        }
        let service = &self.service.service;
        let window = match service.coverage {
            Coverage::Covered => gate.modes.covers(&service.name, core.clock.unix())?,
            Coverage::Exempt => return None,
        };
        Some(Reject::Maintenance { service: service.name.clone(), window: window.clone() })
    }

    fn poll_request<D: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core,
        down: &mut Downstream<D>,
        forwarding: &mut Forwarding,
    ) -> Option<Outcome> {
        let io = (&core.buffers, core.clock.now_ms());
        let from = (&mut down.connection, &mut down.kept);
        let request = &mut forwarding.request;
        match request.poll(cx, io, from, &mut self.connection) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => {
                self.request = RequestState::Sent;
                self.sent_ms = core.clock.now_ms();
                None
            }
            Poll::Ready(Err(Broken::Sink(_)))
                if self.is_unanswered() && may_repeat(forwarding, self.pooled) =>
            {
                Some(Outcome::Again)
            }
            Poll::Ready(Err(Broken::Sink(_))) => {
                self.request = RequestState::Stopped;
                self.sent_ms = core.clock.now_ms();
                None
            }
            Poll::Ready(Err(Broken::SourceClosed(_))) => {
                Some(Outcome::Broken(Some("client-closed")))
            }
            Poll::Ready(Err(broken)) if self.is_unanswered() => {
                Some(Outcome::Refuse(Reject::of_body(&broken)))
            }
            Poll::Ready(Err(_)) => Some(Outcome::Broken(Some("bad-body"))),
        }
    }

    /// Whether no byte of a final response has left.
    pub(super) fn is_unanswered(&self) -> bool {
        self.awaiting.is_some()
    }

    fn poll_head<D: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core,
        down: &mut Downstream<D>,
        forwarding: &mut Forwarding,
    ) -> Poll<Option<Outcome>> {
        let Some(mut reader) = self.awaiting.take() else { return Poll::Ready(None) };
        let mut kept = std::mem::take(&mut self.kept);
        let read = {
            let Self {
                connection,
                response,
                patience,
                keep,
                upstream_keeps,
                status,
                interims,
                interim_bytes,
                request,
                ..
            } = self;
            let mut passing = Passing {
                core,
                down: &mut down.connection,
                forwarding,
                response,
                keep,
                upstream_keeps,
                status,
                interims,
                interim_bytes,
                sent: *request == RequestState::Sent,
                head_bytes_max: patience.response_head_bytes,
            };
            let mut step = |cx: &mut Context<'_>, bytes: &[u8]| passing.step(cx, bytes);
            reader.poll(cx, &core.buffers, (connection, &mut kept), &mut step)
        };
        self.kept = kept;
        match read {
            Poll::Pending => {
                self.awaiting = Some(reader);
                Poll::Pending
            }
            Poll::Ready(Ok(Answered::Interim)) => {
                self.continued = true;
                forwarding.request.touch(core.clock.now_ms());
                self.awaiting = Some(HeadReader::default());
                Poll::Ready(None)
            }
            Poll::Ready(Ok(Answered::Final)) => Poll::Ready(None),
            Poll::Ready(Ok(Answered::Switched)) => Poll::Ready(Some(Outcome::Tunnel)),
            Poll::Ready(Ok(Answered::ClientGone)) => Poll::Ready(Some(Outcome::Broken(None))),
            Poll::Ready(Ok(Answered::Refuse(code))) => Poll::Ready(Some(self.bad_upstream(code))),
            Poll::Ready(Err(no_head)) => Poll::Ready(Some(self.without_head(&no_head, forwarding))),
        }
    }

    fn bad_upstream(&self, code: &'static str) -> Outcome {
        Outcome::Refuse(Reject::BadUpstream { service: self.service.service.name.clone(), code })
    }

    /// The upstream ended without a response.
    fn without_head(&self, no_head: &NoHead, forwarding: &Forwarding) -> Outcome {
        let nothing_came = matches!(no_head, NoHead::Closed | NoHead::Io(_)) && self.interims == 0;
        if nothing_came && may_repeat(forwarding, self.pooled) {
            return Outcome::Again;
        }
        self.bad_upstream(match no_head {
            NoHead::Closed => "closed-before-response",
            NoHead::Truncated => "closed-inside-head",
            NoHead::Io(_) => "reset-before-response",
        })
    }

    fn poll_body<D: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core,
        down: &mut Downstream<D>,
        forwarding: &mut Forwarding,
    ) -> Option<Outcome> {
        let io = (&core.buffers, core.clock.now_ms());
        let from = (&mut self.connection, &mut self.kept);
        match self.response.poll(cx, io, from, &mut down.connection) {
            Poll::Pending => {
                forwarding.let_go_of_gate();
                None
            }
            Poll::Ready(Ok(())) => {
                let sent = self.request == RequestState::Sent;
                let reuse = sent
                    && self.upstream_keeps
                    && self.kept.is_empty()
                    && !self.response.is_until_close();
                Some(Outcome::Done { keep: self.keep && sent, read: sent, reuse })
            }
            Poll::Ready(Err(Broken::Sink(_))) => Some(Outcome::Broken(None)),
            Poll::Ready(Err(Broken::Malformed(code))) => Some(Outcome::Broken(Some(code))),
            Poll::Ready(Err(Broken::SourceClosed(_) | Broken::TooLarge)) => {
                Some(Outcome::Broken(Some("upstream-closed-inside-body")))
            }
        }
    }

    /// Reads ahead of the response: the only way to learn that the client has gone. Its end counts as going, as in nginx and
    /// Go: a client that wants an answer keeps its side open.
    fn is_client_gone<D: Transport>(
        &self,
        cx: &mut Context<'_>,
        core: &Core,
        down: &mut Downstream<D>,
    ) -> bool {
        if self.request != RequestState::Sent {
            return false;
        }
        while let room @ 1.. = AHEAD_BYTES_MAX.saturating_sub(down.kept.len()) {
            let mut scratch = core.buffers.scratch.borrow_mut();
            let mut fresh = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
            match Pin::new(&mut down.connection).poll_read(cx, &mut fresh) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !fresh.filled().is_empty() => {
                    down.kept.extend_from_slice(fresh.filled());
                }
                Poll::Ready(_) => return true,
            }
        }
        false
    }
}
