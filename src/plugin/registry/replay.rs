//! Runs a candidate over recorded inputs, twice, beside what acts: is it deterministic, does it fail, what would differ?

use std::time::Duration;

use tokio::time::Instant;

use crate::model::alert::{Event, Message};
use crate::model::health::{Health, Saved, Verdict, Window};
use crate::plugin::facts::Facts;
use crate::plugin::host::{Component, FilterDecision, Instance};
use crate::plugin::registry::acting::Acting;
use crate::plugin::registry::shadow::{message_text, outcome_text, verdict_text};
use crate::plugin::registry::status::{Replay, ReplayOutcome};
use crate::plugin::threshold::Threshold;
use crate::plugin::{Fault, Refusal, Said};

/// Inputs without which a replay says nothing.
pub(crate) const NEEDED: usize = 20;

/// Wall-clock time that all replays of one candidate may take.
pub(crate) const TIME: Duration = Duration::from_secs(5);

/// Differences that are shown.
const EXAMPLES: usize = 5;

/// A policy as a function.
type Judge<'a> = &'a dyn Fn(&Window, Option<&Saved>) -> Result<Verdict, Fault>;

/// What came of the inputs, in their order.
type Outcomes<'a, T> = &'a [Result<T, Fault>];

/// What a replay showed so far, over all uses of the candidate.
#[derive(Debug)]
pub(crate) struct Trial {
    deadline: Instant,
    inputs: usize,
    compared: usize,
    agree: usize,
    examples: Vec<String>,
    unsteady: Option<String>,
    failed: Option<String>,
}

impl Trial {
    pub(crate) fn begin() -> Self {
        Self {
            deadline: Instant::now() + TIME,
            inputs: 0,
            compared: 0,
            agree: 0,
            examples: Vec::new(),
            unsteady: None,
            failed: None,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Windows of one service, against what judges it now.
    pub(crate) fn policy(
        &mut self,
        windows: &[&Window],
        old: (Option<&Acting>, &Threshold),
        (new, settings): (&Component, &str),
    ) {
        let native = |window: &Window, _: Option<&Saved>| Ok(old.1.judge(window));
        let acting = |window: &Window, prior: Option<&Saved>| {
            let it = old.0.map(|it| it.component.evaluate(&it.settings, window, prior).outcome);
            it.unwrap_or_else(|| native(window, prior))
        };
        let old_version = old.0.map_or(0, |it| it.component.info().state_version);
        let candidate =
            |window: &Window, prior: Option<&Saved>| new.evaluate(settings, window, prior).outcome;
        let version = new.info().state_version;
        let first = self.fold(windows, (&candidate, version));
        let second = self.fold(windows, (&candidate, version));
        let before = self.fold(windows, (&acting, old_version));
        let name = |number: usize| windows.get(number).map_or(0, |it| it.now_ms).to_string();
        self.compare(&name, (&first, &second), Some(&before), verdict_text);
    }

    /// Folds a policy over windows from empty state, each with the policy's own memory and its own last word as `current`.
    fn fold(
        &self,
        windows: &[&Window],
        (judge, version): (Judge<'_>, u32),
    ) -> Vec<Result<Verdict, Fault>> {
        let mut prior: Option<Saved> = None;
        let (mut current, mut since) = (Health::Unknown, windows.first().map_or(0, |it| it.now_ms));
        let mut verdicts = Vec::with_capacity(windows.len());
        for window in windows {
            if self.is_over() {
                break;
            }
            let window = Window { current, since_ms: since, ..Window::clone(window) };
            let verdict = judge(&window, prior.as_ref());
            if let Ok(it) = &verdict {
                if it.status != current {
                    (current, since) = (it.status, window.now_ms);
                }
                match it.state.as_deref() {
                    Some([]) => prior = None,
                    Some(bytes) => prior = Some(Saved { version, bytes: bytes.to_vec() }),
                    None => {}
                }
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Events, against what words them now; `None`: the native text.
    pub(crate) fn formatter(
        &mut self,
        events: &[&Event],
        old: &dyn Fn(&Event) -> Result<Option<Message>, Fault>,
        (new, settings): (&Component, &str),
    ) {
        let run = |word: &dyn Fn(&Event) -> Result<Option<Message>, Fault>| {
            events.iter().take_while(|_| !self.is_over()).map(|it| word(it)).collect::<Vec<_>>()
        };
        let candidate = |event: &Event| new.format(settings, event).outcome;
        let (first, second, before) = (run(&candidate), run(&candidate), run(old));
        let name = |number: usize| events.get(number).map_or("", |it| it.id.as_str()).to_owned();
        self.compare(&name, (&first, &second), Some(&before), message_text);
    }

    /// Requests of one route, against the filter that acts there, if any.
    pub(crate) fn filter(
        &mut self,
        requests: &[&Facts],
        old: Option<(&Component, &str)>,
        new: (&Component, &str),
    ) {
        let (first, second) = (self.decisions(requests, new), self.decisions(requests, new));
        let before = old.map(|it| self.decisions(requests, it));
        let text = |it: &FilterDecision| format!("{it:?}");
        self.compare(&|it| format!("request {it}"), (&first, &second), before.as_deref(), text);
    }

    fn decisions(
        &self,
        requests: &[&Facts],
        (component, settings): (&Component, &str),
    ) -> Vec<Result<FilterDecision, Fault>> {
        let mut instance: Option<Instance> = None;
        let (mut said, mut decisions) = (Said::default(), Vec::new());
        for facts in requests {
            if self.is_over() {
                break;
            }
            let made = instance.take().map_or_else(|| component.instance(settings), Ok);
            decisions.push(made.and_then(|mut it| {
                let decision = it.on_request(&mut Facts::clone(facts), &mut said)?;
                instance = Some(it);
                Ok(decision)
            }));
            said = Said::default();
        }
        decisions
    }

    fn compare<T: PartialEq>(
        &mut self,
        name: &dyn Fn(usize) -> String,
        (first, second): (Outcomes<'_, T>, Outcomes<'_, T>),
        before: Option<Outcomes<'_, T>>,
        text: impl Fn(&T) -> String,
    ) {
        for (number, (one, two)) in first.iter().zip(second).enumerate() {
            self.inputs += 1;
            let shown = outcome_text(one, &text);
            if is_other(one, two) && self.unsteady.is_none() {
                let again = outcome_text(two, &text);
                self.unsteady = Some(format!("{}: {shown}, then {again}", name(number)));
            }
            let old = before.and_then(|it| it.get(number));
            if let Err(fault) = one
                && !matches!(old, Some(Err(_)))
                && self.failed.is_none()
            {
                self.failed = Some(format!("{}: {fault}", name(number)));
            }
            let Some(old) = old else { continue };
            self.compared += 1;
            let old = outcome_text(old, &text);
            if old == shown {
                self.agree += 1;
            } else if self.examples.len() < EXAMPLES {
                self.examples.push(format!("{}: {old} → {shown}", name(number)));
            }
        }
    }

    /// What it all showed.
    pub(crate) fn result(self) -> Replay {
        let outcome = if self.unsteady.is_some() {
            ReplayOutcome::NonDeterministic
        } else if self.failed.is_some() {
            ReplayOutcome::Faulted
        } else if self.inputs < NEEDED {
            ReplayOutcome::InsufficientEvidence
        } else if self.compared == 0 {
            ReplayOutcome::NothingToCompare
        } else {
            ReplayOutcome::Passed
        };
        let first = self.unsteady.or(self.failed);
        Replay {
            outcome,
            inputs: self.inputs,
            needed: NEEDED,
            agree: self.agree,
            differ: self.compared - self.agree,
            examples: first.into_iter().chain(self.examples).collect(),
        }
    }
}

/// Times and sizes in a fault's words may differ from run to run, its kind may not.
fn is_other<T: PartialEq>(one: &Result<T, Fault>, two: &Result<T, Fault>) -> bool {
    match (one, two) {
        (Ok(one), Ok(two)) => one != two,
        (Err(one), Err(two)) => one.label() != two.label(),
        _ => true,
    }
}

/// Why a candidate is refused after this.
pub(crate) fn refusal(replay: &Replay) -> Option<Refusal> {
    let example = replay.examples.first().cloned().unwrap_or_default();
    match replay.outcome {
        ReplayOutcome::NonDeterministic => Some(
            Refusal::new(
                "non-deterministic",
                format!("gave two answers to one recorded input ({example})"),
            )
            .advice("Depend on nothing but the input, the prior state and the settings."),
        ),
        ReplayOutcome::Faulted => Some(
            Refusal::new("replay", format!("failed on a recorded input ({example})"))
                .advice("Replay the input with `headgate plugin run`."),
        ),
        ReplayOutcome::Passed
        | ReplayOutcome::InsufficientEvidence
        | ReplayOutcome::NothingToCompare => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(first: &[i32], second: &[i32], before: Option<&[i32]>) -> Replay {
        // Negative numbers stand for faults.
        let outcomes = |of: &[i32]| -> Vec<Result<i32, Fault>> {
            let fault = |_| Fault::Failed { message: "no".to_owned() };
            of.iter().map(|it| u32::try_from(*it).map(|_| *it).map_err(fault)).collect()
        };
        let mut trial = Trial::begin();
        let before = before.map(outcomes);
        trial.compare(
            &|it| it.to_string(),
            (&outcomes(first), &outcomes(second)),
            before.as_deref(),
            ToString::to_string,
        );
        trial.result()
    }

    #[test]
    fn a_replay_tells_what_it_saw() {
        let (same, odd) = ([1; 20], [&[1; 19][..], &[2]].concat());
        let failing = [&[1; 19][..], &[-1]].concat();
        for (first, second, before, outcome, agree, differ) in [
            (&same[..], &same[..], Some(&same[..]), ReplayOutcome::Passed, 20, 0),
            (&odd, &odd, Some(&same), ReplayOutcome::Passed, 19, 1),
            (&same[..19], &same[..19], Some(&same), ReplayOutcome::InsufficientEvidence, 19, 0),
            (&[], &[], None, ReplayOutcome::InsufficientEvidence, 0, 0),
            (&same, &same, None, ReplayOutcome::NothingToCompare, 0, 0),
            (&same, &odd, Some(&same), ReplayOutcome::NonDeterministic, 20, 0),
            (&failing, &failing, Some(&same), ReplayOutcome::Faulted, 19, 1),
            // What failed before may fail again.
            (&failing, &failing, Some(&failing), ReplayOutcome::Passed, 20, 0),
            // A run that was cut short by the time says nothing about the rest.
            (&same, &[1; 5], Some(&same), ReplayOutcome::InsufficientEvidence, 5, 0),
        ] {
            let it = trial(first, second, before);
            assert_eq!((it.outcome, it.agree, it.differ), (outcome, agree, differ), "{it:?}");
            let refused =
                matches!(outcome, ReplayOutcome::NonDeterministic | ReplayOutcome::Faulted);
            assert_eq!(refusal(&it).is_some(), refused);
        }
    }

    #[test]
    fn a_policy_is_folded_with_its_own_memory_and_its_own_last_word() {
        let window = |now_ms| {
            crate::plugin::recorder::tests::window(now_ms, crate::model::health::Outcome::Ok, 200)
        };
        let windows = [window(10), window(20), window(30), window(40)];
        let windows: Vec<&Window> = windows.iter().map(|it| &**it).collect();
        let seen = std::sync::Mutex::new(Vec::new());
        // Says failing from the second window on, counts in its state, forgets at the third.
        let judge = |window: &Window, prior: Option<&Saved>| {
            let count = prior.map_or(0, |it| it.bytes[0]);
            seen.lock().unwrap().push((window.current, window.since_ms, count));
            let number = seen.lock().unwrap().len();
            let mut verdict = Threshold::default().judge(window);
            verdict.status = if number > 1 { Health::Failing } else { Health::Ok };
            verdict.state = Some(if number == 3 { vec![] } else { vec![count + 1] });
            Ok(verdict)
        };
        Trial::begin().fold(&windows, (&judge, 1));
        assert_eq!(
            seen.into_inner().unwrap(),
            [
                (Health::Unknown, 10, 0),
                (Health::Ok, 10, 1),
                (Health::Failing, 20, 2),
                (Health::Failing, 20, 0)
            ]
        );
    }
}
