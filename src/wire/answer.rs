//! A response of our own, whatever the protocol it leaves by: small and complete, or a head and what follows bit by bit.

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces of a streamed body that may wait for a client who reads slowly.
const PIECES_MAX: usize = 32;

/// Status, headers and body of an answer that the gate makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200..=599.
    pub status: u16,
    /// Names in canonical spelling; without `Content-Length`, `Date` and `Connection`, which the encoder adds.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { status, headers: vec![("Content-Type", "application/json".to_owned())], body }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a handler answers.
#[derive(Debug)]
pub enum Reply {
    Whole(Answer),
    Streamed(Streamed),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Whole(answer)
    }
}

impl Reply {
    /// The same with one more header.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Whole(answer) => Self::Whole(answer.with(name, value)),
            Self::Streamed(it) => {
                Self::Streamed(Streamed { head: it.head.with(name, value), ..it })
            }
        }
    }

    /// The status, and the headers so far.
    pub fn head(&self) -> &Answer {
        match self {
            Self::Whole(answer) => answer,
            Self::Streamed(it) => &it.head,
        }
    }
}

/// An answer whose body comes as somebody makes it. It ends with its sender, with the client or with the listener, whichever
/// is first; a sender learns the two latter by `closed()`.
#[derive(Debug)]
pub struct Streamed {
    /// Its body is empty.
    pub head: Answer,
    pub body: mpsc::Receiver<Bytes>,
    /// Tells whether the sender is still there.
    pub sender: mpsc::WeakSender<Bytes>,
}

impl Streamed {
    /// A body, and where its pieces go in.
    pub fn new(head: Answer) -> (Self, mpsc::Sender<Bytes>) {
        let (sender, body) = mpsc::channel(PIECES_MAX);
        (Self { head, body, sender: sender.downgrade() }, sender)
    }
}
