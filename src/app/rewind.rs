//! Windows of an earlier process, from its journal: what candidates are tried on until enough new ones have been judged.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::config::Service;
use crate::generation::live::Live;
use crate::health::window::{Ring, SAMPLES_MAX};
use crate::model::UnixMs;
use crate::model::health::{Health, ServiceFacts, Window};
use crate::plugin::registry::Plugins;
use crate::store::journal::{Journal, Observation};

/// Windows of one service; a candidate needs twenty.
const WINDOWS_MAX: usize = 64;

/// Gives the recorder what the journal has of the services that are live.
pub(super) async fn rewind(live: &Live, journal: Arc<dyn Journal>, plugins: &Arc<Plugins>) {
    let (generation, plugins) = (Arc::clone(&live.load().generation), Arc::clone(plugins));
    // It reads from the disk, and copies much.
    let rewound = spawn_blocking(move || {
        let observations = journal.newest(SAMPLES_MAX + WINDOWS_MAX);
        record(&generation.config.services, observations, &plugins);
    });
    if let Err(error) = rewound.await {
        tracing::error!(%error, "windows of the last process cannot be recorded");
    }
}

fn record(services: &[Service], observations: Vec<Observation>, plugins: &Plugins) {
    let mut by_service: HashMap<String, Vec<Observation>> = HashMap::new();
    for it in observations {
        by_service.entry(it.service.clone()).or_default().push(it);
    }
    for service in services {
        let Some(observations) = by_service.remove(&service.name) else { continue };
        for window in windows(&facts(service), observations, UnixMs::now().0) {
            plugins.backing().recorder.window(&service.name, &Arc::new(window));
        }
    }
}

/// As monitors make them; the newest ones, oldest first.
fn windows(service: &ServiceFacts, observations: Vec<Observation>, now_ms: u64) -> Vec<Window> {
    let first = observations.len().saturating_sub(WINDOWS_MAX);
    let mut ring = Ring::default();
    let (mut current, mut since_ms) = (Health::Unknown, 0);
    let mut windows = Vec::new();
    for (number, it) in observations.into_iter().enumerate() {
        // The clock may have been set back since.
        let at_ms = it.at_ms.min(now_ms);
        it.samples.into_iter().for_each(|sample| ring.push(sample));
        if number >= first {
            windows.push(Window {
                now_ms: at_ms,
                service: service.clone(),
                current,
                since_ms,
                samples: ring.samples(),
                seed: at_ms,
                extra: Vec::new(),
            });
        }
        if it.status != current {
            (current, since_ms) = (it.status, at_ms);
        }
    }
    windows
}

fn facts(service: &Service) -> ServiceFacts {
    let first = service.upstreams.first().map(|it| format!("{}:{}", it.host, it.port));
    ServiceFacts {
        name: service.name.clone(),
        namespace: service.watching.namespace.clone(),
        endpoint: first.unwrap_or_default(),
        ready: None,
        desired: None,
        labels: service.watching.labels.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::{Outcome, Sample, Source};

    fn observation(at_ms: u64, status: Health) -> Observation {
        let sample = Sample {
            at_ms,
            source: Source::Probe,
            kind: "http".to_owned(),
            latency_us: 1,
            outcome: Outcome::Ok,
            status: Some(200),
            body: None,
            extra: Vec::new(),
        };
        let code = "ok".to_owned();
        let service = "a".to_owned();
        Observation { at_ms, service, samples: vec![sample], status, code, by: None, muted: false }
    }

    #[test]
    fn the_newest_windows_hold_what_was_seen_before_them() {
        let service = ServiceFacts {
            name: "a".to_owned(),
            namespace: None,
            endpoint: String::new(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        };
        let status = |it| if it < 100 { Health::Ok } else { Health::Failing };
        let observations = (0..128).map(|it| observation(it, status(it))).collect();
        let made = windows(&service, observations, 120);
        assert_eq!(made.len(), WINDOWS_MAX);
        assert_eq!(
            (made[0].now_ms, made[0].samples.len(), made[0].current),
            (64, SAMPLES_MAX, Health::Ok)
        );
        let last = &made[WINDOWS_MAX - 1];
        assert_eq!((last.now_ms, last.current, last.since_ms), (120, Health::Failing, 100));
        assert_eq!(windows(&service, vec![observation(1, Health::Ok)], 5).len(), 1);
        assert!(windows(&service, Vec::new(), 5).is_empty());
    }
}
