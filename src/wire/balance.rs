//! Endpoints of one service: least-pending choice, ejection of dead ones, shared by all cores.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::model::UnixMs;

/// Failures in a row after which an endpoint is taken out of the balance.
const FAILURES_MAX: u32 = 5;
/// First ejection; each further one in a row is longer, up to the maximum (as Envoy's outlier detection).
const EJECTION_MS: u64 = 30_000;
const EJECTION_MS_MAX: u64 = 300_000;
/// Bad probes in a row that take an endpoint out, good ones that bring it back (HAProxy's `fall 3 rise 2`).
const FALL: i32 = 3;
const RISE: i32 = 2;
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
    /// Out of the balance by its probes. The request path reads this and nothing else of them.
    out: AtomicBool,
    /// Whether its probes say that it is down, in the balance or not.
    down: AtomicBool,
    /// Good probes in a row, or bad ones as a negative number. One monitor writes it.
    streak: AtomicI32,
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
            out: AtomicBool::new(false),
            down: AtomicBool::new(false),
            streak: AtomicI32::new(0),
        })
    }

    /// A probe of it ended well or not: [`FALL`] bad ones in a row and it is down, [`RISE`] good ones and it is not.
    /// Takes effect with the next [`Endpoints::settle`].
    pub fn probed(&self, good: bool) {
        let before = self.streak.load(Ordering::Relaxed);
        let streak =
            if good { before.max(0).saturating_add(1) } else { before.min(0).saturating_sub(1) };
        self.streak.store(streak, Ordering::Relaxed);
        if streak >= RISE {
            self.down.store(false, Ordering::Relaxed);
        } else if streak <= -FALL {
            self.down.store(true, Ordering::Relaxed);
        }
    }

    /// Whether its probes have taken it out of the balance.
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Whether its probes say that it is down; it is still used where all others are down as well.
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
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

    /// Takes those that are down out of the balance, unless all are: then all are used.
    pub fn settle(&self) {
        let list = self.list.load();
        let any = list.iter().any(|it| !it.is_down());
        for endpoint in list.iter() {
            let out = any && endpoint.is_down();
            // Only written when it changes, so that the line stays shared between the cores.
            if endpoint.is_out() != out {
                endpoint.out.store(out, Ordering::Relaxed);
            }
        }
    }

    /// The endpoint with the fewest pending exchanges that is neither out nor ejected nor in `tried`, in turn among equals; when there is none, one
    /// that its probes like before one that they do not, whose time is up first (an endpoint that may be dead is better than none). `None`:
    /// nothing known, or all tried.
    pub fn pick(&self, now: UnixMs, tried: &[u64]) -> Option<Pending> {
        let list = self.list.load();
        if let [only] = list.as_slice() {
            return (!tried.contains(&only.id)).then(|| Pending::new(only));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % list.len().max(1);
        let (later, sooner) = list.split_at(turn);
        let untried = || sooner.iter().chain(later).filter(|it| !tried.contains(&it.id));
        let chosen = untried()
            .filter(|it| !it.is_out() && !it.is_ejected(now))
            .min_by_key(|it| it.pending.load(Ordering::Relaxed))
            .or_else(|| {
                untried().min_by_key(|it| (it.is_out(), it.ejected_until.load(Ordering::Relaxed)))
            });
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

    fn picked(endpoints: &Endpoints) -> Vec<u16> {
        let picks =
            (0..20).map(|_| endpoints.pick(UnixMs(0), &[]).expect("one").endpoint().addr.port());
        let mut ports: Vec<u16> = picks.collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn probed(endpoints: &Endpoints, good: &[bool]) {
        endpoints.list().iter().zip(good).for_each(|(it, good)| it.probed(*good));
        endpoints.settle();
    }

    #[test]
    fn three_bad_probes_take_an_endpoint_out_and_two_good_ones_bring_it_back() {
        let endpoints = two();
        for (good, ports) in [
            (false, &[1, 2][..]),
            (false, &[1, 2]),
            (true, &[1, 2]),
            (false, &[1, 2]),
            (false, &[1, 2]),
            (false, &[2]),
            (true, &[2]),
            (false, &[2]),
            (true, &[2]),
            (true, &[1, 2]),
        ] {
            probed(&endpoints, &[good, true]);
            assert_eq!(picked(&endpoints), ports);
        }
    }

    #[test]
    fn when_all_are_down_all_are_used() {
        let endpoints = two();
        for _ in 0..3 {
            probed(&endpoints, &[false, true]);
        }
        assert_eq!(picked(&endpoints), [2]);
        for _ in 0..3 {
            probed(&endpoints, &[false, false]);
        }
        assert_eq!(picked(&endpoints), [1, 2]);
        assert!(endpoints.list().iter().all(|it| it.is_down() && !it.is_out()));
        probed(&endpoints, &[true, false]);
        probed(&endpoints, &[true, false]);
        assert_eq!(picked(&endpoints), [1]);
    }

    #[test]
    fn an_ejected_endpoint_is_better_than_one_that_is_out_and_that_better_than_none() {
        let endpoints = two();
        for _ in 0..3 {
            probed(&endpoints, &[false, true]);
        }
        let list = endpoints.list();
        (0..FAILURES_MAX).for_each(|_| list[1].failed(UnixMs(0)));
        assert_eq!(picked(&endpoints), [2]);
        let last = endpoints.pick(UnixMs(0), &[list[1].id]).expect("the other");
        assert_eq!(last.endpoint().addr.port(), 1);
    }

    #[test]
    fn what_is_out_comes_back_when_the_last_other_one_leaves() {
        let endpoints = Endpoints::new(vec![("service".to_owned(), 80)]);
        let at = |last| SocketAddr::from(([10, 0, 0, last], 80));
        endpoints.learn(vec![Some(vec![at(1), at(2), at(3)])]);
        for _ in 0..3 {
            probed(&endpoints, &[false, false, true]);
        }
        endpoints.learn(vec![Some(vec![at(1), at(2)])]);
        let tries: Vec<_> = (0..4)
            .filter_map(|_| endpoints.pick(UnixMs(0), &[]))
            .map(|it| it.endpoint().addr)
            .collect();
        assert_eq!(tries.len(), 4, "none is in, and still there is one");
        endpoints.settle();
        assert!(endpoints.list().iter().all(|it| !it.is_out()));
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
