//! One call to Kubesnap, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;

use crate::alert::client::{ClientError, LazyClient, Outgoing, Received};
use crate::config::secret::Secret;
use crate::store::BoxFuture;

/// What is read of an answer.
pub const BODY_MAX: usize = 64 << 10;

/// One call. The key goes to this URL's host and nowhere else.
#[derive(Clone, Debug)]
pub struct Asked {
    pub url: String,
    pub key: Arc<Secret>,
    /// For everything.
    pub timeout: Duration,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// `complete`: the body did not break off.
    Answer { status: u16, body: Vec<u8>, complete: bool },
    /// Nothing has reached Kubesnap.
    NotSent(String),
    /// It may have got the request.
    NoAnswer(String),
}

/// Who makes the call.
pub trait Ask: fmt::Debug + Send + Sync {
    fn ask(&self, asked: Asked) -> BoxFuture<'_, Heard>;
}

/// Over the network.
#[derive(Debug, Default)]
pub struct Network(LazyClient);

impl Ask for Network {
    fn ask(&self, asked: Asked) -> BoxFuture<'_, Heard> {
        Box::pin(async move {
            let client = match self.0.get().await {
                Ok(client) => client,
                Err(error) => return Heard::NotSent(error.to_string()),
            };
            match outgoing(&asked) {
                Ok(outgoing) => heard(client.send(outgoing).await),
                Err(reason) => Heard::NotSent(reason),
            }
        })
    }
}

fn outgoing(asked: &Asked) -> Result<Outgoing, String> {
    let key = std::str::from_utf8(asked.key.expose());
    let key = key.map_err(|_| String::from("the key for Kubesnap is no text"))?;
    Ok(Outgoing {
        method: Method::GET,
        url: SecretString::from(asked.url.as_str()),
        headers: vec![("x-api-key", SecretString::from(key))],
        body: Vec::new(),
        timeout: asked.timeout,
        body_max: BODY_MAX,
    })
}

/// Whether it may have reached Kubesnap decides: only then may there be a snapshot.
fn heard(outcome: Result<Received, ClientError>) -> Heard {
    let error = match outcome {
        Ok(Received { status, body, complete, .. }) => {
            return Heard::Answer { status, body, complete };
        }
        Err(error) => error,
    };
    let reason = format!("Kubesnap cannot be asked: {error}");
    match error {
        ClientError::Timeout { sent: true } | ClientError::Reset | ClientError::Protocol(_) => {
            Heard::NoAnswer(format!("Kubesnap was asked, then {error}"))
        }
        ClientError::Url(_)
        | ClientError::Header(_)
        | ClientError::Dns(_)
        | ClientError::Refused
        | ClientError::Connect(_)
        | ClientError::Tls(_)
        | ClientError::Timeout { sent: false }
        | ClientError::Build(_) => Heard::NotSent(reason),
    }
}
