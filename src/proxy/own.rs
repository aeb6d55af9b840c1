//! Answers that the gate makes itself, and what remains of their requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::sync::OwnedSemaphorePermit;

use crate::admin::Call;
use crate::admin::plugins::{BodyRoom, UPLOAD_BYTES_MAX, UPLOAD_PATIENCE};
use crate::proxy::core::Core;
use crate::proxy::downstream::{After, Downstream};
use crate::proxy::plan::{AdminExchange, Answering, Rest};
use crate::proxy::reject::{Asked, Reject};
use crate::proxy::stream;
use crate::semantics::head::Framing;
use crate::wire::answer::{Answer, Reply};
use crate::wire::h1::encode;
use crate::wire::h1::relay::Relay;
use crate::wire::transport::Transport;

/// Bytes of a body that is read whole: an admin call's, or one that is dropped. Only a component that is pushed may be
/// larger (`Admin::body_room`).
const BODY_BYTES_MAX: u64 = 32 * 1024;
/// An admin call, a drain included.
const ADMIN_PATIENCE: Duration = Duration::from_secs(600);

/// Sends an encoded answer and clears the way for the next request.
pub async fn answer<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    answering: &mut Answering,
) -> After {
    if !send(core, down, std::mem::take(&mut answering.out)).await {
        return After::Abort;
    }
    match answering.rest {
        Rest::Close => After::Linger,
        Rest::Keep(framing) => match read_body(core, down, framing, None).await {
            Some(_) => After::Keep,
            None => After::Linger,
        },
    }
}

/// Asks the admin API on the control runtime and sends its answer.
pub async fn admin<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    asked: &mut AdminExchange,
) -> After {
    let has_body = !matches!(asked.framing, Framing::None | Framing::Length(0));
    let room = if has_body { core.shared.admin.body_room(&asked.call) } else { BodyRoom::Small };
    let place = match room {
        BodyRoom::Small => None,
        BodyRoom::Large(place) => Some(place),
        BodyRoom::Taken(answer) => {
            // The body is not read, so the connection cannot go on.
            asked.keep = false;
            return reply(core, down, asked, *answer).await;
        }
    };
    // Nobody has to send a body that will be refused.
    let may_come = !matches!(asked.framing, Framing::Length(it) if it > most(place.as_ref()));
    let waits = has_body && asked.expect_continue && may_come;
    if waits && !send(core, down, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()).await {
        return After::Abort;
    }
    let answer = match read_body(core, down, asked.framing, place.as_ref()).await {
        Some(body) => {
            asked.call.body = body;
            ask(core, asked, place).await
        }
        None => {
            asked.keep = false;
            refusal(core, &Reject::BodyTooLarge, asked).into()
        }
    };
    match answer {
        Reply::Whole(answer) => reply(core, down, asked, answer).await,
        Reply::Streamed(it) => Box::pin(stream::streamed(core, down, asked, it)).await,
    }
}

async fn reply<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    asked: &mut AdminExchange,
    mut answer: Answer,
) -> After {
    answer.headers.append(&mut asked.dressing);
    let mut out = core.buffers.take();
    encode::answer(&mut out, &answer, asked.version, asked.keep, asked.head_only);
    asked.record.answered(answer.status, out.len() as u64);
    let what = (asked.call.method.as_bytes(), asked.path.as_bytes(), asked.authority.as_bytes());
    asked.record.log(core, Some(&core.gate()), None, what);
    match send(core, down, out).await {
        false => After::Abort,
        true if asked.keep => After::Keep,
        true => After::Linger,
    }
}

/// The place of a large body is held until the call is over, whoever still waits for it.
async fn ask(
    core: &Rc<Core>,
    asked: &mut AdminExchange,
    place: Option<OwnedSemaphorePermit>,
) -> Reply {
    let body = std::mem::take(&mut asked.call.body);
    let call = Call { body, ..asked.call.clone() };
    let admin = Arc::clone(&core.shared.admin);
    let running = core.shared.control.spawn(async move {
        let answer = admin.answer(call).await;
        drop(place);
        answer
    });
    let detail = match tokio::time::timeout(ADMIN_PATIENCE, running).await {
        Ok(Ok(answer)) => return answer,
        Ok(Err(error)) => format!("the handler failed: {error}"),
        Err(_) => format!("the handler did not answer in {ADMIN_PATIENCE:?}"),
    };
    refusal(core, &Reject::Internal { detail }, asked).into()
}

fn refusal(core: &Core, reject: &Reject, asked: &AdminExchange) -> Answer {
    core.metrics.refused(reject.code());
    let gate = core.gate();
    let config = &gate.generation.config;
    let request_id = asked.record.request_id.as_str();
    reject.answer(&Asked { head: None, request_id, config, now: core.clock.unix() })
}

/// Writes bytes to the client within the write-stall time. False: the client is gone or does not read.
pub async fn send<D: Transport>(core: &Core, down: &mut Downstream<D>, bytes: Vec<u8>) -> bool {
    let mut relay = Relay::new(bytes, Framing::None, false, core.clock.now_ms());
    let stall = core.gate().generation.config.timeouts.write_stall;
    let sent = poll_fn(|cx| {
        let now = core.clock.now_ms();
        if let Poll::Ready(flushed) = relay.poll_flush(cx, now, &mut down.connection) {
            return Poll::Ready(flushed.is_ok());
        }
        let due = relay.due_ms(stall, stall);
        down.alarm.poll_due(cx, due).map(|()| false)
    })
    .await;
    core.buffers.give(relay.into_buffer());
    sent
}

/// Bytes that a body may have.
fn most(place: Option<&OwnedSemaphorePermit>) -> u64 {
    if place.is_some() { UPLOAD_BYTES_MAX as u64 } else { BODY_BYTES_MAX }
}

/// Reads a body whole: a small one, or with a place a large one. `None`: too large, malformed, too slow, or the client is
/// gone.
async fn read_body<D: Transport>(
    core: &Core,
    down: &mut Downstream<D>,
    framing: Framing,
    place: Option<&OwnedSemaphorePermit>,
) -> Option<Vec<u8>> {
    if matches!(framing, Framing::None | Framing::Length(0)) {
        return Some(Vec::new());
    }
    let most = most(place);
    if matches!(framing, Framing::Length(it) if it > most) {
        return None;
    }
    let patience = match place {
        None => core.gate().generation.config.timeouts.body_stall,
        Some(_) => UPLOAD_PATIENCE,
    };
    let mut relay = Relay::new(Vec::new(), framing, false, 0).at_most(Some(most));
    let due = down.alarm.at(patience);
    let mut body = Vec::new();
    let whole = poll_fn(|cx| {
        loop {
            let mut used = 0;
            if !down.kept.is_empty() {
                used = match relay.absorb(&down.kept) {
                    Ok(used) => used,
                    Err(_) => return Poll::Ready(false),
                };
                down.kept.drain(..used);
                body.append(relay.queue());
            }
            if relay.has_ended() {
                return Poll::Ready(true);
            }
            if down.alarm.poll_due(cx, due).is_ready() {
                return Poll::Ready(false);
            }
            if used > 0 && !down.kept.is_empty() {
                continue;
            }
            let mut scratch = core.buffers.scratch.borrow_mut();
            let mut fresh = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut down.connection).poll_read(cx, &mut fresh)) {
                Ok(()) if !fresh.filled().is_empty() => down.kept.extend_from_slice(fresh.filled()),
                _ => return Poll::Ready(false),
            }
        }
    })
    .await;
    whole.then_some(body)
}
