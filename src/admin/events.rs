//! `headgate/events`: what happens, told to followers as it happens (server-sent events, WHATWG HTML §9.2).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::{Admin, Call};
use crate::generation::live::Live;
use crate::health::board::Told;
use crate::model::{SCOPE_ADMIN, UnixMs};
use crate::wire::answer::{Answer, Streamed};

/// Followers at one time, all listeners.
pub(super) const FOLLOWERS_MAX: usize = 32;
/// Silence after which a comment shows that both ends are there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a follower may take nothing.
const STALL: Duration = Duration::from_secs(30);
/// Bytes of one event's data.
const DATA_BYTES_MAX: usize = 64 * 1024;

/// What every follower is told first.
const GREETING: &str = "retry: 2000\n: what happened before this moment is not sent again; ask headgate/health and headgate/incidents\n\n";

/// One who follows.
struct Follower {
    live: Arc<Live>,
    /// The key that opened the door, if it was one.
    key: Option<String>,
    told: Receiver<Told>,
    pieces: Sender<Bytes>,
    count: u64,
}

impl Admin {
    pub(super) fn events(&self, call: &Call) -> Result<Streamed, Problem> {
        Query::parse(call.query.as_deref())?.only(&[])?;
        let Ok(place) = Arc::clone(&self.followers).try_acquire_owned() else {
            let detail = format!("{FOLLOWERS_MAX} follow already; try again");
            let problem = Problem::new(503, "too-many-followers", "Too many followers", detail);
            return Err(problem.retry_after(15));
        };
        let head = Answer { status: 200, headers: Vec::new(), body: Vec::new() };
        let head = head.with("Content-Type", "text/event-stream").with("X-Accel-Buffering", "no");
        let (streamed, pieces) = Streamed::new(head);
        let live = Arc::clone(&self.parts.live);
        let key = Some(call.actor.clone()).filter(|it| opens(&live, it));
        let told = self.parts.watched.board.follow();
        let follower = Follower { live, key, told, pieces, count: 0 };
        tokio::spawn(async move {
            follower.run().await;
            drop(place);
        });
        Ok(streamed)
    }
}

/// Whether a key of this name may be here now.
fn opens(live: &Live, name: &str) -> bool {
    let now = UnixMs::now();
    let gate = live.load();
    let mut keys = gate.generation.keyring.entries().iter();
    keys.any(|it| it.name == name && it.valid(now) && it.has(SCOPE_ADMIN))
}

impl Follower {
    async fn run(mut self) {
        let mut piece = Bytes::from_static(GREETING.as_bytes());
        loop {
            // A key that was revoked or has expired opens nothing any more, not even what it had opened.
            if self.key.as_ref().is_some_and(|it| !opens(&self.live, it)) {
                return;
            }
            match timeout(STALL, self.pieces.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
            let told = tokio::select! {
                () = self.pieces.closed() => return,
                told = self.told.recv() => told,
                () = sleep(HEARTBEAT) => {
                    piece = Bytes::from_static(b": still here\n\n");
                    continue;
                }
            };
            piece = match told {
                Ok(it) => self.event(it.kind, it.at_ms, &it.data),
                Err(RecvError::Lagged(count)) => {
                    let data = json!({ "count": count, "reason": "you lagged behind; ask headgate/health" });
                    self.event("lost", UnixMs::now().0, &data)
                }
                Err(RecvError::Closed) => return,
            };
        }
    }

    /// JSON has no line breaks, so one line of data does.
    fn event(&mut self, kind: &str, at_ms: u64, data: &Value) -> Bytes {
        self.count += 1;
        let id = format!("{at_ms}-{}", self.count);
        let text = data.to_string();
        if text.len() > DATA_BYTES_MAX {
            let data = json!({ "count": 1, "reason": format!("an event `{kind}` of {} bytes", text.len()) });
            return Bytes::from(format!("id: {id}\nevent: lost\ndata: {data}\n\n"));
        }
        Bytes::from(format!("id: {id}\nevent: {kind}\ndata: {text}\n\n"))
    }
}
