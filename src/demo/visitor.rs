//! Asks the gate as its operator would, again until the answer is the one that was to come, and notes what was seen.

use std::time::Duration;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::demo::walk::{Outcome, cause, reachable, shown};
use crate::demo::{Demo, DemoError};

/// How long a step may take: components are compiled and proven first on a machine that sees them for the first time.
pub(super) const WITHIN: Duration = Duration::from_secs(60);

/// The same once a step has failed: those that build on it need not be waited for as long.
const WITHIN_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Between two looks.
pub(super) const PACE: Duration = Duration::from_millis(50);

/// An answer: status and JSON (text that is none becomes a JSON string).
pub(super) type Seen = Result<(u16, Value), reqwest::Error>;

/// What of an answer is to be shown, or what it lacks.
pub(super) type Found = Result<Value, String>;

/// The operator, and what came of the steps so far.
pub(super) struct Visitor {
    pub(super) client: reqwest::Client,
    /// `http://ADDRESS` of the gate's data listener.
    pub(super) gate: String,
    key: SecretString,
    pub(super) outcomes: Vec<Outcome>,
}

impl Visitor {
    /// # Errors
    /// [`DemoError::Client`] when the HTTP client cannot be built.
    pub(super) fn new(demo: &Demo) -> Result<Self, DemoError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(WITHIN)
            .build()
            .map_err(DemoError::Client)?;
        let gate = format!("http://{}", reachable(demo.gate.data));
        Ok(Self { client, gate, key: demo.key.clone(), outcomes: Vec::new() })
    }

    /// When a step that begins now must be done.
    pub(super) fn deadline(&self) -> Instant {
        let well = self.outcomes.iter().all(|it| it.ok);
        Instant::now() + if well { WITHIN } else { WITHIN_AFTER_FAILURE }
    }

    /// One request to an endpoint of the gate's own, with the key.
    pub(super) async fn admin(
        &self,
        method: Method,
        endpoint: &str,
        body: Option<Vec<u8>>,
    ) -> Seen {
        let url = format!("{}/api/admin/headgate/{endpoint}", self.gate);
        let mut request = self.client.request(method, url);
        request = request.header("X-API-KEY", self.key.expose_secret());
        if let Some(body) = body {
            request = request.header("Content-Type", "application/octet-stream").body(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Asks until the answer is good or the time is over, and notes the last one.
    pub(super) async fn wait(
        &mut self,
        step: &'static str,
        endpoint: &str,
        look: impl Fn(&Value) -> Found,
    ) -> Option<Value> {
        let deadline = self.deadline();
        loop {
            let seen = self.admin(Method::GET, endpoint, None).await;
            let found = seen.as_ref().ok().and_then(|(_, it)| look(it).ok());
            if found.is_some() || Instant::now() > deadline {
                let request = format!("GET …/headgate/{endpoint}");
                self.note((step, request), 200, seen, look);
                return found;
            }
            sleep(PACE).await;
        }
    }

    /// Notes what came of a step; `look` judges an answer with the status that was to come.
    pub(super) fn note(
        &mut self,
        (step, request): (&'static str, String),
        expected: u16,
        seen: Seen,
        look: impl Fn(&Value) -> Found,
    ) {
        let (status, ok, seen) = match seen {
            Err(error) => (None, false, cause(&error)),
            Ok((status, body)) => match look(&body) {
                Ok(part) if status == expected => (Some(status), true, text(&part)),
                Ok(_) => (Some(status), false, text(&body)),
                Err(lacks) => (Some(status), false, format!("{lacks}: {}", text(&body))),
            },
        };
        self.outcomes.push(Outcome { step, request, expected, status, seen, ok });
    }
}

/// A string without its quotes, anything else as JSON; the beginning of it.
fn text(value: &Value) -> String {
    shown(&value.as_str().map_or_else(|| value.to_string(), str::to_owned), "")
}

/// Everything is good.
pub(super) fn whole(seen: &Value) -> Found {
    Ok(seen.clone())
}

/// `part`, if `good`.
pub(super) fn only_if(good: bool, part: Value, lacks: &str) -> Found {
    if good { Ok(part) } else { Err(lacks.to_owned()) }
}
