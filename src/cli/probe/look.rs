//! One service: its endpoints are probed together, and again until it is well or the tries are used up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::probe::judge::Judges;
use crate::config::health::Probe;
use crate::config::{Authority, Service};
use crate::health::probe::Prober;
use crate::health::round::{speaker, unresolved};
use crate::model::UnixMs;
use crate::model::health::{Health, Outcome, Sample, ServiceFacts, Verdict, Window};

/// Endpoints of one service that are looked at.
const ENDPOINTS_MAX: usize = 64;

/// For one look-up of a name.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What came of a service.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) service: String,
    /// `None`: it could not be probed; `note` says why.
    pub(super) verdict: Option<Verdict>,
    /// Digest of the component that judged; `None`: the native rule.
    pub(super) by: Option<String>,
    pub(super) note: Option<String>,
    pub(super) tries: u32,
    /// By address (a name, where it does not resolve), what was seen there last.
    pub(super) endpoints: Vec<(String, Sample)>,
}

/// Where to look.
#[derive(Clone)]
enum Spot {
    Address(Arc<Prober>, SocketAddr),
    /// A name without an address, with the reason.
    Nowhere(String, String),
}

pub(super) async fn look(service: &Service, judges: &Judges, tries: u32) -> Looked {
    let mut looked = Looked {
        service: service.name.clone(),
        verdict: None,
        by: None,
        note: None,
        tries: 0,
        endpoints: Vec::new(),
    };
    let Some(probe) = &service.watching.probe else {
        looked.note = Some("it has no probe: its config has no health.probe".to_owned());
        return looked;
    };
    let mut probers = Vec::new();
    for authority in &service.upstreams {
        match Prober::new(probe, (authority.host.clone(), authority.port)) {
            Ok(prober) => probers.push((authority, prober)),
            Err(reason) => {
                looked.note = Some(reason);
                return looked;
            }
        }
    }
    let began = UnixMs::now().0;
    let (mut samples, mut current) = (Vec::new(), Health::Unknown);
    while looked.tries < tries {
        if looked.tries > 0 {
            tokio::time::sleep(probe.unhealthy_interval.min(PAUSE_MAX)).await;
        }
        looked.tries += 1;
        looked.endpoints = round(probe, &spots(&probers).await).await;
        samples.extend(speaker(&looked.endpoints).cloned());
        let facts = facts(service, &looked.endpoints);
        let window = window(facts, samples.clone(), (current, began));
        let Some(said) = judges.judge(&service.name, window).await else { break };
        current = said.verdict.status;
        (looked.verdict, looked.by, looked.note) = (Some(said.verdict), said.by, said.note);
        if matches!(current, Health::Ok | Health::Maintenance) {
            break;
        }
    }
    looked
}

/// Names are looked up at each try: the service may have moved.
async fn spots(probers: &[(&Authority, Arc<Prober>)]) -> Vec<Spot> {
    let mut spots = Vec::new();
    for (Authority { host, port }, prober) in probers {
        let found = timeout(LOOK_UP, tokio::net::lookup_host((host.as_str(), *port))).await;
        match found {
            Ok(Ok(addresses)) => {
                spots.extend(addresses.map(|it| Spot::Address(Arc::clone(prober), it)));
            }
            Ok(Err(error)) => spots.push(Spot::Nowhere(host.clone(), error.to_string())),
            Err(_) => spots.push(Spot::Nowhere(host.clone(), format!("no answer in {LOOK_UP:?}"))),
        }
    }
    spots.truncate(ENDPOINTS_MAX);
    spots
}

/// Every spot once, all at the same time.
async fn round(probe: &Probe, spots: &[Spot]) -> Vec<(String, Sample)> {
    let mut looking = JoinSet::new();
    let mut seen = Vec::new();
    for (order, spot) in spots.iter().cloned().enumerate() {
        match spot {
            Spot::Address(prober, address) => {
                looking.spawn(
                    async move { (order, address.to_string(), prober.check(address).await) },
                );
            }
            Spot::Nowhere(host, reason) => seen.push((order, host, nowhere(probe, reason))),
        }
    }
    while let Some(one) = looking.join_next().await {
        seen.extend(one);
    }
    seen.sort_by_key(|it| it.0);
    seen.into_iter().map(|it| (it.1, it.2)).collect()
}

fn nowhere(probe: &Probe, reason: String) -> Sample {
    Sample { extra: vec![("error".to_owned(), reason)], ..unresolved(probe) }
}

fn window(
    service: ServiceFacts,
    samples: Vec<Sample>,
    (current, since_ms): (Health, u64),
) -> Window {
    let now_ms = UnixMs::now().0;
    let samples = samples.into_iter().map(Arc::new).collect();
    Window { now_ms, service, current, since_ms, samples, seed: now_ms, extra: Vec::new() }
}

/// As the gate's own monitors tell them.
fn facts(service: &Service, endpoints: &[(String, Sample)]) -> ServiceFacts {
    let ready = endpoints.iter().filter(|it| it.1.outcome == Outcome::Ok).count();
    let count = |it: usize| Some(u32::try_from(it).unwrap_or(u32::MAX));
    let first = service.upstreams.first().map(|it| format!("{}:{}", it.host, it.port));
    ServiceFacts {
        name: service.name.clone(),
        namespace: service.watching.namespace.clone(),
        endpoint: first.unwrap_or_default(),
        ready: count(ready),
        desired: count(endpoints.len()),
        labels: service.watching.labels.clone(),
    }
}
