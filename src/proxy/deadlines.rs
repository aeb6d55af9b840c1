//! How long an exchange may wait, for whom, and what it means when it has.

use crate::proxy::core::Core;
use crate::proxy::exchange::{Exchange, Outcome, RequestState};
use crate::proxy::patience::Mark;
use crate::proxy::plan::Forwarding;
use crate::proxy::reject::Reject;
use crate::wire::clock::after;
use crate::wire::h1::relay::Waiting;
use crate::wire::transport::Transport;

impl<U: Transport> Exchange<U> {
    /// When the exchange has waited too long, by the core's clock.
    pub(super) fn due_ms(&self, forwarding: &Forwarding) -> u64 {
        let whole = self.patience.request.map_or(u64::MAX, |it| after(self.began_ms, it));
        let request = match self.request {
            RequestState::Sending if self.is_invited(forwarding) => {
                forwarding.request.due_ms(self.patience.body_stall, self.patience.write_stall)
            }
            RequestState::Sending => after(self.began_ms, self.patience.response_head),
            RequestState::Sent | RequestState::Stopped => u64::MAX,
        };
        let response = match (&self.awaiting, self.request) {
            (None, _) => {
                self.response.due_ms(self.patience.response_stall, self.patience.write_stall)
            }
            (Some(_), RequestState::Sending) => u64::MAX,
            (Some(_), _) => after(self.sent_ms, self.patience.response_head),
        };
        whole.min(request).min(response)
    }

    /// Whether the client should be sending its body: not while it waits for a 100.
    fn is_invited(&self, forwarding: &Forwarding) -> bool {
        !forwarding.expect_continue
            || self.continued
            || forwarding.request.received > 0
            || forwarding.request.waits().0 == Waiting::Sink
    }

    /// What has waited too long.
    pub(super) fn overdue(&self, core: &Core, forwarding: &Forwarding) -> Outcome {
        if !self.is_unanswered() {
            return Outcome::Broken(Some("stalled"));
        }
        let service = self.service.service.name.clone();
        let elapsed = u128::from(core.clock.now_ms().saturating_sub(self.began_ms));
        if self.patience.request.is_some_and(|it| it.as_millis() <= elapsed) {
            return Outcome::Refuse(Reject::RequestTimeout { service });
        }
        let client_stalls = self.request == RequestState::Sending
            && self.is_invited(forwarding)
            && forwarding.request.waits().0 == Waiting::Source;
        Outcome::Refuse(match client_stalls {
            true => Reject::ClientTooSlow,
            false => Reject::UpstreamTimeout { service },
        })
    }

    /// Whether the client sends its body more slowly than anybody does who wants to be served (Slowloris). Only time in
    /// which the body was the client's turn counts, and each stretch for itself: what came quickly at first buys nothing.
    pub(super) fn is_below_min_rate(&mut self, core: &Core, forwarding: &Forwarding) -> bool {
        let is_clients_turn = self.request == RequestState::Sending
            && forwarding.request.waits().0 == Waiting::Source
            && self.is_invited(forwarding);
        let here = Mark { at_ms: core.clock.now_ms(), received: forwarding.request.received };
        let Some(since) = self.turn.filter(|_| is_clients_turn) else {
            self.turn = is_clients_turn.then_some(here);
            return false;
        };
        let elapsed = here.at_ms.saturating_sub(since.at_ms);
        if u128::from(elapsed) <= self.patience.min_rate_grace.as_millis() {
            return false;
        }
        self.turn = Some(here);
        (here.received - since.received).saturating_mul(1000)
            < self.patience.min_body_rate.saturating_mul(elapsed)
    }
}
