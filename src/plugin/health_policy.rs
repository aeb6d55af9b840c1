//! Judges a service's window: by its component, else by the native threshold rule; always with an answer.

use std::sync::Arc;

use tokio::time::Instant;

use crate::model::UnixMs;
use crate::model::health::{Action, Verdict, Window};
use crate::plugin::registry::acting::Acting;
use crate::plugin::registry::backing::Backing;
use crate::plugin::registry::shadow::Beside;
use crate::plugin::registry::states::States;
use crate::plugin::threshold::Threshold;
use crate::plugin::{Digest, Fault};
use crate::telemetry::plugins::PluginCounts;

/// The policy of one service: what is live in one generation.
#[derive(Debug)]
pub struct HealthPolicy {
    /// Service that it judges; saved state is kept by (service, digest).
    pub service: String,
    /// The component that acts, with its settings; `None`: the native rule by the operator's choice, or because nothing could
    /// be proven.
    pub component: Option<Arc<Acting>>,
    /// What answers when the component does not.
    pub native: Threshold,
    /// Counts when the native rule stands in for a plugin of which nothing could be proven.
    pub missing: Option<Arc<PluginCounts>>,
    /// A candidate that sees the same windows.
    pub beside: Option<Beside>,
    /// Threads, state and recorder; `None` in tools that call no component.
    pub backing: Option<Arc<Backing>>,
}

/// A verdict and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// The component that gave it; `None`: the native rule.
    pub by: Option<Digest>,
    /// Why the component did not, when it should have.
    pub fault: Option<Fault>,
}

impl HealthPolicy {
    /// The native rule alone, recorded nowhere.
    pub fn native(service: &str, native: Threshold) -> Self {
        Self {
            service: service.to_owned(),
            component: None,
            native,
            missing: None,
            beside: None,
            backing: None,
        }
    }

    /// Judges. Waits for a plugin thread; never for longer than the queue's and the call's deadlines together.
    pub async fn judge(&self, window: Arc<Window>) -> Judged {
        let Some(backing) = &self.backing else { return self.natively(&window, None) };
        backing.recorder.window(&self.service, &window);
        let Some(acting) = &self.component else {
            self.missing.iter().for_each(|it| it.fell_back());
            let judged = self.natively(&window, None);
            self.beside_native(backing, &window, &judged.verdict).await;
            return judged;
        };
        if acting.is_suspended(UnixMs::now()) {
            acting.fell_back();
            let message = "the component is in quarantine".to_owned();
            return self.natively(&window, Some(Fault::Failed { message }));
        }
        match self.ask(backing, acting, &window).await {
            Ok(verdict) => Judged { verdict, by: Some(acting.component.digest()), fault: None },
            Err(fault) => self.natively(&window, Some(fault)),
        }
    }

    /// Answers to a window that a person brings, as [`HealthPolicy::judge`] would now: from the memory as it is, but nothing
    /// is remembered, recorded, counted or compared, and a fault is held against nobody.
    pub async fn try_out(&self, window: Arc<Window>) -> Judged {
        let (Some(backing), Some(acting)) = (&self.backing, &self.component) else {
            return self.natively(&window, None);
        };
        if acting.is_suspended(UnixMs::now()) {
            let message = "the component is in quarantine".to_owned();
            return self.natively(&window, Some(Fault::Failed { message }));
        }
        let call = {
            let (acting, backing, window) =
                (Arc::clone(acting), Arc::clone(backing), Arc::clone(&window));
            let service = self.service.clone();
            move || {
                let prior = backing.states.get(&service, acting.component.digest());
                acting.component.evaluate(&acting.settings, &window, prior.as_ref()).outcome
            }
        };
        let by = Some(acting.component.digest());
        match backing.workers.run(call, || ()).await.flatten() {
            Ok(mut verdict) => {
                verdict.actions.retain(|it| is_granted(acting, it));
                Judged { verdict, by, fault: None }
            }
            Err(fault) => self.natively(&window, Some(fault)),
        }
    }

    async fn ask(
        &self,
        backing: &Arc<Backing>,
        acting: &Arc<Acting>,
        window: &Arc<Window>,
    ) -> Result<Verdict, Fault> {
        let began = Instant::now();
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let call = {
            let (acting, backing, window) =
                (Arc::clone(acting), Arc::clone(backing), Arc::clone(window));
            let (service, kept) = (self.service.clone(), self.beside.is_some());
            move || {
                let outcome = evaluate(&acting, &backing.states, &service, &window);
                if kept {
                    // The channel has room for exactly this.
                    let _ = answer.try_send(outcome.clone());
                }
                outcome
            }
        };
        let after = {
            let (beside, backing, window) =
                (self.beside.clone(), Arc::clone(backing), Arc::clone(window));
            let service = self.service.clone();
            move || {
                if let (Some(beside), Ok(acted)) = (beside, answered.try_recv()) {
                    beside.judge(&service, &window, &acted, &backing.states);
                }
            }
        };
        let waited = backing.workers.run(call, after).await;
        waited.unwrap_or_else(|fault| {
            acting.called(Some(&fault), began.elapsed());
            Err(fault)
        })
    }

    /// A candidate for a service that is judged natively is compared with the native rule.
    async fn beside_native(&self, backing: &Arc<Backing>, window: &Arc<Window>, acted: &Verdict) {
        let Some(beside) = self.beside.clone() else { return };
        let (shared, window) = (Arc::clone(backing), Arc::clone(window));
        let (service, acted) = (self.service.clone(), acted.clone());
        let run = move || beside.judge(&service, &window, &Ok(acted), &shared.states);
        // A full queue loses one comparison and nothing else.
        let _ = backing.workers.run(|| (), run).await;
    }

    fn natively(&self, window: &Window, fault: Option<Fault>) -> Judged {
        Judged { verdict: self.native.judge(window), by: None, fault }
    }
}

/// Calls the component with its own memory, on a plugin thread.
fn evaluate(
    acting: &Acting,
    states: &States,
    service: &str,
    window: &Window,
) -> Result<Verdict, Fault> {
    let digest = acting.component.digest();
    let prior = states.get(service, digest);
    let called = acting.component.evaluate(&acting.settings, window, prior.as_ref());
    acting.said(&called.said);
    acting.spent(called.outcome.as_ref().err(), called.spent);
    match called.outcome {
        Ok(verdict) => {
            let version = acting.component.info().state_version;
            states.put(service, digest, version, verdict.state.as_deref());
            acting.counts().saved(verdict.state.as_ref().map_or(0, Vec::len));
            Ok(granted(acting, verdict))
        }
        Err(fault) => {
            acting.poisoned(&fault, serde_json::to_string(window).unwrap_or_default());
            tracing::warn!(
                plugin = acting.plugin, service, digest = digest.short(), %fault,
                "a health policy failed; the native rule judges"
            );
            Err(fault)
        }
    }
}

/// Leaves out what the operator did not grant.
fn granted(acting: &Acting, mut verdict: Verdict) -> Verdict {
    let proposed = verdict.actions.len();
    verdict.actions.retain(|it| is_granted(acting, it));
    let dropped = proposed - verdict.actions.len();
    if dropped > 0 {
        acting.counts().actions_dropped(dropped);
    }
    verdict
}

fn is_granted(acting: &Acting, action: &Action) -> bool {
    match action {
        Action::Snapshot(_) => acting.is_granted("action:snapshot"),
        Action::Alert(_) => acting.is_granted("action:alert"),
        Action::Ext(it) => acting.is_granted(&format!("action:{}", it.kind)),
    }
}
