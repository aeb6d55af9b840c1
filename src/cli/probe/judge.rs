//! The policies of the services that are looked at, as far as they can be had without a gate's state.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Service, defaults};
use crate::generation::plugins::wanted;
use crate::model::health::{Verdict, Window};
use crate::plugin::health_policy::HealthPolicy;
use crate::plugin::registry::{Place, Plugins, Wanted};
use crate::plugin::threshold::Threshold;
use crate::telemetry::metrics::Metrics;

/// Who judges.
pub(super) struct Judges {
    by_service: BTreeMap<String, Judge>,
}

/// Who judges one service.
struct Judge {
    policy: Arc<HealthPolicy>,
    /// Why it is not what the config names.
    note: Option<String>,
}

/// A verdict and whose it is.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) verdict: Verdict,
    /// Digest of the component; `None`: the native rule.
    pub(super) by: Option<String>,
    pub(super) note: Option<String>,
}

impl Judges {
    /// Loads the components that these services need, and no others; most need none, which saves the engine's start.
    /// Blocks on the compiler.
    pub(super) fn new(config: &Config, chosen: &[usize]) -> Self {
        let services: Vec<&Service> =
            chosen.iter().filter_map(|it| config.services.get(*it)).collect();
        let mut by_service: BTreeMap<String, Judge> = services
            .iter()
            .map(|it| {
                let policy = Arc::new(HealthPolicy::native(&it.name, threshold(it)));
                (it.name.clone(), Judge { policy, note: None })
            })
            .collect();
        let all = wanted(config);
        let names: Vec<&str> =
            services.iter().filter(|it| needs_component(it)).map(|it| it.name.as_str()).collect();
        let is_ours =
            |place: &Place| matches!(place, Place::Service(it) if names.contains(&it.as_str()));
        let uses: Vec<_> = all.uses.into_iter().filter(|it| is_ours(&it.place)).collect();
        if uses.is_empty() {
            return Self { by_service };
        }
        let used = |name: &String| uses.iter().any(|it| it.plugin.as_ref() == Some(name));
        let plugins = all.plugins.into_iter().filter(|it| used(&it.name)).collect();
        let proven =
            Plugins::open(None, Metrics::new(1)).resolve(&Wanted { plugins, uses: uses.clone() });
        for policy in proven.set.policies {
            let plugin = uses.iter().find(|it| it.place == Place::Service(policy.service.clone()));
            let note = policy.component.is_none().then(|| {
                let name = plugin.and_then(|it| it.plugin.as_deref()).unwrap_or("the policy");
                let at = plugin.map_or("", |it| it.at.as_str());
                let why =
                    proven.notes.iter().find(|it| it.at.starts_with(at) || it.at.ends_with(name));
                let why = why.map_or_else(String::new, |it| format!(": {}", it.refusal.message));
                format!("{name} could not be loaded{why}; the native rule judges")
            });
            by_service.insert(policy.service.clone(), Judge { policy, note });
        }
        Self { by_service }
    }

    /// Judges; the memory of a policy goes on from window to window of this process, and is kept nowhere.
    pub(super) async fn judge(&self, service: &str, window: Window) -> Option<Said> {
        let judge = self.by_service.get(service)?;
        let judged = judge.policy.judge(Arc::new(window)).await;
        let fault = judged.fault.map(|it| format!("the component {it}; the native rule judged"));
        Some(Said {
            verdict: judged.verdict,
            by: judged.by.map(|it| it.to_string()),
            note: fault.or_else(|| judge.note.clone()),
        })
    }
}

/// The built-in `threshold` is the native rule as a component; its settings are the rule's own.
fn needs_component(service: &Service) -> bool {
    service.policy.plugin.as_deref().is_some_and(|it| it != defaults::POLICY)
}

fn threshold(service: &Service) -> Threshold {
    match service.policy.plugin.as_deref() {
        Some(defaults::POLICY) | None => {
            Threshold::new(&service.policy.settings).unwrap_or_default()
        }
        Some(_) => Threshold::default(),
    }
}
