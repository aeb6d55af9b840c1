//! Judges how fast a service burns its error budget, over a short and a long window at once. Pure; knows nothing of the
//! component model.
//!
//! A burn rate of 1 uses the budget up exactly at the end of the period for which the objective is meant. The short window
//! makes the alarm end soon after the trouble does, the long one keeps a short burst from raising it.

use json::body::{self, Found};
use json::{Issue, Settings};

use crate::buckets::{Buckets, PER_WINDOW};

/// What the operator can set. Burn rates and the objective in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slo {
    /// Per cent of the probes that should be good.
    objective: u64,
    latency_ms: u64,
    short_minutes: u64,
    long_minutes: u64,
    fast_burn: u64,
    slow_burn: u64,
    /// In each window, or nothing is said.
    min_probes: u64,
    maintenance_word: Option<String>,
}

/// A probe that was made, as far as the rule looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    pub(crate) at_ms: u64,
    pub(crate) latency_us: u32,
    pub(crate) answered: bool,
    pub(crate) body: Option<&'a str>,
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
    /// Burn rates of the short and the long window, in thousandths; `None` with too few probes.
    pub(crate) burns: Option<(u64, u64)>,
    /// To be remembered.
    pub(crate) state: Vec<u8>,
}

impl Slo {
    /// Reads settings; what is absent keeps its default.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(json: &str) -> Result<Self, Vec<Issue>> {
        let mut read = Settings::parse(json)?;
        let slo = Self {
            objective: read.thousandths("objective", 50_000..=99_999).unwrap_or(99_000),
            latency_ms: read.integer("latencyMs", 1..=600_000).unwrap_or(1_000),
            short_minutes: read.integer("shortMinutes", 1..=1_440).unwrap_or(5),
            long_minutes: read.integer("longMinutes", 2..=10_080).unwrap_or(60),
            fast_burn: read.thousandths("fastBurn", 1_000..=100_000_000).unwrap_or(14_400),
            slow_burn: read.thousandths("slowBurn", 1_000..=100_000_000).unwrap_or(6_000),
            min_probes: read.integer("minProbes", 1..=10_000).unwrap_or(5),
            maintenance_word: read
                .text_or_null("maintenanceWord", 1..=256)
                .unwrap_or_else(|| Some("Maintenance mode is enabled".to_owned())),
        };
        slo.check(&mut read);
        read.finish()?;
        Ok(slo)
    }

    /// What is right by itself and wrong together.
    fn check(&self, read: &mut Settings) {
        if self.short_minutes >= self.long_minutes {
            read.fault("/shortMinutes", "must be less than longMinutes");
        }
        if self.long_minutes > PER_WINDOW * self.short_minutes {
            let message = format!("must be at most {PER_WINDOW} times shortMinutes");
            read.fault("/longMinutes", message);
        }
        if self.slow_burn > self.fast_burn {
            read.fault("/slowBurn", "must not be more than fastBurn");
        }
        let fastest = 100_000_000 / (100_000 - self.objective);
        if self.fast_burn >= fastest {
            let message = format!(
                "can never be passed: with this objective nothing burns faster than {}",
                tenths(fastest)
            );
            read.fault("/fastBurn", message);
        }
    }

    /// Judges: `prior` is what the last judgement wanted to be remembered, `probes` those that were made, oldest first.
    pub(crate) fn judge(
        &self,
        prior: Option<&[u8]>,
        now_ms: u64,
        probes: &[Probe<'_>],
    ) -> Judgement {
        let (short_ms, long_ms) = (self.short_minutes * 60_000, self.long_minutes * 60_000);
        let loaded = prior.and_then(|saved| Buckets::load(saved, long_ms));
        let mut buckets = loaded.unwrap_or_else(|| Buckets::new(long_ms));
        buckets.forget(now_ms);
        let good = |it| move || (!self.in_maintenance(it)).then(|| self.is_good(it));
        buckets.count(now_ms, probes.iter().map(|it| (it.at_ms, good(it))));
        buckets.forget(now_ms);
        let (short, long) = (buckets.sum(now_ms, short_ms), buckets.sum(now_ms, long_ms));
        let enough = short.0 >= self.min_probes && long.0 >= self.min_probes;
        let burns = enough.then(|| (self.burn(short), self.burn(long)));
        let (status, code, detail) = if probes.last().is_some_and(|it| self.in_maintenance(it)) {
            let detail = "the service says that it is in maintenance".to_owned();
            (Status::Maintenance, "maintenance", detail)
        } else {
            self.say(burns, short.0)
        };
        Judgement { status, code, detail, burns, state: buckets.save() }
    }

    fn say(&self, burns: Option<(u64, u64)>, short: u64) -> (Status, &'static str, String) {
        let Self { short_minutes, long_minutes, min_probes, .. } = self;
        let Some(burns) = burns else {
            let detail = format!("{short} of {min_probes} probes in the last {short_minutes} min");
            return (Status::Unknown, "too-few-probes", detail);
        };
        let both = burns.0.min(burns.1);
        let (status, code) = if both > self.fast_burn {
            (Status::Failing, "fast-burn")
        } else if both > self.slow_burn {
            (Status::Degraded, "slow-burn")
        } else {
            (Status::Ok, "within-budget")
        };
        let (short, long) = (tenths(burns.0), tenths(burns.1));
        let detail = format!(
            "error budget burns at {short} over {short_minutes} min and {long} over {long_minutes} min"
        );
        (status, code, detail)
    }

    fn is_good(&self, probe: &Probe<'_>) -> bool {
        probe.answered && u64::from(probe.latency_us) <= self.latency_ms * 1000
    }

    /// Such an answer is neither good nor bad.
    fn in_maintenance(&self, probe: &Probe<'_>) -> bool {
        let (Some(word), Some(body)) = (&self.maintenance_word, probe.body) else { return false };
        matches!(body::find(body, ["status"].into_iter()), Found::Text(text) if text == *word)
    }

    /// The share of bad probes by the share that may be bad, in thousandths.
    fn burn(&self, (total, bad): (u64, u64)) -> u64 {
        let budget = 100_000 - self.objective;
        bad.saturating_mul(100_000_000) / (total * budget).max(1)
    }
}

/// Thousandths as a number with one decimal.
fn tenths(thousandths: u64) -> String {
    let tenths = thousandths.saturating_add(50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// An hour of probes, one every 30 s, and how it must be judged under the default settings.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    /// Of ten probes so many were bad, in the first 55 minutes and in the last five.
    bad: (u64, u64),
    expected: (Status, &'static str),
}

/// Run by `self-test` in the sandbox and by the tests natively.
pub(crate) const GOLDEN: &[Golden] = &[
    Golden { name: "all good", bad: (0, 0), expected: (Status::Ok, "within-budget") },
    Golden { name: "half bad for an hour", bad: (5, 5), expected: (Status::Failing, "fast-burn") },
    Golden { name: "one in ten bad", bad: (1, 1), expected: (Status::Degraded, "slow-burn") },
    Golden { name: "a burst at the end", bad: (0, 5), expected: (Status::Ok, "within-budget") },
    Golden { name: "bad, but over now", bad: (5, 0), expected: (Status::Ok, "within-budget") },
];

impl Golden {
    /// What came instead, when it is not what was expected.
    pub(crate) fn differs(&self) -> Option<String> {
        let Ok(slo) = Slo::read("{}") else {
            return Some("its settings are wrong".to_owned());
        };
        let mut state = None;
        let mut came = None;
        // As the gate calls it: every 30 s with the newest probes, most of which it has seen before.
        for newest in 0..120_u64 {
            let probe = |at: u64| {
                let bad = if at < 110 { self.bad.0 } else { self.bad.1 };
                let latency_us = if at % 10 < bad { 2_000_000 } else { 5_000 };
                Probe { at_ms: (at + 1) * 30_000, latency_us, answered: true, body: None }
            };
            let probes: Vec<Probe<'_>> = (newest.saturating_sub(9)..=newest).map(probe).collect();
            let judgement = slo.judge(state.as_deref(), (newest + 1) * 30_000, &probes);
            came = Some((judgement.status, judgement.code));
            state = Some(judgement.state);
        }
        let code = came.map_or("nothing", |it| it.1);
        (came != Some(self.expected)).then(|| format!("expected {}, came {code}", self.expected.1))
    }
}

#[cfg(test)]
mod tests {
    use super::{GOLDEN, Probe, Slo, Status};

    #[test]
    fn golden_hours_are_judged_as_they_should() {
        for golden in GOLDEN {
            assert_eq!(golden.differs(), None, "{}", golden.name);
        }
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let settings = r#"{"objective":100,"latencyMs":0,"shortMinutes":9,"longMinutes":9,
            "fastBurn":2,"slowBurn":"6","minProbes":0,"maintenanceWord":"","x":1}"#;
        let issues = Slo::read(settings).expect_err("all wrong");
        let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/objective",
                "/latencyMs",
                "/slowBurn",
                "/minProbes",
                "/maintenanceWord",
                "/shortMinutes",
                "/slowBurn",
                "/x"
            ]
        );
        let issues = Slo::read(r#"{"longMinutes":301}"#).expect_err("too coarse");
        assert_eq!(issues[0].path, "/longMinutes");
        let issues = Slo::read(r#"{"objective":90}"#).expect_err("10 is the fastest");
        assert_eq!(issues[0].path, "/fastBurn");
        assert!(Slo::read(r#"{"objective":99.9,"fastBurn":14.4,"slowBurn":6}"#).is_ok());
    }

    #[test]
    fn too_few_probes_say_nothing_and_foreign_state_is_forgotten() {
        let slo = Slo::read("{}").expect("right");
        let bad = |at_ms| Probe { at_ms, latency_us: 0, answered: false, body: None };
        let few: Vec<Probe<'_>> = (1..5).map(|it| bad(it * 1000)).collect();
        let judgement = slo.judge(Some(&[7; 99]), 10_000, &few);
        assert_eq!((judgement.status, judgement.code), (Status::Unknown, "too-few-probes"));
        assert_eq!(judgement.detail, "4 of 5 probes in the last 5 min");
        let judgement = slo.judge(Some(&judgement.state), 10_000, &[bad(5_000)]);
        assert_eq!(
            (judgement.status, judgement.burns),
            (Status::Failing, Some((100_000, 100_000)))
        );
        assert_eq!(
            judgement.detail,
            "error budget burns at 100.0 over 5 min and 100.0 over 60 min"
        );
        let later = slo.judge(Some(&judgement.state), 400_000, &[]);
        assert_eq!(later.status, Status::Unknown);
    }

    #[test]
    fn probes_in_maintenance_are_neither_good_nor_bad() {
        let slo = Slo::read("{}").expect("right");
        let body = Some(r#"{"status":"Maintenance mode is enabled"}"#);
        let probes: Vec<Probe<'_>> = (1..20)
            .map(|it| Probe { at_ms: it * 1000, latency_us: 9_000_000, answered: true, body })
            .collect();
        let judgement = slo.judge(None, 20_000, &probes);
        assert_eq!((judgement.status, judgement.burns), (Status::Maintenance, None));
    }
}
