//! A small complete response of our own, whatever the protocol it leaves by.

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
