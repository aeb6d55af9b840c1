//! The keyed API under the admin prefix: endpoint → handler.

use crate::wire::answer::Answer;

/// One call, already authorised.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// Path below `{prefix}/api/admin/`, for example `maintenance/on` or `headgate/config`.
    pub endpoint: String,
    pub query: Option<String>,
    /// Name of the key, or `admin-listener`.
    pub actor: String,
    pub request_id: String,
    /// Whether the caller is a browser page of another site or a prefetch (`Sec-Fetch-Site`, `Sec-Purpose`, `Purpose`).
    pub suspicious_fetch: bool,
    pub body: Vec<u8>,
}

/// The handlers and what they act on.
#[derive(Debug)]
pub struct Admin {}

impl Admin {
    /// Answers a call; runs on the control runtime, never on a core.
    pub async fn answer(&self, _call: Call) -> Answer {
        Answer { status: 404, headers: Vec::new(), body: Vec::new() }
    }
}
