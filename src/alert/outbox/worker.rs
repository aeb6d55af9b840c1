//! One sink's worker: takes parcels in order, sends, judges, waits, tries again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::alert::backoff;
use crate::alert::client::{Client, ClientError, Outgoing, Received};
use crate::alert::outbox::queue::Queue;
use crate::alert::outbox::shelf::Shelf;
use crate::alert::outbox::trouble::Why;
use crate::alert::outbox::{Fate, Outbox, Parcel, State, now};
use crate::alert::sinks::{Answered, Call, Sink};
use crate::model::UnixMs;
use crate::store::crash::crash_point;
use crate::store::{Batch, Table};
use crate::telemetry::alerts::Attempted;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 16 << 10;
/// A worker looks around at least so often.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Before a worker that broke down begins again.
const BROKE_DOWN: Duration = Duration::from_secs(1);

/// What a worker does next.
enum Next {
    Send(Arc<dyn Sink>, Arc<Parcel>),
    /// Until then, or until somebody rings.
    Sleep(Instant),
    /// The config has no such sink any more.
    End,
}

/// Delivers what one sink has to get, as long as the config names it, whatever breaks down meanwhile.
pub(super) async fn work(outbox: Arc<Outbox>, name: String, bell: Arc<Notify>) {
    loop {
        let delivering = deliver_all(Arc::clone(&outbox), name.clone(), Arc::clone(&bell));
        match tokio::spawn(delivering).await {
            Err(error) if error.is_panic() => {
                tracing::error!(sink = name, %error, "a worker of the outbox broke down; it begins again");
            }
            _ => return,
        }
        outbox.broke_down(&name);
        sleep(BROKE_DOWN).await;
    }
}

async fn deliver_all(outbox: Arc<Outbox>, name: String, bell: Arc<Notify>) {
    let mut calls: JoinSet<()> = JoinSet::new();
    let mut numbers: HashMap<Id, u64> = HashMap::new();
    loop {
        let until = match outbox.next(&name) {
            Next::Send(sink, parcel) => {
                let number = parcel.number;
                let call = calls.spawn(deliver(Arc::clone(&outbox), sink, parcel));
                numbers.insert(call.id(), number);
                continue;
            }
            Next::Sleep(until) => until,
            Next::End => return,
        };
        tokio::select! {
            Some(ended) = calls.join_next_with_id(), if !calls.is_empty() => {
                let (id, panicked) = match ended {
                    Ok((id, ())) => (id, false),
                    Err(error) => (error.id(), true),
                };
                // A call that broke down is a failure like any other: its parcel must not wait for ever.
                if let Some(number) = numbers.remove(&id).filter(|_| panicked) {
                    let reason = String::from("the call broke down; the log says where");
                    outbox.settle(&name, number, Answered::Again { reason, after: None });
                }
            }
            () = bell.notified() => {}
            () = sleep_until(until) => {}
        }
    }
}

async fn deliver(outbox: Arc<Outbox>, sink: Arc<dyn Sink>, parcel: Arc<Parcel>) {
    crash_point("send-before");
    let (answered, attempted) = match outbox.client.get().await {
        Ok(client) => attempt(client, sink.as_ref(), &parcel).await,
        Err(error) => failed(&error),
    };
    crash_point("send-after");
    if let Some(counts) = outbox.counts.get() {
        counts.sink(sink.name()).attempted(attempted);
    }
    outbox.settle(sink.name(), parcel.number, answered);
}

/// One attempt; a second call only where the sink has a plainer form of what was refused.
async fn attempt(client: &Client, sink: &dyn Sink, parcel: &Parcel) -> (Answered, Attempted) {
    let now_ms = UnixMs::now().0;
    let call = match sink.call(parcel, now_ms) {
        Ok(call) => call,
        Err(reason) => return (Answered::Refused { reason }, Attempted::Refused),
    };
    let received = match client.send(outgoing(sink, parcel, call)).await {
        Ok(received) => received,
        Err(error) => return failed(&error),
    };
    let answered = judged(sink, &received);
    if let Answered::Refused { .. } = answered
        && let Some(plainer) = sink.plainer(parcel, received.status)
    {
        return match client.send(outgoing(sink, parcel, plainer)).await {
            Ok(received) => with_kind(judged(sink, &received)),
            Err(error) => failed(&error),
        };
    }
    with_kind(answered)
}

fn outgoing(sink: &dyn Sink, parcel: &Parcel, call: Call) -> Outgoing {
    let own = call.headers.into_iter().map(|(name, value)| (name, SecretString::from(value)));
    let mut headers: Vec<_> = own.collect();
    headers.push(("content-type", SecretString::from("application/json")));
    headers.push(("idempotency-key", SecretString::from(parcel.key.as_str())));
    Outgoing {
        method: Method::POST,
        url: call.url,
        headers,
        body: call.body,
        timeout: sink.timeout(),
        body_max: ANSWER_MAX,
    }
}

fn judged(sink: &dyn Sink, received: &Received) -> Answered {
    let now_ms = UnixMs::now().0;
    let asked = received.retry_after.as_deref().and_then(|it| backoff::asked(it, now_ms));
    sink.judge(received.status, asked, &received.body)
}

fn with_kind(answered: Answered) -> (Answered, Attempted) {
    let attempted = match answered {
        Answered::Accepted => Attempted::Accepted,
        Answered::Again { .. } => Attempted::Again,
        Answered::Refused { .. } => Attempted::Refused,
    };
    (answered, attempted)
}

fn failed(error: &ClientError) -> (Answered, Attempted) {
    let reason = error.to_string();
    match error {
        // No later attempt has other headers.
        ClientError::Header(_) => (Answered::Refused { reason }, Attempted::Refused),
        _ => (Answered::Again { reason, after: None }, Attempted::Failed),
    }
}

impl Outbox {
    fn next(&self, name: &str) -> Next {
        self.release(false);
        let (mut shelf, now) = (self.shelf(), now());
        let Shelf { sinks, queues, bells, .. } = &mut *shelf;
        let queue = queues.entry(name.to_owned()).or_default();
        let Some(sink) = sinks.get(name) else {
            if queue.flying().is_empty() {
                bells.remove(name);
                return Next::End;
            }
            return Next::Sleep(now.at + LOOK_MAX);
        };
        match queue.take(now.at) {
            Some(parcel) => Next::Send(Arc::clone(sink), parcel),
            None => {
                let latest = now.at + LOOK_MAX;
                Next::Sleep(queue.next().map_or(latest, |it| it.min(latest)))
            }
        }
    }

    /// What was on its way when a worker broke down is tried again, with the same key.
    pub(super) fn broke_down(self: &Arc<Self>, sink: &str) {
        let flying = self.shelf().queues.get(sink).map(Queue::flying).unwrap_or_default();
        for number in flying {
            let reason = String::from("its worker broke down; the log says where");
            self.settle(sink, number, Answered::Again { reason, after: None });
        }
    }

    /// Acts on what an attempt has met.
    pub(in crate::alert) fn settle(self: &Arc<Self>, sink: &str, number: u64, answered: Answered) {
        match answered {
            Answered::Accepted => self.accepted(sink, number),
            Answered::Again { reason, after } => {
                let why = Why { reason, asked: after, random: random() };
                self.again(sink, number, &why);
            }
            Answered::Refused { reason } => {
                let mut shelf = self.shelf();
                let queue = shelf.queues.entry(sink.to_owned()).or_default();
                let dead = queue.refused(number, &reason, now());
                drop(shelf);
                self.bury(&dead);
            }
        }
    }

    /// Its row is deleted; only then may go what follows it. A crash in between repeats it with the same key.
    fn accepted(self: &Arc<Self>, sink: &str, number: u64) {
        let mut shelf = self.shelf();
        let queue = shelf.queues.entry(sink.to_owned()).or_default();
        if queue.trouble.is_some() {
            tracing::info!(sink, "the sink accepts again");
        }
        if !queue.accepted(number) {
            return;
        }
        drop(shelf);
        crash_point("acknowledge-before");
        let mut batch = Batch::default();
        batch.delete(Table::Outbox, super::row(sink, number));
        let written = self.ledger.write(batch);
        let (outbox, sink) = (Arc::clone(self), sink.to_owned());
        tokio::spawn(async move {
            let written = written.await;
            crash_point("acknowledge-after");
            outbox.note_failure(written);
            let mut shelf = outbox.shelf();
            let gone = shelf.queues.get_mut(&sink).and_then(|it| it.gone(number));
            shelf.bells.get(&sink).inspect(|it| it.notify_one());
            drop(shelf);
            if let Some(parcel) = gone {
                outbox.tell(&parcel, &Fate::Delivered);
            }
        });
    }

    fn again(&self, sink: &str, number: u64, why: &Why) {
        let (mut shelf, now) = (self.shelf(), now());
        let give_up = shelf.give_up;
        let queue = shelf.queues.entry(sink.to_owned()).or_default();
        let parcel = queue.again(number, why, now);
        if queue.trouble.as_ref().is_some_and(|it| it.is_new()) {
            tracing::warn!(sink, reason = why.reason, "the sink does not accept alerts");
        }
        let dead = queue.expire(give_up, now);
        drop(shelf);
        // How often it was tried is worth no waiting: the next process begins anew at worst.
        let mut batch = Batch::default();
        if let Some(parcel) = parcel {
            batch.put(Table::Outbox, parcel.row(), parcel.as_ref());
        }
        drop(self.ledger.write(batch));
        self.bury(&dead);
    }

    /// Writes and tells what is dead now. Not waited for: a crash before that has it refused once more.
    pub(super) fn bury(&self, dead: &[Arc<Parcel>]) {
        if dead.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        for parcel in dead {
            batch.put(Table::Outbox, parcel.row(), parcel.as_ref());
        }
        drop(self.ledger.write(batch));
        for parcel in dead {
            let State::Dead { reason, .. } = &parcel.state else { continue };
            let Parcel { sink, number, .. } = parcel.as_ref();
            tracing::error!(sink, number, reason, "an alert is not delivered; `headgate outbox`");
            self.tell(parcel, &Fate::Dead(reason));
        }
    }

    /// Lets the workers have what is written (`one` batch), or was for too long on the way.
    pub(super) fn release(&self, one: bool) {
        let dead = self.shelf().release(one, now());
        self.bury(&dead);
    }
}

/// For the jitter; without random numbers there is none.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
