//! Calls of a running gate's admin API: no redirects, no proxies, a deadline, a bounded answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use serde_json::Value;

use crate::cli::exit;

/// Where a gate's admin listener is unless the config says otherwise.
const GATE_DEFAULT: &str = "http://127.0.0.1:9902";

const CONNECT: Duration = Duration::from_secs(5);

const ANSWER_BYTES_MAX: usize = 4 << 20;

const KEY_BYTES_MAX: usize = 4096;

/// Which gate, and with which key.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The gate: http://HOST:PORT or unix:PATH.
    #[arg(long, value_name = "URL", default_value = GATE_DEFAULT)]
    pub(super) gate: String,
    /// Where the key is: env:NAME or file:PATH. A key itself is not taken here: other users see command lines.
    // Parsed after clap, which would print a wrong value (a key, most likely) back to the terminal.
    #[arg(long, value_name = "REFERENCE")]
    key: Option<String>,
    /// The deployment's prefix, for example /dev.
    #[arg(long, value_name = "PATH", default_value = "")]
    prefix: String,
}

/// The part of the admin API that a command speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    /// A member that each of its answers has, as what answers without it is no gate; empty: they have none in common.
    pub(super) member: &'static str,
    /// The command that tells what became of a call without an answer.
    pub(super) ask: &'static str,
}

/// Why a call brought nothing; each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreachable(String),
    /// The gate did not accept the key.
    #[error("{text}")]
    Refused { text: String, problem: Option<Value> },
    /// The gate said no for another reason.
    #[error("{text}")]
    Failed { text: String, problem: Option<Value> },
}

impl Failure {
    /// The exit code that tells scripts what kind of failure it was.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Unreachable(_) => exit::UNREACHABLE,
            Self::Refused { .. } => exit::REFUSED,
            Self::Failed { .. } => exit::FINDINGS,
        }
    }

    /// The gate's own words, where it gave any.
    pub(super) fn problem(&self) -> Option<&Value> {
        match self {
            Self::Refused { problem, .. } | Self::Failed { problem, .. } => problem.as_ref(),
            Self::Usage(_) | Self::Unreachable(_) => None,
        }
    }
}

/// A gate to be called.
pub(super) struct Gate {
    client: reqwest::Client,
    /// Up to and with `/api/admin/`.
    base: String,
    /// As the caller named it.
    name: String,
    key: Option<HeaderValue>,
    api: Api,
}

impl Gate {
    pub(super) fn new(target: &Target, api: Api, patience: Duration) -> Result<Self, Failure> {
        let builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(patience);
        let (origin, builder) = match target.gate.strip_prefix("unix:") {
            Some(path) => ("http://localhost".to_owned(), builder.unix_socket(PathBuf::from(path))),
            None => (origin(&target.gate)?, builder),
        };
        let prefix = prefix(&target.prefix)?;
        let client = builder
            .build()
            .map_err(|error| Failure::Usage(format!("cannot make a client: {error}")))?;
        let key = target.key.as_deref().map(key).transpose()?;
        let base = format!("{origin}{prefix}/api/admin/");
        Ok(Self { client, base, name: target.gate.clone(), key, api })
    }

    pub(super) async fn get(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        self.send(self.client.get(self.url(endpoint, query))).await
    }

    pub(super) async fn post(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        self.send(self.client.post(self.url(endpoint, query))).await
    }

    /// With JSON as the body.
    pub(super) async fn post_json(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value, Failure> {
        let request = self.client.post(self.url(endpoint, query));
        self.send(request.header("Content-Type", "application/json").body(body.to_string())).await
    }

    /// With a body of bytes that mean nothing to HTTP.
    pub(super) async fn upload(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Value, Failure> {
        let request = self.client.post(self.url(endpoint, query));
        self.send(request.header("Content-Type", "application/wasm").body(body)).await
    }

    fn url(&self, endpoint: &str, query: &[(&str, &str)]) -> String {
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{endpoint}{mark}{}", self.base, query.join("&"))
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        if let Some(key) = &self.key {
            request = request.header("X-API-KEY", key.clone());
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = self.body(answer).await?;
        let json = serde_json::from_slice::<Value>(&body).ok();
        match (status, json) {
            (200, Some(json))
                if self.api.member.is_empty() || json.get(self.api.member).is_some() =>
            {
                Ok(json)
            }
            (status, json) => Err(self.refusal(status, json)),
        }
    }

    async fn body(&self, mut answer: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                let text = format!(
                    "{} answers more than 4 MiB; is it a gate's admin listener?",
                    self.name
                );
                return Err(Failure::Failed { text, problem: None });
            }
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let cause = cause(error);
        let name = &self.name;
        Failure::Unreachable(if error.is_connect() {
            format!(
                "cannot connect to the gate at {name} ({cause}); is it running? \
                 its admin listener is named by `listeners.admin` of its config; say --gate URL or --gate unix:PATH"
            )
        } else {
            format!(
                "the gate at {name} gave no whole answer ({cause}); it may have acted: \
                 ask `{}`",
                self.api.ask
            )
        })
    }

    fn refusal(&self, status: u16, problem: Option<Value>) -> Failure {
        let detail = problem
            .as_ref()
            .and_then(|it| it.get("detail"))
            .and_then(Value::as_str)
            .map_or_else(|| format!("status {status}"), str::to_owned);
        let name = &self.name;
        let next = match status {
            401 if self.key.is_none() => {
                "this gate wants a key; say --key env:NAME or --key file:PATH"
            }
            401 => {
                "the gate does not know this key, or it is not valid now; `keys` of its config names those it knows"
            }
            403 => "the key needs the scope `admin`",
            429 => "too many wrong keys came from this address; wait a minute",
            404 if problem.is_none() => "is it a gate's admin listener, and is --prefix right?",
            200 | 300..=399 => "is it a gate's admin listener, and is --prefix right?",
            _ => "",
        };
        let text = match next {
            "" => format!("the gate at {name} refused: {detail}"),
            next => format!("the gate at {name} refused: {detail}; {next}"),
        };
        match status {
            401 | 403 | 429 => Failure::Refused { text, problem },
            _ => Failure::Failed { text, problem },
        }
    }
}

/// The innermost cause, which is the one that says what happened.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "time is up".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(it) = innermost.source() {
        innermost = it;
    }
    innermost.to_string()
}

fn origin(gate: &str) -> Result<String, Failure> {
    let usage =
        |text: &str| Failure::Usage(format!("--gate is http://HOST:PORT or unix:PATH; {text}"));
    let Some(rest) = gate.strip_prefix("http://") else {
        return Err(usage(if gate.starts_with("https://") {
            "https is not there yet"
        } else {
            "the scheme is missing"
        }));
    };
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
        return Err(usage(
            "it has no path, query or user; a deployment's prefix goes into --prefix",
        ));
    }
    Ok(format!("http://{authority}"))
}

fn prefix(text: &str) -> Result<&str, Failure> {
    let text = text.trim_end_matches('/');
    if text.is_empty() || (text.starts_with('/') && !text.contains(['?', '#', ' ', '%'])) {
        return Ok(text);
    }
    Err(Failure::Usage("--prefix begins with a slash, for example --prefix /dev".to_owned()))
}

/// Reads the key that `reference` names. No text of an error holds the key or, as it may be one, the reference's tail.
fn key(reference: &str) -> Result<HeaderValue, Failure> {
    let raw = if let Some(name) = reference.strip_prefix("env:") {
        std::env::var(name).map(String::into_bytes).map_err(|_| {
            Failure::Usage(format!(
                "the environment has no readable {name}; set it, or say --key file:PATH"
            ))
        })?
    } else if let Some(path) = reference.strip_prefix("file:") {
        file(Path::new(path))?
    } else {
        return Err(Failure::Usage(
            "--key takes a reference, not a key: env:NAME or file:PATH (a key on a command line is seen by \
             other users and kept in the shell's history; if that was one, replace it)"
                .to_owned(),
        ));
    };
    let key = raw.strip_suffix(b"\n").unwrap_or(&raw);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    let visible = key.iter().all(u8::is_ascii_graphic);
    let value = HeaderValue::from_bytes(key).ok().filter(|_| visible && !key.is_empty());
    let mut value = value.ok_or_else(|| {
        Failure::Usage(format!("what {reference} holds is no key: one line of visible characters"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::Usage(format!("cannot read the key file {shown}: {error}; check path and mode"))
    };
    let mut raw = Vec::new();
    let limit = u64::try_from(KEY_BYTES_MAX).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(limit + 1).read_to_end(&mut raw).map_err(unreadable)?;
    if raw.len() > KEY_BYTES_MAX {
        return Err(Failure::Usage(format!("{shown} is larger than 4 KiB and no key")));
    }
    Ok(raw)
}

pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
