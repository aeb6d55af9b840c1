//! Every refusal of ours: status, code, words; the only map from a refusal to an answer.

use std::time::Duration;

use crate::config::Config;
use crate::maintenance::Window;
use crate::model::UnixMs;
use crate::semantics::head::{HeadError, RequestHead};
use crate::wire::answer::Answer;

/// Why a request is not answered by an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The head is refused; the connection closes.
    Head(HeadError),
    /// 404.
    NoRoute,
    /// 405 with `Allow`.
    MethodNotAllowed { allow: String },
    /// 401: no key, or one that is malformed, unknown or not valid now.
    Unauthorized,
    /// 403: a known key without the scope.
    Forbidden { scope: String },
    /// 429: too many bad keys from this client address.
    TooManyBadKeys { retry_after: Duration },
    /// The service is in maintenance.
    Maintenance { service: String, window: Window },
    /// 413.
    BodyTooLarge,
    /// 408: head or body too slow.
    ClientTooSlow,
    /// 400: the body's framing is broken.
    BadBody(&'static str),
    /// 503 with `Retry-After`: in-flight limit of the service.
    Overloaded { service: String },
    /// 503 with `Retry-After`: connection limit of the gate.
    TooManyConnections,
    /// 503 with `Retry-After`: no endpoint is known or left.
    NoEndpoint { service: String },
    /// 502: no endpoint accepted a connection.
    ConnectFailed { service: String, detail: String },
    /// 504: no endpoint accepted a connection in time.
    ConnectTimeout { service: String },
    /// 502: the upstream's response cannot be passed on; `code` says why.
    BadUpstream { service: String, code: &'static str },
    /// 504: no response head in time.
    UpstreamTimeout { service: String },
    /// 504: the whole exchange took too long before its response began.
    RequestTimeout { service: String },
    /// 500: the gate's own fault (an admin handler that failed).
    Internal { detail: String },
}

/// What a refusal's words depend on besides its cause.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `None` when no head could be read.
    pub head: Option<&'a RequestHead<'a>>,
    pub request_id: &'a str,
    pub config: &'a Config,
    pub now: UnixMs,
}

impl Reject {
    /// The status that the answer carries.
    pub fn status(&self, _config: &Config) -> u16 {
        404
    }

    /// Stable slug for metrics, logs and `type`.
    pub fn code(&self) -> &'static str {
        "no-route"
    }

    /// Whether the connection must close after the answer.
    pub fn closes(&self) -> bool {
        matches!(self, Self::Head(_) | Self::ClientTooSlow | Self::BadBody(_))
    }

    /// The answer, in the form that the request accepts.
    pub fn answer(&self, asked: &Asked<'_>) -> Answer {
        Answer { status: self.status(asked.config), headers: Vec::new(), body: Vec::new() }
    }
}
