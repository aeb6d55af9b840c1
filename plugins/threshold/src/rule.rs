//! Judges the newest probe against a handful of thresholds. Pure; knows nothing of the component model.
//!
//! The gate has the same rule built in; a test there compares the two on thousands of windows.

use json::body::{self, Found};
use json::{Issue, Settings, Value, quoted};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    /// Statuses that count as expected.
    statuses: Vec<(u16, u16)>,
    /// `$.name.name`: where to look in the body.
    path: Option<String>,
    expected: Expected,
    maintenance_word: Option<String>,
    latency_ms: Option<u64>,
    timeouts: u64,
    stale_ms: u64,
}

/// The value that means healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

/// A probe or scheduled run, as far as the rule looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    pub(crate) kind: Kind,
    pub(crate) at_ms: u64,
    pub(crate) latency_us: u32,
    pub(crate) ended: Ended,
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<&'a str>,
    /// Which expectation of the probe itself was not met, in one sentence.
    pub(crate) expect: Option<&'a str>,
}

/// What was asked, as far as the rule tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The only one with a body to judge.
    Http,
    /// Its status is a gRPC code: 0 is OK.
    Grpc,
    /// A connection, a job's run, or what later gates may bring.
    Other,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Answered,
    BadStatus,
    Timeout,
    Refused,
    Reset,
    Dns,
    Tls,
    Protocol,
    Other,
}

/// What the rule says of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unknown,
    Ok,
    Degraded,
    Failing,
    Maintenance,
}

/// What the rule says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) status: Status,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            statuses: vec![(200, 299)],
            path: Some("$.status".to_owned()),
            expected: Expected::Text("OK".to_owned()),
            maintenance_word: Some("Maintenance mode is enabled".to_owned()),
            latency_ms: None,
            timeouts: 2,
            stale_ms: 300_000,
        }
    }
}

impl Thresholds {
    /// Reads settings; what is absent keeps its default.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(json: &str) -> Result<Self, Vec<Issue>> {
        let mut read = Settings::parse(json)?;
        let preset = Self::default();
        let thresholds = Self {
            statuses: statuses(&mut read).unwrap_or(preset.statuses),
            path: path(&mut read).unwrap_or(preset.path),
            expected: expected(&mut read).unwrap_or(preset.expected),
            maintenance_word: read
                .text_or_null("maintenanceWord", 1..=256)
                .unwrap_or(preset.maintenance_word),
            latency_ms: read.integer_or_null("latencyMs", 1..=600_000).unwrap_or(None),
            timeouts: read.integer("timeouts", 1..=10).unwrap_or(preset.timeouts),
            stale_ms: read.integer("staleMs", 1_000..=86_400_000).unwrap_or(preset.stale_ms),
        };
        read.finish()?;
        Ok(thresholds)
    }

    /// Judges a window: the probes that count, oldest first.
    pub(crate) fn judge(&self, now_ms: u64, probes: &[Probe<'_>]) -> Judgement {
        let Some(newest) = probes.last() else {
            return says(Status::Unknown, "no-samples", "no probe has been made yet");
        };
        let age_ms = now_ms.saturating_sub(newest.at_ms);
        if age_ms > self.stale_ms {
            let detail = format!("the last probe was {} s ago", age_ms / 1000);
            return says(Status::Unknown, "stale", detail);
        }
        let found = self.look(newest);
        if let (Some(word), Some(Found::Text(text))) = (&self.maintenance_word, &found)
            && text == word
        {
            let detail = "the service says that it is in maintenance";
            return says(Status::Maintenance, "maintenance", detail);
        }
        self.no_answer(probes)
            .or_else(|| self.wrong_status(newest))
            .or_else(|| self.wrong_body(found.as_ref(), newest))
            .or_else(|| self.slow(newest.latency_us))
            .unwrap_or_else(|| says(Status::Ok, "ok", "as expected"))
    }

    fn look(&self, newest: &Probe<'_>) -> Option<Found> {
        let body = newest.body.filter(|_| newest.kind == Kind::Http)?;
        let path = self.path.as_deref()?;
        Some(body::find(body, path.split('.').skip(1)))
    }

    fn no_answer(&self, probes: &[Probe<'_>]) -> Option<Judgement> {
        let failing = |code, detail: &str| Some(says(Status::Failing, code, detail));
        let newest = probes.last()?;
        match newest.ended {
            Ended::Answered | Ended::BadStatus => None,
            Ended::Timeout => Some(self.late(probes)),
            Ended::Refused => failing("refused", "connection refused"),
            Ended::Reset => failing("reset", "connection reset"),
            Ended::Dns => failing("dns", "the name does not resolve"),
            Ended::Tls => failing("tls", "the TLS handshake failed"),
            Ended::Protocol => failing("protocol", "no valid answer"),
            Ended::Other => match newest.expect {
                Some(sentence) => failing("unexpected", sentence),
                None => failing("probe-error", "the probe failed"),
            },
        }
    }

    /// One time-out is not a death: a handler may just be busy.
    fn late(&self, probes: &[Probe<'_>]) -> Judgement {
        let timed_out = |it: &&Probe<'_>| it.ended == Ended::Timeout;
        let count = probes.iter().rev().take_while(timed_out).count();
        if count as u64 >= self.timeouts {
            return says(Status::Failing, "timeout", format!("{count} probes in a row timed out"));
        }
        let noun = if count == 1 { "probe" } else { "probes" };
        says(Status::Degraded, "late", format!("{count} {noun} timed out"))
    }

    fn wrong_status(&self, newest: &Probe<'_>) -> Option<Judgement> {
        let detail = match newest.status {
            Some(code) if newest.kind == Kind::Grpc => not_serving(code, newest.ended)?,
            Some(status) if self.expects(status) => return None,
            Some(status) => format!("status {status} is not expected"),
            None if newest.ended == Ended::BadStatus => "the status is not expected".to_owned(),
            None => return None,
        };
        Some(says(Status::Failing, "bad-status", detail))
    }

    fn expects(&self, status: u16) -> bool {
        self.statuses.iter().any(|&(from, to)| (from..=to).contains(&status))
    }

    fn wrong_body(&self, found: Option<&Found>, newest: &Probe<'_>) -> Option<Judgement> {
        let path = self.path.as_deref().filter(|_| newest.kind == Kind::Http)?;
        let detail = match found {
            _ if newest.body.is_none() => "the answer has no body".to_owned(),
            None | Some(Found::Missing) => format!("the body has no value at {path}"),
            Some(found) if self.expected.is(found) => return None,
            Some(_) => format!("{path} is not {}", self.expected.json()),
        };
        Some(says(Status::Failing, "bad-body", detail))
    }

    fn slow(&self, latency_us: u32) -> Option<Judgement> {
        let slow = u64::from(latency_us) > self.latency_ms? * 1000;
        let detail = || format!("the answer took {} ms", latency_us / 1000);
        slow.then(|| says(Status::Degraded, "slow", detail()))
    }
}

impl Expected {
    fn is(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Text(expected), Found::Text(text)) => expected == text,
            (Self::Integer(expected), Found::Integer(number)) => expected == number,
            (Self::Boolean(expected), Found::Boolean(value)) => expected == value,
            _ => false,
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
        }
    }
}

/// A call that went well may still bring the word that nothing is served.
fn not_serving(code: u16, ended: Ended) -> Option<String> {
    match code {
        0 if ended == Ended::BadStatus => Some("it says that it is not serving".to_owned()),
        0 => None,
        _ => Some(format!("gRPC status {code} is not expected")),
    }
}

fn says(status: Status, code: &'static str, detail: impl Into<String>) -> Judgement {
    Judgement { status, code, detail: detail.into() }
}

fn statuses(read: &mut Settings) -> Option<Vec<(u16, u16)>> {
    let mut ranges = Vec::new();
    for (at, item) in read.list("statuses", 1..=16)? {
        match item.as_str().and_then(range) {
            Some(range) => ranges.push(range),
            None => read.fault(at, "expected \"200\" or \"200-299\", from 100 to 599"),
        }
    }
    Some(ranges)
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|it| it.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits)?;
        (100..=599).contains(&number).then_some(number)
    };
    let (from, to) = (status(from)?, status(to)?);
    (from <= to).then_some((from, to))
}

fn path(read: &mut Settings) -> Option<Option<String>> {
    let path = read.text_or_null("path", 3..=521)?;
    if !path.as_deref().is_none_or(is_path) {
        let message = "expected $.name or $.name.name, 8 names of [A-Za-z0-9_-]{1,64} at most";
        read.fault("/path", message);
        return None;
    }
    Some(path)
}

fn is_path(path: &str) -> bool {
    let is_name = |name: &str| {
        let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
        (1..=64).contains(&name.len()) && name.bytes().all(plain)
    };
    path.strip_prefix("$.")
        .is_some_and(|names| names.split('.').count() <= 8 && names.split('.').all(is_name))
}

fn expected(read: &mut Settings) -> Option<Expected> {
    let value = match read.take("expected")? {
        Value::String(text) if text.len() <= 256 => Some(Expected::Text(text)),
        number @ Value::Number(_) => number.as_i64().map(Expected::Integer),
        Value::Bool(value) => Some(Expected::Boolean(value)),
        _ => None,
    };
    if value.is_none() {
        read.fault("/expected", "expected a string of at most 256 bytes, an integer or a boolean");
    }
    value
}

/// A window and what it must be judged as, under the default settings but for those named.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    pub(crate) settings: &'static str,
    pub(crate) now_ms: u64,
    pub(crate) probes: &'static [Probe<'static>],
    pub(crate) expected: (Status, &'static str),
}

const HEALTHY: Probe<'static> = Probe {
    kind: Kind::Http,
    at_ms: 1_000,
    latency_us: 5_000,
    ended: Ended::Answered,
    status: Some(200),
    body: Some(r#"{"status":"OK","timestamp":"2026-"#),
    expect: None,
};

/// A connection that was made.
const CONNECTED: Probe<'static> = Probe { kind: Kind::Other, status: None, body: None, ..HEALTHY };

/// A gRPC health check that was answered with SERVING.
const SERVING: Probe<'static> = Probe { kind: Kind::Grpc, status: Some(0), body: None, ..HEALTHY };

const TIMED_OUT: Probe<'static> =
    Probe { ended: Ended::Timeout, status: None, body: None, ..HEALTHY };

/// One window per code and more; run by `self-test` in the sandbox and by the tests natively.
pub(crate) const GOLDEN: &[Golden] = &[
    golden("no probe yet", "{}", &[], (Status::Unknown, "no-samples")),
    Golden {
        now_ms: 302_000,
        ..golden("an old probe", "{}", &[HEALTHY], (Status::Unknown, "stale"))
    },
    golden("a healthy answer", "{}", &[TIMED_OUT, HEALTHY], (Status::Ok, "ok")),
    golden(
        "the maintenance word",
        "{}",
        &[Probe { body: Some(r#"{"status":"Maintenance mode is enabled"}"#), ..HEALTHY }],
        (Status::Maintenance, "maintenance"),
    ),
    golden("one time-out", "{}", &[HEALTHY, TIMED_OUT], (Status::Degraded, "late")),
    golden("two time-outs", "{}", &[TIMED_OUT, TIMED_OUT], (Status::Failing, "timeout")),
    golden(
        "a refused connection",
        "{}",
        &[HEALTHY, Probe { ended: Ended::Refused, status: None, body: None, ..HEALTHY }],
        (Status::Failing, "refused"),
    ),
    golden(
        "a wrong status",
        "{}",
        &[Probe { ended: Ended::BadStatus, status: Some(500), ..HEALTHY }],
        (Status::Failing, "bad-status"),
    ),
    golden(
        "a status that the settings expect",
        r#"{"statuses":["200","500-503"]}"#,
        &[Probe { ended: Ended::BadStatus, status: Some(503), ..HEALTHY }],
        (Status::Ok, "ok"),
    ),
    golden(
        "another word",
        "{}",
        &[Probe { body: Some(r#"{"status":"starting"}"#), ..HEALTHY }],
        (Status::Failing, "bad-body"),
    ),
    golden(
        "a slow answer",
        r#"{"latencyMs":1000}"#,
        &[Probe { latency_us: 1_000_001, ..HEALTHY }],
        (Status::Degraded, "slow"),
    ),
    golden(
        "an answer as slow as it may be",
        r#"{"latencyMs":1000}"#,
        &[Probe { latency_us: 1_000_000, ..HEALTHY }],
        (Status::Ok, "ok"),
    ),
    golden("a connection is enough", "{}", &[CONNECTED], (Status::Ok, "ok")),
    golden(
        "no connection",
        "{}",
        &[CONNECTED, Probe { ended: Ended::Refused, ..CONNECTED }],
        (Status::Failing, "refused"),
    ),
    golden("a gRPC server that serves", "{}", &[SERVING], (Status::Ok, "ok")),
    golden(
        "a gRPC server that does not serve",
        "{}",
        &[Probe { ended: Ended::BadStatus, ..SERVING }],
        (Status::Failing, "bad-status"),
    ),
    golden(
        "a gRPC server without health checks",
        "{}",
        &[Probe { ended: Ended::BadStatus, status: Some(12), ..SERVING }],
        (Status::Failing, "bad-status"),
    ),
    golden(
        "an expectation of the probe",
        "{}",
        &[Probe { ended: Ended::Other, expect: Some("$.a is 1, not 2"), ..HEALTHY }],
        (Status::Failing, "unexpected"),
    ),
];

const fn golden(
    name: &'static str,
    settings: &'static str,
    probes: &'static [Probe<'static>],
    expected: (Status, &'static str),
) -> Golden {
    Golden { name, settings, now_ms: 2_000, probes, expected }
}

impl Golden {
    /// What came instead, when it is not what was expected.
    pub(crate) fn differs(&self) -> Option<String> {
        let Ok(thresholds) = Thresholds::read(self.settings) else {
            return Some("its settings are wrong".to_owned());
        };
        let judgement = thresholds.judge(self.now_ms, self.probes);
        let same = (judgement.status, judgement.code) == self.expected;
        (!same).then(|| format!("expected {}, came {}", self.expected.1, judgement.code))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CONNECTED, Ended, GOLDEN, HEALTHY, Judgement, Probe, SERVING, Status, TIMED_OUT, Thresholds,
    };

    fn judge(settings: &str, probe: Probe<'_>) -> Judgement {
        Thresholds::read(settings).expect(settings).judge(2_000, &[probe])
    }

    #[test]
    fn golden_windows_are_judged_as_they_should() {
        for golden in GOLDEN {
            assert_eq!(golden.differs(), None, "{}", golden.name);
        }
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let settings = r#"{"statuses":["200","2xx",7,"300-200","99","600","200-"],"path":"status",
            "expected":1.5,"maintenanceWord":"","latencyMs":0,"timeouts":11,"staleMs":null,"other":1}"#;
        let issues = Thresholds::read(settings).expect_err("all wrong");
        let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/statuses/1",
                "/statuses/2",
                "/statuses/3",
                "/statuses/4",
                "/statuses/5",
                "/statuses/6",
                "/path",
                "/expected",
                "/maintenanceWord",
                "/latencyMs",
                "/timeouts",
                "/staleMs",
                "/other"
            ]
        );
        for path in ["$", "$.", "$.a.", "$.a b", "a", "$.a.b.c.d.e.f.g.h.i"] {
            let issues = Thresholds::read(&format!(r#"{{"path":"{path}"}}"#)).expect_err(path);
            assert_eq!(issues[0].path, "/path");
        }
    }

    #[test]
    fn what_is_absent_keeps_its_default() {
        assert_eq!(Thresholds::read("{}"), Ok(Thresholds::default()));
        let nulls = r#"{"path":null,"maintenanceWord":null,"latencyMs":null}"#;
        assert!(Thresholds::read(nulls).is_ok());
    }

    #[test]
    fn each_detail_reads_as_the_rule_says() {
        let healthy = HEALTHY;
        let no_status = Probe { ended: Ended::BadStatus, status: None, ..healthy };
        for (settings, probe, detail) in [
            ("{}", TIMED_OUT, "1 probe timed out"),
            (r#"{"timeouts":1}"#, TIMED_OUT, "1 probes in a row timed out"),
            ("{}", Probe { status: Some(404), ..healthy }, "status 404 is not expected"),
            ("{}", no_status, "the status is not expected"),
            ("{}", Probe { body: None, ..healthy }, "the answer has no body"),
            ("{}", Probe { body: Some("<p>"), ..healthy }, "the body has no value at $.status"),
            (r#"{"path":"$.a.b"}"#, healthy, "the body has no value at $.a.b"),
            (r#"{"expected":"a\"\u0001b"}"#, healthy, "$.status is not \"a\\\"\\u0001b\""),
            (r#"{"expected":7}"#, healthy, "$.status is not 7"),
            (r#"{"expected":true}"#, healthy, "$.status is not true"),
            (r#"{"latencyMs":1}"#, healthy, "the answer took 5 ms"),
            (r#"{"latencyMs":1}"#, CONNECTED, "the answer took 5 ms"),
            ("{}", Probe { ended: Ended::BadStatus, ..SERVING }, "it says that it is not serving"),
            ("{}", Probe { status: Some(14), ..SERVING }, "gRPC status 14 is not expected"),
            (
                "{}",
                Probe { ended: Ended::Other, expect: Some("it is late"), ..healthy },
                "it is late",
            ),
        ] {
            assert_eq!(judge(settings, probe).detail, detail, "{settings}");
        }
    }

    #[test]
    fn the_maintenance_word_counts_whatever_the_status() {
        let body = Some(r#"{"status":"Maintenance mode is enabled"}"#);
        for ended in [Ended::Answered, Ended::BadStatus, Ended::Timeout, Ended::Reset] {
            let probe = Probe { ended, status: Some(503), body, ..HEALTHY };
            assert_eq!(judge("{}", probe).status, Status::Maintenance);
        }
        let probe = Probe { body, ..HEALTHY };
        assert_eq!(judge(r#"{"maintenanceWord":null}"#, probe).code, "bad-body");
        assert_eq!(judge(r#"{"path":null}"#, probe).code, "ok");
    }

    #[test]
    fn a_probe_from_ahead_of_the_clock_is_not_stale() {
        let probe = Probe { at_ms: 9_000_000, ..HEALTHY };
        assert_eq!(judge("{}", probe).code, "ok");
    }
}
