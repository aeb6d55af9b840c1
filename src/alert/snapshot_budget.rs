//! How many snapshots may still be asked for. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::alerts::Kubesnap;
use crate::model::UnixMs;

const DAY_MS: u64 = 86_400_000;
/// Calls that are remembered at most, whatever the budget.
const ASKED_MAX: usize = 10_000;

/// The calls of the last day; one row of `Table::Meta`. Times are those of the steady clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotBudget {
    /// Oldest first.
    asked: Vec<u64>,
    namespaces: BTreeMap<String, Last>,
}

/// The last call about a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Last {
    at_ms: u64,
    #[serde(default)]
    file: Option<String>,
}

impl SnapshotBudget {
    /// After a restart: a clock that was put back in between must not lock everything for years.
    pub fn restored(mut self, now_ms: u64) -> Self {
        for at in &mut self.asked {
            *at = now_ms.min(*at);
        }
        for last in self.namespaces.values_mut() {
            last.at_ms = last.at_ms.min(now_ms);
        }
        self
    }

    /// Why this namespace is not asked about now; `None`: it may be.
    pub fn refuses(&self, namespace: &str, rules: &Kubesnap, now_ms: u64) -> Option<String> {
        if let Some(last) = self.namespaces.get(namespace) {
            let next = last.at_ms.saturating_add(milliseconds(rules.cooldown));
            if now_ms < next {
                let at = UnixMs(last.at_ms).rfc3339();
                let seconds = (next - now_ms).div_ceil(1000);
                return Some(match &last.file {
                    Some(file) => {
                        format!("the last one is {file} of {at}, the next one in {seconds} s")
                    }
                    None => {
                        format!("the last one was asked for at {at}, the next one in {seconds} s")
                    }
                });
            }
        }
        let spent = self.asked.iter().filter(|it| now_ms.saturating_sub(**it) < DAY_MS).count();
        let budget = rules.budget;
        (spent >= usize::try_from(budget).unwrap_or(usize::MAX))
            .then(|| format!("the budget of {budget} a day is spent"))
    }

    /// It is asked now.
    pub fn ask(&mut self, namespace: &str, now_ms: u64) {
        self.asked.retain(|it| now_ms.saturating_sub(*it) < DAY_MS);
        if self.asked.len() >= ASKED_MAX {
            self.asked.remove(0);
        }
        self.asked.push(now_ms);
        self.namespaces.retain(|_, it| now_ms.saturating_sub(it.at_ms) < 7 * DAY_MS);
        self.namespaces.insert(namespace.to_owned(), Last { at_ms: now_ms, file: None });
    }

    /// The file that came of it.
    pub fn took(&mut self, namespace: &str, file: &str) {
        if let Some(last) = self.namespaces.get_mut(namespace) {
            last.file = Some(file.to_owned());
        }
    }

    /// Nothing reached Kubesnap: that call does not count.
    pub fn not_asked(&mut self, namespace: &str) {
        if let Some(last) = self.namespaces.remove(namespace)
            && let Some(at) = self.asked.iter().rposition(|it| *it == last.at_ms)
        {
            self.asked.remove(at);
        }
    }
}

fn milliseconds(it: Duration) -> u64 {
    u64::try_from(it.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, SnapshotBudget};
    use crate::alert::fixture::kubesnap;

    #[test]
    fn a_namespace_has_a_cool_down_and_the_day_a_budget() {
        // A minute, and three a day.
        let (rules, mut budget) = (kubesnap("http://k"), SnapshotBudget::default());
        let start = 1_000_000;
        assert_eq!(budget.refuses("dev", &rules, start), None);
        budget.ask("dev", start);
        let refusal = budget.refuses("dev", &rules, start + 1001).unwrap();
        assert_eq!(
            refusal,
            "the last one was asked for at 1970-01-01T00:16:40.000Z, the next one in 59 s"
        );
        budget.took("dev", "kubesnap_1.zip");
        let refusal = budget.refuses("dev", &rules, start + 59_999).unwrap();
        assert!(
            refusal.starts_with("the last one is kubesnap_1.zip of 1970-01-01T00:16"),
            "{refusal}"
        );
        assert!(budget.refuses("prod", &rules, start + 1).is_none(), "another namespace");
        assert!(budget.refuses("dev", &rules, start + 60_000).is_none());
        budget.ask("dev", start + 60_000);
        budget.ask("prod", start + 60_001);
        let refusal = budget.refuses("test", &rules, start + 60_002).unwrap();
        assert_eq!(refusal, "the budget of 3 a day is spent");
        assert!(budget.refuses("test", &rules, start + DAY_MS - 1).is_some());
        assert!(budget.refuses("test", &rules, start + DAY_MS).is_none());
    }

    #[test]
    fn a_call_that_reached_nobody_does_not_count() {
        let (rules, mut budget) = (kubesnap("http://k"), SnapshotBudget::default());
        budget.ask("dev", 5);
        budget.not_asked("dev");
        assert_eq!(budget, SnapshotBudget::default());
        assert!(budget.refuses("dev", &rules, 6).is_none());
    }

    #[test]
    fn a_clock_that_was_put_back_between_two_processes_locks_nothing_for_long() {
        let (rules, mut budget) = (kubesnap("http://k"), SnapshotBudget::default());
        budget.ask("dev", 900 * DAY_MS);
        let restored = budget.restored(DAY_MS);
        assert!(restored.refuses("dev", &rules, DAY_MS + 59_999).is_some());
        assert!(restored.refuses("dev", &rules, DAY_MS + 60_000).is_none());
        let text = serde_json::to_string(&restored).unwrap();
        assert_eq!(serde_json::from_str::<SnapshotBudget>(&text).unwrap(), restored);
    }
}
