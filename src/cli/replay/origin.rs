//! Where recorded observations come from: a running gate, page by page, or the journal of one that does not run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::gate::{Api, Failure, Gate};
use crate::cli::replay::fold::Judged;
use crate::cli::replay::{Cmd, Stopped, unusable};
use crate::cli::telling::{PATIENCE, block_on};
use crate::config::health::{Flap, Watching};
use crate::config::{self, Config, defaults};
use crate::health::tracker::Rules;
use crate::model::health::{ServiceFacts, Severity, Window};
use crate::store::Condition;
use crate::store::journal::ring::{FILE, RedbJournal};
use crate::store::journal::{Journal as _, Observation, Wanted};

/// Observations of one service that are looked at; more than a day at one every second.
const OBSERVATIONS_MAX: usize = 100_000;
const PAGE: usize = 1_000;

const HEALTH: Api = Api { member: "services", ask: "headgate replay" };
const WINDOWS: Api = Api { member: "windows", ask: "headgate replay" };
const SEEN: Api = Api { member: "observations", ask: "headgate replay" };

/// Everything that is known of one service.
pub(super) struct Recorded {
    pub(super) of: Judged,
    /// Of its policy, by config.
    pub(super) settings: Value,
    pub(super) observations: Vec<Observation>,
}

/// Where it comes from.
pub(super) enum Origin<'a> {
    Gate(&'a Cmd),
    State(Box<State>),
}

/// A copy of a journal, so that the original stays as it is.
pub(super) struct State {
    // Closed before its file is removed.
    journal: Arc<RedbJournal>,
    folder: Copied,
    config: Option<Config>,
}

struct Copied(PathBuf);

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl<'a> Origin<'a> {
    pub(super) fn open(cmd: &'a Cmd) -> Result<Self, Stopped> {
        let Some(folder) = &cmd.state else { return Ok(Self::Gate(cmd)) };
        let config = cmd.config.as_deref().map(read_config).transpose()?;
        let folder = copied(folder)?;
        let journal = RedbJournal::open(&folder.0);
        Ok(Self::State(Box::new(State { journal, folder, config })))
    }

    /// Names of all services of which something may be recorded.
    pub(super) fn services(&self) -> Result<Vec<String>, Stopped> {
        match self {
            Self::Gate(cmd) => {
                let call = async {
                    Gate::new(&cmd.target, HEALTH, PATIENCE)?.get("headgate/health", &[]).await
                };
                let answer = block_on(call)??;
                let list = answer.get("services").and_then(Value::as_array).into_iter().flatten();
                Ok(list.filter_map(|it| it.get("name")?.as_str().map(str::to_owned)).collect())
            }
            Self::State(it) => Ok(it.services()),
        }
    }

    /// What is recorded of one service; `None`: there is no such service.
    pub(super) fn read(&self, service: &str, since_ms: u64) -> Result<Recorded, Stopped> {
        match self {
            Self::Gate(cmd) => Ok(block_on(from_gate(cmd, service, since_ms))??),
            Self::State(it) => it.read(service, since_ms),
        }
    }
}

async fn from_gate(cmd: &Cmd, service: &str, since_ms: u64) -> Result<Recorded, Failure> {
    let windows = Gate::new(&cmd.target, WINDOWS, PATIENCE)?
        .get("headgate/plugins/windows", &[("service", service), ("limit", "1")])
        .await?;
    let window = windows.pointer("/windows/0").and_then(|it| Window::deserialize(it).ok());
    let of = Judged {
        facts: window.map_or_else(|| bare(service), |it| it.service),
        rules: rules(windows.get("rules").unwrap_or(&Value::Null)),
    };
    let settings = windows.get("settings").cloned().unwrap_or_else(|| json!({}));
    let gate = Gate::new(&cmd.target, SEEN, PATIENCE)?;
    let (since, limit) = (since_ms.to_string(), PAGE.to_string());
    let (mut observations, mut after): (Vec<Observation>, Option<String>) = (Vec::new(), None);
    loop {
        let mut query = vec![("service", service), ("since", &since), ("limit", &limit)];
        query.extend(after.as_deref().map(|it| ("after", it)));
        let page = gate.get("headgate/observations", &query).await?;
        let rows = page.get("observations").cloned().unwrap_or_default();
        let rows: Vec<Observation> = serde_json::from_value(rows).map_err(|error| {
            let text =
                format!("the gate is of another version: its observations cannot be read: {error}");
            Failure::Failed { text, problem: None }
        })?;
        observations.extend(rows);
        // A cursor that does not move would never end.
        let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() || next == after || observations.len() >= OBSERVATIONS_MAX {
            break;
        }
        after = next;
    }
    Ok(Recorded { of, settings, observations })
}

fn bare(service: &str) -> ServiceFacts {
    ServiceFacts {
        name: service.to_owned(),
        namespace: None,
        endpoint: String::new(),
        ready: None,
        desired: None,
        labels: Vec::new(),
    }
}

/// Of a service, as the gate tells them; what it does not tell is as in a config that says nothing.
fn rules(told: &Value) -> Rules {
    let preset = of_config(&defaults::WATCHING, None);
    let number = |name: &str, or: u32| {
        let told = told.get(name).and_then(Value::as_u64);
        told.and_then(|it| u32::try_from(it).ok()).unwrap_or(or)
    };
    let severity = told.get("severity").and_then(|it| Severity::deserialize(it).ok());
    let stale = told.get("staleMaintenanceMs").and_then(Value::as_u64);
    Rules {
        rise: number("rise", preset.rise),
        fall: number("fall", preset.fall),
        flap: Flap {
            window: number("flapWindow", preset.flap.window),
            high: number("flapHigh", preset.flap.high),
            low: number("flapLow", preset.flap.low),
        },
        severity: severity.unwrap_or(preset.severity),
        stale_maintenance_ms: stale.unwrap_or(preset.stale_maintenance_ms),
    }
}

fn of_config(watching: &Watching, config: Option<&Config>) -> Rules {
    let stale = match config {
        Some(config) => config.alerts.stale_maintenance,
        None => defaults::alerts().stale_maintenance,
    };
    Rules {
        rise: watching.rise,
        fall: watching.fall,
        flap: watching.flap,
        severity: watching.severity,
        stale_maintenance_ms: u64::try_from(stale.as_millis()).unwrap_or(u64::MAX),
    }
}

fn read_config(path: &Path) -> Result<Config, Stopped> {
    let parsed =
        config::read(path).map_err(|it| vec![*it]).and_then(|text| config::parse(&text, path));
    let parsed = parsed.map_err(|found| {
        let first = found.first().map_or_else(String::new, |it| it.message.clone());
        unusable(path, &format!("{first}; headgate check says more"))
    })?;
    Ok(parsed.config)
}

/// Copies the journal aside: opening it writes into it.
fn copied(folder: &Path) -> Result<Copied, Stopped> {
    let original = folder.join(FILE);
    let aside = std::env::temp_dir().join(format!("headgate-replay-{}", std::process::id()));
    std::fs::create_dir_all(&aside).map_err(|error| unusable(&aside, &error))?;
    let aside = Copied(aside);
    std::fs::copy(&original, aside.0.join(FILE)).map_err(|error| unusable(&original, &error))?;
    Ok(aside)
}

impl State {
    fn services(&self) -> Vec<String> {
        match &self.config {
            Some(config) => config.services.iter().map(|it| it.name.clone()).collect(),
            None => self.journal.all_latest().into_iter().map(|it| it.0).collect(),
        }
    }

    fn read(&self, service: &str, since_ms: u64) -> Result<Recorded, Stopped> {
        let journal = &self.journal;
        let mut observations: Vec<Observation> = Vec::new();
        let mut after = None;
        loop {
            let wanted = Wanted { service: Some(service.to_owned()), since_ms, after, limit: PAGE };
            let page = journal.read(&wanted);
            if let Condition::MemoryOnly { reason } = journal.condition() {
                return Err(unusable(&self.folder.0, &reason).into());
            }
            let is_last = page.len() < PAGE;
            after = page.last().map(|it| it.0);
            observations.extend(page.into_iter().map(|it| it.1));
            if is_last || observations.len() >= OBSERVATIONS_MAX {
                break;
            }
        }
        let known =
            self.config.as_ref().and_then(|it| it.services.iter().find(|it| it.name == service));
        let preset = defaults::WATCHING;
        let watching = known.map_or(&preset, |it| &it.watching);
        let facts = ServiceFacts {
            namespace: watching.namespace.clone(),
            labels: watching.labels.clone(),
            ..bare(service)
        };
        let rules = of_config(watching, self.config.as_ref());
        let settings = known.map_or_else(|| json!({}), |it| it.policy.settings.clone());
        Ok(Recorded { of: Judged { facts, rules }, settings, observations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_gates_or_those_of_a_config_that_says_nothing() {
        let preset = of_config(&defaults::WATCHING, None);
        assert_eq!(rules(&Value::Null), preset);
        assert_eq!(rules(&json!({ "rise": "x", "fall": -1, "severity": "loud" })), preset);
        let told = json!({
            "rise": 1, "fall": 9, "flapWindow": 30, "flapHigh": 60, "flapLow": 20, "severity": "warning",
            "staleMaintenanceMs": 5,
        });
        let expected = Rules {
            rise: 1,
            fall: 9,
            flap: Flap { window: 30, high: 60, low: 20 },
            severity: Severity::Warning,
            stale_maintenance_ms: 5,
        };
        assert_eq!(rules(&told), expected);
    }

    #[test]
    fn a_copy_is_removed_with_its_owner() {
        let folder = crate::maintenance::store::tests::Folder::new();
        assert!(copied(folder.path()).is_err());
        std::fs::write(folder.path().join(FILE), b"x").unwrap();
        let copy = copied(folder.path()).unwrap_or_else(|it| panic!("{it}"));
        let path = copy.0.clone();
        assert!(path.join(FILE).is_file());
        drop(copy);
        assert!(!path.exists());
    }
}
