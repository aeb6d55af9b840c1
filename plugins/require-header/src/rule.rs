//! Demands a header of a request, and may set others. Pure; knows nothing of the component model.

use json::{Issue, Settings, Value, pointer, quoted};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// In lower case.
    pub(crate) header: String,
    wanted: Wanted,
    pub(crate) refusal: Refusal,
    /// Names and values.
    pub(crate) set: Vec<(String, String)>,
}

/// What the header's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// Anything, an empty value included.
    Present,
    Exactly(String),
    BeginsWith(Vec<String>),
}

/// The answer to a request that does not have it, made ready once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// A problem (RFC 9457) as JSON.
    pub(crate) body: String,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Refuse,
    Pass,
    /// It passes with the headers set.
    Edit,
}

/// The gate edits none of these for a filter.
const UNTOUCHABLE: [&str; 13] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-request-id",
];

impl Demand {
    /// Reads settings; what is absent keeps its default.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(json: &str) -> Result<Self, Vec<Issue>> {
        let mut read = Settings::parse(json)?;
        let header = header(&mut read);
        let wanted = wanted(&mut read);
        let status = read.integer("status", 400..=599).unwrap_or(400);
        let message = read.text("message", 1..=512);
        let message = message.unwrap_or_else(|| format!("the header {header} is missing or wrong"));
        let set = set(&mut read);
        read.finish()?;
        let refusal = Refusal::new(u16::try_from(status).unwrap_or(400), &message);
        Ok(Self { header, wanted, refusal, set })
    }

    /// Decides by the header's value, `None` when the request has none.
    pub(crate) fn decide(&self, value: Option<&[u8]>) -> Decision {
        let Some(value) = value else { return Decision::Refuse };
        let fits = match &self.wanted {
            Wanted::Present => true,
            Wanted::Exactly(exact) => value == exact.as_bytes(),
            Wanted::BeginsWith(prefixes) => {
                prefixes.iter().any(|it| value.starts_with(it.as_bytes()))
            }
        };
        match fits {
            false => Decision::Refuse,
            true if self.set.is_empty() => Decision::Pass,
            true => Decision::Edit,
        }
    }
}

impl Refusal {
    fn new(status: u16, message: &str) -> Self {
        let title = match status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            428 => "Precondition Required",
            429 => "Too Many Requests",
            503 => "Service Unavailable",
            _ => "Refused",
        };
        let (title, detail) = (quoted(title), quoted(message));
        let body = format!(
            r#"{{"type":"about:blank","title":{title},"status":{status},"detail":{detail}}}"#
        );
        Self { status, body }
    }
}

fn header(read: &mut Settings) -> String {
    let name = read.take("header");
    match name.as_ref().and_then(Value::as_str) {
        Some(name) if is_name(name) => return name.to_ascii_lowercase(),
        None if name.is_none() => read.fault("/header", "is required: the name of the header"),
        _ => read.fault("/header", "expected the name of a header, at most 64 bytes"),
    }
    String::new()
}

fn wanted(read: &mut Settings) -> Wanted {
    let exact = read.text("value", 0..=1024);
    let prefixes = prefixes(read);
    match (exact, prefixes) {
        (Some(_), Some(_)) => {
            read.fault("/prefixes", "value and prefixes exclude each other");
            Wanted::Present
        }
        (Some(exact), None) => Wanted::Exactly(exact),
        (None, Some(prefixes)) => Wanted::BeginsWith(prefixes),
        (None, None) => Wanted::Present,
    }
}

fn prefixes(read: &mut Settings) -> Option<Vec<String>> {
    let mut prefixes = Vec::new();
    for (at, item) in read.list("prefixes", 1..=16)? {
        match item {
            Value::String(prefix) if (1..=256).contains(&prefix.len()) => prefixes.push(prefix),
            _ => read.fault(at, "expected a string of 1 to 256 bytes"),
        }
    }
    Some(prefixes)
}

fn set(read: &mut Settings) -> Vec<(String, String)> {
    let members = match read.take("set") {
        None => return Vec::new(),
        Some(Value::Object(members)) if members.len() <= 8 => members,
        Some(_) => {
            read.fault("/set", "expected an object of at most 8 names and values");
            return Vec::new();
        }
    };
    let mut set = Vec::new();
    for (name, value) in members {
        let at = format!("/set{}", pointer(&name));
        let untouchable = UNTOUCHABLE.iter().any(|it| it.eq_ignore_ascii_case(&name))
            || name.to_ascii_lowercase().starts_with("x-forwarded-");
        if !is_name(&name) {
            read.fault(at, "is not the name of a header");
        } else if untouchable {
            read.fault(at, "is the gate's own");
        } else {
            match value {
                Value::String(value) if is_value(&value) => set.push((name, value)),
                _ => read.fault(at, "expected a header's value, at most 1024 bytes"),
            }
        }
    }
    set
}

/// A token (RFC 9110 5.6.2).
fn is_name(name: &str) -> bool {
    let token = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    (1..=64).contains(&name.len()) && name.bytes().all(token)
}

/// Field content (RFC 9110 5.5).
fn is_value(value: &str) -> bool {
    let plain = value.trim() == value && !value.chars().any(|it| it.is_control() && it != '\t');
    plain && value.len() <= 1024
}

/// A request's header and what must be done.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    settings: &'static str,
    value: Option<&'static [u8]>,
    expected: Decision,
}

const fn golden(
    name: &'static str,
    settings: &'static str,
    value: Option<&'static [u8]>,
    expected: Decision,
) -> Golden {
    Golden { name, settings, value, expected }
}

const ANY: &str = r#"{"header":"X-Tenant"}"#;
const EXACT: &str = r#"{"header":"X-Tenant","value":"blue"}"#;
const PREFIXES: &str = r#"{"header":"X-Tenant","prefixes":["eu-","us-"]}"#;
const SETS: &str = r#"{"header":"X-Tenant","set":{"X-Checked":"yes"}}"#;

/// Run by `self-test` in the sandbox and by the tests natively.
pub(crate) const GOLDEN: &[Golden] = &[
    golden("absent", ANY, None, Decision::Refuse),
    golden("present", ANY, Some(b"blue"), Decision::Pass),
    golden("present and empty", ANY, Some(b""), Decision::Pass),
    golden("exactly", EXACT, Some(b"blue"), Decision::Pass),
    golden("not exactly", EXACT, Some(b"blue, green"), Decision::Refuse),
    golden("begins rightly", PREFIXES, Some(b"us-1"), Decision::Pass),
    golden("begins otherwise", PREFIXES, Some(b"\xffus-1"), Decision::Refuse),
    golden("sets another", SETS, Some(b"blue"), Decision::Edit),
    golden("absent, sets nothing", SETS, None, Decision::Refuse),
];

impl Golden {
    /// What came instead, when it is not what was expected.
    pub(crate) fn differs(&self) -> Option<String> {
        let Ok(demand) = Demand::read(self.settings) else {
            return Some("its settings are wrong".to_owned());
        };
        let came = demand.decide(self.value);
        (came != self.expected).then(|| format!("came {came:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Demand, GOLDEN};

    #[test]
    fn golden_requests_are_decided_as_they_should() {
        for golden in GOLDEN {
            assert_eq!(golden.differs(), None, "{}", golden.name);
        }
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let settings = r#"{"value":"a","prefixes":["b",1],"status":200,"message":"",
            "set":{"a b":"x","Host":"x","x-ok":"a\nb","X-Forwarded-For":"x"},"y":1}"#;
        let issues = Demand::read(settings).expect_err("all wrong");
        let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/header",
                "/prefixes/1",
                "/prefixes",
                "/status",
                "/message",
                "/set/a b",
                "/set/Host",
                "/set/x-ok",
                "/set/X-Forwarded-For",
                "/y"
            ]
        );
        assert!(Demand::read(r#"{"header":"a:b"}"#).is_err());
    }

    #[test]
    fn the_refusal_is_a_problem() {
        let settings = r#"{"header":"X-Tenant","status":428,"message":"say \"who\""}"#;
        let demand = Demand::read(settings).expect("right");
        assert_eq!((demand.header.as_str(), demand.refusal.status), ("x-tenant", 428));
        let body: serde_json::Value = serde_json::from_str(&demand.refusal.body).expect("JSON");
        assert_eq!(body["title"], "Precondition Required");
        assert_eq!(body["status"], 428);
        assert_eq!(body["detail"], "say \"who\"");
    }
}
