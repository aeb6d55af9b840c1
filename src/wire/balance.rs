//! Endpoints of one service: least-pending choice, ejection of dead ones, shared by all cores.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::model::UnixMs;

/// Failures in a row after which an endpoint is taken out of the balance.
const FAILURES_MAX: u32 = 5;
/// First ejection; each further one in a row is longer, up to the maximum (as Envoy's outlier detection).
const EJECTION_MS: u64 = 30_000;
const EJECTION_MS_MAX: u64 = 300_000;
/// Addresses taken from one DNS answer.
const ADDRESSES_MAX: usize = 64;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One address that can be connected to.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process; key of the cores' pools.
    pub id: u64,
    pub addr: SocketAddr,
    /// Exchanges under way.
    pub pending: AtomicU32,
    /// Connect failures and dead exchanges in a row.
    pub failures: AtomicU32,
    /// Wall clock in ms until which it is out of the balance.
    pub ejected_until: AtomicU64,
    /// Ejections in a row.
    ejections: AtomicU32,
}

impl Endpoint {
    fn new(addr: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            addr,
            pending: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
        })
    }

    /// Whether it is out of the balance.
    pub fn is_ejected(&self, now: UnixMs) -> bool {
        now.0 < self.ejected_until.load(Ordering::Relaxed)
    }

    /// It answered: whatever it did before is forgotten.
    pub fn succeeded(&self) {
        // Only written when there is something to forget, so that the line stays shared between the cores.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// It refused, reset or said nothing; after [`FAILURES_MAX`] in a row it is ejected.
    pub fn failed(&self, now: UnixMs) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES_MAX && !self.is_ejected(now) {
            let times = u64::from(self.ejections.fetch_add(1, Ordering::Relaxed)) + 1;
            let until = now.0 + (EJECTION_MS * times).min(EJECTION_MS_MAX);
            self.ejected_until.store(until, Ordering::Relaxed);
        }
    }
}

/// Counts an exchange as pending on its endpoint while it lives.
#[derive(Debug)]
pub struct Pending(Arc<Endpoint>);

impl Pending {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.pending.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All endpoints of one service; the list changes when DNS does.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: ArcSwap<Vec<Arc<Endpoint>>>,
    names: Vec<(String, u16)>,
    /// What each name's last answer was.
    resolved: ArcSwap<Vec<Vec<SocketAddr>>>,
    fixed: Vec<SocketAddr>,
    followed: AtomicBool,
    /// Where the next choice begins to look.
    turn: AtomicUsize,
}

impl Endpoints {
    /// Endpoints of these hosts and ports: addresses at once, names when they have been looked up.
    pub fn new(authorities: Vec<(String, u16)>) -> Arc<Self> {
        let mut names = Vec::new();
        let mut fixed: Vec<Arc<Endpoint>> = Vec::new();
        for (host, port) in authorities {
            match host.parse::<IpAddr>() {
                Ok(ip) => fixed.push(Endpoint::new(SocketAddr::new(ip, port))),
                Err(_) => names.push((host, port)),
            }
        }
        let addresses = fixed.iter().map(|it| it.addr).collect();
        let list = ArcSwap::from_pointee(fixed);
        Arc::new(Self { list, names, fixed: addresses, ..Self::default() })
    }

    /// Names that must be looked up; empty when all upstreams are addresses.
    pub fn names(&self) -> &[(String, u16)] {
        &self.names
    }

    /// True for the first caller only: it looks the names up from now on.
    pub fn claim_lookup(&self) -> bool {
        !self.names.is_empty() && !self.followed.swap(true, Ordering::Relaxed)
    }

    /// The endpoints as they are now.
    pub fn list(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.list.load_full()
    }

    /// Takes the answers of a look-up, one for each name; a name without one keeps the addresses that it had. Endpoints
    /// that were there before keep their record.
    pub fn learn(&self, answers: Vec<Option<Vec<SocketAddr>>>) {
        let before = self.resolved.load();
        let stale = |at: usize| before.get(at).cloned().unwrap_or_default();
        let resolved: Vec<Vec<SocketAddr>> = answers
            .into_iter()
            .enumerate()
            .map(|(at, answer)| answer.unwrap_or_else(|| stale(at)))
            .collect();
        let mut found: Vec<SocketAddr> =
            self.fixed.iter().chain(resolved.iter().flatten()).copied().collect();
        self.resolved.store(Arc::new(resolved));
        found.sort_unstable();
        found.dedup();
        found.truncate(ADDRESSES_MAX);
        let old = self.list.load();
        let same =
            old.len() == found.len() && old.iter().zip(&found).all(|(old, new)| old.addr == *new);
        if same {
            return;
        }
        let keep = |addr: &SocketAddr| old.iter().find(|it| it.addr == *addr).cloned();
        let new =
            found.iter().map(|addr| keep(addr).unwrap_or_else(|| Endpoint::new(*addr))).collect();
        self.list.store(Arc::new(new));
    }

    /// The endpoint with the fewest pending exchanges that is neither ejected nor in `tried`, in turn among equals; when all are ejected, the one
    /// whose time is up first (an endpoint that may be dead is better than none). `None`: nothing known, or all tried.
    pub fn pick(&self, now: UnixMs, tried: &[u64]) -> Option<Pending> {
        let list = self.list.load();
        if let [only] = list.as_slice() {
            return (!tried.contains(&only.id)).then(|| Pending::new(only));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % list.len().max(1);
        let (later, sooner) = list.split_at(turn);
        let untried = || sooner.iter().chain(later).filter(|it| !tried.contains(&it.id));
        let chosen = untried()
            .filter(|it| !it.is_ejected(now))
            .min_by_key(|it| it.pending.load(Ordering::Relaxed))
            .or_else(|| untried().min_by_key(|it| it.ejected_until.load(Ordering::Relaxed)));
        chosen.map(Pending::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Arc<Endpoints> {
        Endpoints::new(vec![("127.0.0.1".to_owned(), 1), ("127.0.0.1".to_owned(), 2)])
    }

    #[test]
    fn the_endpoint_with_fewer_pending_exchanges_is_chosen() {
        let endpoints = two();
        let first = endpoints.pick(UnixMs(0), &[]).expect("an endpoint");
        let second = endpoints.pick(UnixMs(0), &[]).expect("an endpoint");
        assert_ne!(first.endpoint().addr, second.endpoint().addr);
        drop(second);
        let third = endpoints.pick(UnixMs(0), &[]).expect("an endpoint");
        assert_ne!(first.endpoint().addr, third.endpoint().addr);
    }

    #[test]
    fn a_dead_endpoint_is_ejected_for_longer_each_time_and_forgiven_when_it_answers() {
        let endpoints = two();
        let dead = Arc::clone(endpoints.list().first().expect("first"));
        for _ in 0..FAILURES_MAX {
            dead.failed(UnixMs(1000));
        }
        assert!(dead.is_ejected(UnixMs(30_999)));
        for _ in 0..10 {
            assert_ne!(
                endpoints.pick(UnixMs(2000), &[]).expect("another").endpoint().addr,
                dead.addr
            );
        }
        assert!(!dead.is_ejected(UnixMs(31_000)));
        dead.failed(UnixMs(31_000));
        assert!(dead.is_ejected(UnixMs(90_999)));
        dead.succeeded();
        assert!(!dead.is_ejected(UnixMs(31_001)));
    }

    #[test]
    fn when_all_are_ejected_one_is_still_tried_and_none_twice() {
        let endpoints = two();
        for endpoint in endpoints.list().iter() {
            for _ in 0..FAILURES_MAX {
                endpoint.failed(UnixMs(0));
            }
        }
        let first = endpoints.pick(UnixMs(1), &[]).expect("a last resort");
        let second = endpoints.pick(UnixMs(1), &[first.endpoint().id]).expect("the other");
        assert!(endpoints.pick(UnixMs(1), &[first.endpoint().id, second.endpoint().id]).is_none());
    }

    #[test]
    fn a_name_that_fails_keeps_its_own_old_addresses_and_no_others() {
        let named = |name: &str| (name.to_owned(), 80);
        let endpoints = Endpoints::new(vec![named("one"), named("10.0.0.9"), named("other")]);
        let at = |last| SocketAddr::from(([10, 0, 0, last], 80));
        endpoints.learn(vec![Some(vec![at(1)]), Some(vec![at(2)])]);
        for last in 3..200 {
            endpoints.learn(vec![None, Some(vec![at(last)])]);
            let mut wanted = vec![at(1), at(9), at(last)];
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(endpoints.list().iter().map(|it| it.addr).collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn addresses_that_stay_keep_their_record() {
        let endpoints = Endpoints::new(vec![("service".to_owned(), 80)]);
        let at = |last| SocketAddr::from(([10, 0, 0, last], 80));
        endpoints.learn(vec![Some(vec![at(2), at(1)])]);
        let id = endpoints.list().first().map(|it| it.id);
        endpoints.learn(vec![Some(vec![at(1), at(3), at(1)])]);
        assert_eq!(endpoints.list().first().map(|it| it.id), id);
        assert_eq!(endpoints.list().iter().map(|it| it.addr).collect::<Vec<_>>(), [at(1), at(3)]);
    }
}
