//! Every refusal of ours: status, code, words; the only map from a refusal to an answer.

use std::borrow::Cow;
use std::time::Duration;

use crate::config::Config;
use crate::maintenance::Window;
use crate::model::{PRODUCT, UnixMs, reason_phrase};
use crate::proxy::render;
use crate::semantics::class::Class;
use crate::semantics::head::{HeadError, RequestHead};
use crate::wire::answer::Answer;
use crate::wire::h1::relay::Broken;

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
    /// A forward-auth question that is not answered with yes, though no other refusal fits.
    Question { status: u16, code: &'static str, detail: &'static str },
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
    /// 503 with `Retry-After`: a filter of the route gave no answer, and its mode is closed.
    FilterFailed,
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

/// What the challenge of a 401 says (the scheme is a convention; Kong and APISIX do alike).
const CHALLENGE: &str = "ApiKey realm=\"headgate\", header=\"X-API-KEY\"";

/// StockFlow's own words, which its scripts look for.
const BAD_KEY: &str = "Invalid or missing API Key";

/// Methods of the gate as a whole, for `OPTIONS *` and preflights.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Reject {
    /// What a broken request body means for its request.
    pub fn of_body(broken: &Broken) -> Self {
        match *broken {
            Broken::TooLarge => Self::BodyTooLarge,
            Broken::Malformed(code) => Self::BadBody(code),
            Broken::SourceClosed(_) | Broken::Sink(_) => Self::BadBody("closed"),
        }
    }

    /// The status that the answer carries.
    pub fn status(&self, config: &Config) -> u16 {
        match self {
            Self::Head(error) => error.status,
            Self::Question { status, .. } => *status,
            Self::Maintenance { .. } => config.maintenance.status,
            Self::BadBody(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } => 403,
            Self::NoRoute => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::ClientTooSlow => 408,
            Self::BodyTooLarge => 413,
            Self::TooManyBadKeys { .. } => 429,
            Self::Internal { .. } => 500,
            Self::ConnectFailed { .. } | Self::BadUpstream { .. } => 502,
            Self::Overloaded { .. }
            | Self::TooManyConnections
            | Self::NoEndpoint { .. }
            | Self::FilterFailed => 503,
            Self::ConnectTimeout { .. }
            | Self::UpstreamTimeout { .. }
            | Self::RequestTimeout { .. } => 504,
        }
    }

    /// Stable slug for metrics, logs and `type`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Head(error) => error.code,
            Self::Question { code, .. } | Self::BadBody(code) => code,
            Self::BadUpstream { code, .. } => code,
            Self::NoRoute => "no-route",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::TooManyBadKeys { .. } => "too-many-bad-keys",
            Self::Maintenance { .. } => "maintenance",
            Self::BodyTooLarge => "body-too-large",
            Self::ClientTooSlow => "client-too-slow",
            Self::Overloaded { .. } => "overloaded",
            Self::TooManyConnections => "too-many-connections",
            Self::NoEndpoint { .. } => "no-endpoint",
            Self::ConnectFailed { .. } => "connect-failed",
            Self::ConnectTimeout { .. } => "connect-timeout",
            Self::UpstreamTimeout { .. } => "upstream-timeout",
            Self::RequestTimeout { .. } => "request-timeout",
            Self::FilterFailed => "filter-failed",
            Self::Internal { .. } => "internal",
        }
    }

    /// Whether the connection must close after the answer.
    pub fn closes(&self) -> bool {
        matches!(self, Self::Head(_) | Self::ClientTooSlow | Self::BadBody(_))
    }

    /// The answer, in the form that the request accepts.
    pub fn answer(&self, asked: &Asked<'_>) -> Answer {
        dress(self.fields(render::for_caller(self, asked), asked), asked)
    }

    /// The answer for an edge that asks first: a document with a status that is never 2xx (that of a gRPC refusal is,
    /// that of a maintenance can be), which the edge would take for a yes.
    pub fn answer_to_edge(&self, asked: &Asked<'_>) -> Answer {
        let status = match self.status(asked.config) {
            ..300 => 503,
            status => status,
        };
        dress(self.fields(render::document(self, asked, status), asked), asked)
    }

    /// The fields that belong to the cause, whatever the form. Nothing that the gate refuses may be cached: 404, 405,
    /// 414 and 501 are cacheable by default (RFC 9110 §15.1).
    fn fields(&self, answer: Answer, asked: &Asked<'_>) -> Answer {
        let mut answer = answer.with("Cache-Control", "no-store");
        if matches!(self, Self::Unauthorized) {
            answer = answer.with("WWW-Authenticate", CHALLENGE);
        }
        if let Self::MethodNotAllowed { allow } = self {
            answer = answer.with("Allow", allow.as_str());
        }
        if let Some(seconds) = self.retry_after(asked) {
            answer = answer.with("Retry-After", seconds.to_string());
        }
        match self.proxy_error() {
            Some(error) => answer.with("Proxy-Status", format!("{PRODUCT}; error={error}")),
            None => answer,
        }
    }

    /// Seconds for `Retry-After`, at least 1: a time-limited maintenance counts down.
    pub(crate) fn retry_after(&self, asked: &Asked<'_>) -> Option<u64> {
        let after = match self {
            Self::TooManyBadKeys { retry_after } => *retry_after,
            Self::Maintenance { window, .. } => match window.until {
                Some(until) => {
                    // The core's clock is a coarse one and may still be before the beginning.
                    let now = asked.now.max(window.since);
                    Duration::from_millis(until.0.saturating_sub(now.0))
                }
                None => asked.config.maintenance.retry_after,
            },
            Self::NoEndpoint { .. } | Self::FilterFailed => Duration::from_secs(5),
            Self::Overloaded { .. } | Self::TooManyConnections => Duration::from_secs(1),
            Self::Question { status: 503, .. } => Duration::from_secs(1),
            _ => return None,
        };
        Some(after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
    }

    /// Error type of RFC 9209 §2.3.
    fn proxy_error(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unauthorized
            | Self::Forbidden { .. }
            | Self::TooManyBadKeys { .. }
            | Self::Question { .. } => "http_request_denied",
            Self::Maintenance { .. } | Self::NoEndpoint { .. } => "destination_unavailable",
            Self::Overloaded { .. } => "connection_limit_reached",
            Self::ConnectFailed { .. } => "connection_refused",
            Self::ConnectTimeout { .. } => "connection_timeout",
            Self::BadUpstream { code, .. } if code.contains("closed") => "connection_terminated",
            Self::BadUpstream { .. } => "http_protocol_error",
            Self::UpstreamTimeout { .. } | Self::RequestTimeout { .. } => "http_response_timeout",
            Self::Internal { .. } | Self::FilterFailed => "proxy_internal_error",
            Self::NoRoute
            | Self::Head(_)
            | Self::MethodNotAllowed { .. }
            | Self::BodyTooLarge
            | Self::ClientTooSlow
            | Self::BadBody(_)
            | Self::TooManyConnections => return None,
        })
    }

    /// A few words that are the same for every refusal of this kind and status.
    pub(crate) fn title(&self, status: u16) -> &'static str {
        match self {
            Self::Maintenance { .. } => "Maintenance mode is enabled",
            Self::Unauthorized => "Unauthorized",
            Self::TooManyBadKeys { .. } => "Too many bad keys",
            _ => reason_phrase(status),
        }
    }

    /// A sentence on this one. It tells what the caller can act on; causes inside the deployment go to the log.
    pub(crate) fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Head(error) => error.detail.into(),
            Self::Question { detail, .. } => (*detail).into(),
            Self::NoRoute => "no route leads from this path".into(),
            Self::MethodNotAllowed { allow } => format!("this path takes {allow}").into(),
            Self::Unauthorized => BAD_KEY.into(),
            Self::Forbidden { scope } => format!("the key lacks the scope `{scope}`").into(),
            Self::TooManyBadKeys { .. } => {
                "too many bad keys came from this address; a valid key still works".into()
            }
            Self::Maintenance { .. } => "Maintenance mode enabled".into(),
            Self::BodyTooLarge => "the request body is larger than the service takes".into(),
            Self::ClientTooSlow => "the request came too slowly".into(),
            Self::BadBody(code) => format!("the request body is framed wrongly ({code})").into(),
            Self::Overloaded { service } => {
                format!("`{service}` has as many requests in flight as it takes").into()
            }
            Self::TooManyConnections => "the gate has as many connections as it takes".into(),
            Self::NoEndpoint { service } => format!("`{service}` has no endpoint now").into(),
            Self::ConnectFailed { service, .. } => {
                format!("`{service}` accepted no connection").into()
            }
            Self::ConnectTimeout { service } => {
                format!("`{service}` accepted no connection in time").into()
            }
            Self::BadUpstream { service, code } => {
                format!("the response of `{service}` cannot be passed on ({code})").into()
            }
            Self::UpstreamTimeout { service } => {
                format!("`{service}` did not answer in time").into()
            }
            Self::RequestTimeout { service } => {
                format!("the exchange with `{service}` took too long").into()
            }
            Self::FilterFailed => "a check that this path needs gave no answer".into(),
            Self::Internal { .. } => "the gate failed; its log has the cause".into(),
        }
    }
}

/// Adds what every answer of the gate's own carries: the request id and, by the config, CORS.
pub fn dress(mut answer: Answer, asked: &Asked<'_>) -> Answer {
    answer.headers.push(("X-Request-ID", asked.request_id.to_owned()));
    let Some(cors) = &asked.config.cors else { return answer };
    vary(&mut answer, "Origin");
    let Some(origin) = allowed_origin(asked) else { return answer };
    let exposed = if answer.headers.iter().any(|it| it.0 == "Grpc-Status") {
        "Retry-After, X-Request-ID, Grpc-Status, Grpc-Message"
    } else {
        "Retry-After, X-Request-ID"
    };
    let answer = answer
        .with("Access-Control-Allow-Origin", origin)
        .with("Access-Control-Expose-Headers", exposed);
    if cors.credentials && !cors.origins.iter().any(|it| it == "*") {
        return answer.with("Access-Control-Allow-Credentials", "true");
    }
    answer
}

/// Answers a CORS preflight in the place of the service: 204, and the browser goes on to see the real answer.
pub fn preflight(asked: &Asked<'_>) -> Answer {
    let mut answer = Answer { status: 204, headers: Vec::new(), body: Vec::new() };
    vary(&mut answer, "Access-Control-Request-Method, Access-Control-Request-Headers");
    if allowed_origin(asked).is_some() {
        let sent = asked.head.and_then(|it| it.first(Class::CorsHeaders));
        let headers = sent.filter(|it| is_token_list(it)).and_then(|it| str::from_utf8(it).ok());
        answer = answer
            .with("Access-Control-Allow-Methods", METHODS)
            .with("Access-Control-Allow-Headers", headers.unwrap_or("X-API-KEY, Content-Type"))
            .with("Access-Control-Max-Age", "600");
    }
    dress(answer, asked)
}

/// Answers `OPTIONS *` (RFC 9110 §9.3.7); undressed, for [`dress`].
pub fn options_star() -> Answer {
    let answer = Answer { status: 204, headers: Vec::new(), body: Vec::new() };
    answer.with("Allow", METHODS)
}

/// The request's origin, if answers for it may be read.
fn allowed_origin(asked: &Asked<'_>) -> Option<String> {
    let cors = asked.config.cors.as_ref()?;
    let origin = str::from_utf8(asked.head?.first(Class::Origin)?).ok()?;
    let allowed = cors.origins.iter().any(|it| it == "*" || it.eq_ignore_ascii_case(origin));
    (allowed && origin.bytes().all(|it| it.is_ascii_graphic())).then(|| origin.to_owned())
}

/// Adds names to `Vary`, which stays one field.
pub(crate) fn vary(answer: &mut Answer, names: &str) {
    let Some((_, value)) = answer.headers.iter_mut().find(|it| it.0 == "Vary") else {
        answer.headers.push(("Vary", names.to_owned()));
        return;
    };
    if !value.split(", ").any(|it| it == names) {
        value.push_str(", ");
        value.push_str(names);
    }
}

/// Whether a value may be repeated in an answer: names, commas and blanks, at most 1 KiB.
fn is_token_list(value: &[u8]) -> bool {
    let fits = |it: &u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(it);
    value.len() <= 1024 && value.iter().all(fits)
}

#[cfg(test)]
mod tests;
