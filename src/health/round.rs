//! One round of probes: all endpoints of a service at once, and the one sample that stands for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::health::{Probe, ProbeKind};
use crate::health::probe::Prober;
use crate::model::UnixMs;
use crate::model::health::{Outcome, Sample, Source};

/// Endpoints that are probed at once; of more, these are the next in turn.
const AT_ONCE: usize = 16;
/// A probe ends by itself within its timeout; this is for one that does not.
const GRACE: Duration = Duration::from_secs(1);

/// What the endpoints of one service said last.
#[derive(Debug, Default)]
pub struct Rounds {
    known: BTreeMap<SocketAddr, Sample>,
    turn: usize,
}

impl Rounds {
    /// Probes the endpoints; gives what each said, in the order of their addresses as far as they were asked.
    pub async fn probe(
        &mut self,
        prober: &Arc<Prober>,
        probe: &Probe,
        endpoints: &[SocketAddr],
    ) -> Vec<(SocketAddr, Sample)> {
        let patience = probe.timeout.saturating_add(GRACE);
        let chosen = self.chosen(endpoints);
        let results = match chosen.as_slice() {
            [only] => vec![(*only, check(prober, probe, *only, patience).await)],
            several => check_all(prober, probe, several, patience).await,
        };
        self.known.retain(|it, _| endpoints.contains(it));
        self.known.extend(results.iter().cloned());
        results
    }

    fn chosen(&mut self, endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
        let begin = self.turn % endpoints.len().max(1);
        // By one where all are asked, so that each is now and then the one that stands for all.
        self.turn = self.turn.wrapping_add(if endpoints.len() > AT_ONCE { AT_ONCE } else { 1 });
        endpoints.iter().cycle().skip(begin).take(endpoints.len().min(AT_ONCE)).copied().collect()
    }

    /// Endpoints that were well when they were last asked.
    pub fn ready(&self) -> usize {
        self.known.values().filter(|it| it.outcome == Outcome::Ok).count()
    }

    /// What an endpoint said last.
    pub fn last(&self, endpoint: SocketAddr) -> Option<&Sample> {
        self.known.get(&endpoint)
    }
}

/// The one that stands for all: the service is there as long as one endpoint is. An endpoint that could not be asked
/// ([`Outcome::Skipped`]) speaks only when none was.
pub fn speaker<A>(results: &[(A, Sample)]) -> Option<&Sample> {
    let well = results.iter().find(|it| it.1.outcome == Outcome::Ok);
    let asked = || results.iter().find(|it| it.1.outcome != Outcome::Skipped);
    well.or_else(asked).or_else(|| results.first()).map(|it| &it.1)
}

/// What is seen of a service whose name has no address.
pub fn unresolved(probe: &Probe) -> Sample {
    failed(probe, Outcome::Dns, Duration::ZERO)
}

async fn check(prober: &Prober, probe: &Probe, endpoint: SocketAddr, patience: Duration) -> Sample {
    let asked = tokio::time::timeout(patience, prober.check(endpoint)).await;
    asked.unwrap_or_else(|_| failed(probe, Outcome::Timeout, patience))
}

async fn check_all(
    prober: &Arc<Prober>,
    probe: &Probe,
    endpoints: &[SocketAddr],
    patience: Duration,
) -> Vec<(SocketAddr, Sample)> {
    let mut asking = JoinSet::new();
    for (place, endpoint) in endpoints.iter().copied().enumerate() {
        let (prober, probe) = (Arc::clone(prober), probe.clone());
        asking.spawn(
            async move { (place, endpoint, check(&prober, &probe, endpoint, patience).await) },
        );
    }
    let mut results = Vec::with_capacity(endpoints.len());
    while let Some(answer) = asking.join_next().await {
        results.extend(answer.ok());
    }
    results.sort_unstable_by_key(|it| it.0);
    results.into_iter().map(|(_, endpoint, sample)| (endpoint, sample)).collect()
}

fn failed(probe: &Probe, outcome: Outcome, took: Duration) -> Sample {
    let kind = match probe.kind {
        ProbeKind::Http(_) => "http",
        ProbeKind::Tcp => "tcp",
        ProbeKind::Grpc(_) => "grpc",
    };
    Sample {
        at_ms: UnixMs::now().0,
        source: Source::Probe,
        kind: kind.to_owned(),
        latency_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
        outcome,
        status: None,
        body: None,
        extra: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe {
            kind: ProbeKind::Tcp,
            interval: Duration::from_secs(10),
            unhealthy_interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn of_many_endpoints_all_come_in_turn() {
        let all: Vec<SocketAddr> = (1..51).map(address).collect();
        let mut rounds = Rounds::default();
        let mut asked: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for _ in 0..50 {
            let chosen = rounds.chosen(&all);
            assert_eq!(chosen.len(), AT_ONCE);
            chosen.into_iter().for_each(|it| *asked.entry(it).or_default() += 1);
        }
        assert!(asked.len() == 50 && asked.values().all(|it| *it == 16), "{asked:?}");
        assert!(rounds.chosen(&[]).is_empty());
        let firsts: Vec<_> = (0..4).map(|_| rounds.chosen(&all[..2])[0]).collect();
        assert_ne!(firsts[0], firsts[1]);
    }

    #[test]
    fn one_that_is_well_stands_for_all() {
        let said = |port, outcome| (address(port), failed(&probe(), outcome, Duration::ZERO));
        let well = said(2, Outcome::Ok);
        let results = [said(1, Outcome::Refused), well.clone(), said(3, Outcome::Timeout)];
        assert_eq!(speaker(&results), Some(&well.1));
        assert_eq!(speaker(&results[..1]).map(|it| it.outcome), Some(Outcome::Refused));
        let unasked = [said(1, Outcome::Skipped), said(2, Outcome::Refused)];
        assert_eq!(speaker(&unasked).map(|it| it.outcome), Some(Outcome::Refused));
        assert_eq!(speaker(&unasked[..1]).map(|it| it.outcome), Some(Outcome::Skipped));
        assert_eq!(speaker::<SocketAddr>(&[]), None);
    }
}
