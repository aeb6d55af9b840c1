//! Counters of one core: written by that core with plain atomics, summed by the scrape.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::UnixMs;

/// Upper bounds of the duration buckets in nanoseconds; the last bucket has none.
pub(crate) const BOUNDS_NS: [u64; 18] = [
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
];

/// Buckets of a duration histogram.
pub(crate) const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Classes of status codes; the last is an exchange that ended without a response.
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// A counter that one thread writes and others read: a load and a store, no locked instruction.
#[derive(Debug, Default)]
struct Tally(AtomicU64);

impl Tally {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One core's counters of one service. Its own cache lines: a neighbour core's writes must not take them away.
#[derive(Debug, Default)]
#[repr(align(128))]
struct RedShard {
    classes: [Tally; CLASSES.len()],
    buckets: [Tally; BUCKETS],
    sum_ns: Tally,
    retries: Tally,
    connect_errors: Tally,
}

/// Rate, errors and duration of one service, one shard per core. Requests without a service count under `-`.
#[derive(Debug)]
pub struct ServiceMetrics {
    shards: Box<[RedShard]>,
}

impl Default for ServiceMetrics {
    fn default() -> Self {
        Self::new(1)
    }
}

/// A service's counters, summed over the cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Red {
    pub(crate) classes: [u64; CLASSES.len()],
    pub(crate) buckets: [u64; BUCKETS],
    pub(crate) sum_ns: u64,
    pub(crate) retries: u64,
    pub(crate) connect_errors: u64,
}

impl ServiceMetrics {
    pub(crate) fn new(cores: usize) -> Self {
        Self { shards: (0..cores.max(1)).map(|_| RedShard::default()).collect() }
    }

    /// One exchange ended with `status` after `took`; `core` writes only its own shard.
    /// A status below 100 says that no response was sent.
    pub fn exchange(&self, core: usize, status: u16, took: Duration) {
        let Some(shard) = self.shards.get(core).or(self.shards.last()) else {
            return;
        };
        let class = match status / 100 {
            it @ 1..=5 => usize::from(it) - 1,
            _ => CLASSES.len() - 1,
        };
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        shard.classes.get(class).into_iter().for_each(|it| it.add(1));
        shard.buckets.get(bucket).into_iter().for_each(|it| it.add(1));
        shard.sum_ns.add(ns);
    }

    /// An attempt was sent again.
    pub fn retried(&self, core: usize) {
        if let Some(shard) = self.shards.get(core).or(self.shards.last()) {
            shard.retries.add(1);
        }
    }

    /// A connection to an endpoint failed or was late.
    pub fn connect_failed(&self, core: usize) {
        if let Some(shard) = self.shards.get(core).or(self.shards.last()) {
            shard.connect_errors.add(1);
        }
    }

    pub(crate) fn sum(&self) -> Red {
        let mut sum = Red::default();
        for shard in &self.shards {
            sum.classes.iter_mut().zip(&shard.classes).for_each(|(to, it)| *to += it.read());
            sum.buckets.iter_mut().zip(&shard.buckets).for_each(|(to, it)| *to += it.read());
            sum.sum_ns = sum.sum_ns.wrapping_add(shard.sum_ns.read());
            sum.retries += shard.retries.read();
            sum.connect_errors += shard.connect_errors.read();
        }
        sum
    }
}

/// What one core counts; only that core writes it.
#[derive(Debug)]
#[repr(align(128))]
pub struct CoreMetrics {
    opened: AtomicU64,
    closed: AtomicU64,
    tunnels_opened: AtomicU64,
    tunnels_closed: AtomicU64,
    handed_over: AtomicU64,
    upstream_connects: AtomicU64,
    access_dropped: AtomicU64,
    refusals: Table,
    keys: Table,
}

impl Default for CoreMetrics {
    fn default() -> Self {
        Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            tunnels_opened: AtomicU64::new(0),
            tunnels_closed: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            upstream_connects: AtomicU64::new(0),
            access_dropped: AtomicU64::new(0),
            refusals: Table::of(256),
            keys: Table::of(4096),
        }
    }
}

/// A core's plain counters, or their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) tunnels_opened: u64,
    pub(crate) tunnels_closed: u64,
    pub(crate) handed_over: u64,
    pub(crate) upstream_connects: u64,
    pub(crate) access_dropped: u64,
}

impl CoreMetrics {
    /// A downstream connection was opened.
    pub fn connection_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// A downstream connection was closed.
    pub fn connection_closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    /// A tunnel was opened.
    pub fn tunnel_opened(&self) {
        self.tunnels_opened.fetch_add(1, Relaxed);
    }

    /// A tunnel was closed.
    pub fn tunnel_closed(&self) {
        self.tunnels_closed.fetch_add(1, Relaxed);
    }

    /// A connection was handed to another core.
    pub fn handed_over(&self) {
        self.handed_over.fetch_add(1, Relaxed);
    }

    /// An upstream connection was opened (not taken from the pool).
    pub fn upstream_connected(&self) {
        self.upstream_connects.fetch_add(1, Relaxed);
    }

    /// A refusal with this code left the gate.
    pub fn refused(&self, code: &'static str) {
        self.refusals.count(code, None);
    }

    /// A key was admitted (last-used time and count by key name).
    pub fn key_used(&self, name: &str) {
        self.key_used_at(name, UnixMs::now());
    }

    /// The same for a caller who knows the time.
    pub fn key_used_at(&self, name: &str, now: UnixMs) {
        self.keys.count(name, Some(now));
    }

    /// Access-log lines were dropped.
    pub fn access_lines_dropped(&self, lines: u64) {
        self.access_dropped.fetch_add(lines, Relaxed);
    }

    /// Access-log lines dropped so far.
    pub fn access_dropped(&self) -> u64 {
        self.access_dropped.load(Relaxed)
    }

    pub(crate) fn add_to(&self, sum: &mut Counts) {
        // Closed before opened: the difference must not be negative.
        sum.closed += self.closed.load(Relaxed);
        sum.tunnels_closed += self.tunnels_closed.load(Relaxed);
        sum.opened += self.opened.load(Relaxed);
        sum.tunnels_opened += self.tunnels_opened.load(Relaxed);
        sum.handed_over += self.handed_over.load(Relaxed);
        sum.upstream_connects += self.upstream_connects.load(Relaxed);
        sum.access_dropped += self.access_dropped.load(Relaxed);
    }

    pub(crate) fn refusals(&self) -> &Table {
        &self.refusals
    }

    pub(crate) fn keys(&self) -> &Table {
        &self.keys
    }
}

/// Places looked at for a name before it counts under [`OTHER`].
const PROBES: usize = 32;

/// Where names count for which the table has no place.
pub(crate) const OTHER: &str = "other";

/// Counts by name in a fixed number of places: no lock, and no allocation but at the first use of a name.
/// Names come from our code and from the config, never from a request.
#[derive(Debug)]
pub(crate) struct Table {
    /// A power of two; allocated at the first count.
    size: usize,
    slots: OnceLock<Box<[Slot]>>,
    other: Use,
}

#[derive(Debug, Default)]
struct Slot {
    name: OnceLock<Box<str>>,
    uses: Use,
}

#[derive(Debug, Default)]
struct Use {
    count: AtomicU64,
    last_ms: AtomicU64,
}

impl Table {
    const fn of(size: usize) -> Self {
        let other = Use { count: AtomicU64::new(0), last_ms: AtomicU64::new(0) };
        Self { size, slots: OnceLock::new(), other }
    }

    fn count(&self, name: &str, at: Option<UnixMs>) {
        let uses = self.find(name).unwrap_or(&self.other);
        uses.count.fetch_add(1, Relaxed);
        if let Some(at) = at {
            // A clock that was set back, or a second writer, costs one stale time.
            uses.last_ms.store(at.0, Relaxed);
        }
    }

    fn find(&self, name: &str) -> Option<&Use> {
        let slots = self.slots.get_or_init(|| (0..self.size).map(|_| Slot::default()).collect());
        let start = fnv1a(name) as usize;
        for step in 0..PROBES {
            let slot = slots.get(start.wrapping_add(step) & (self.size - 1))?;
            if **slot.name.get_or_init(|| name.into()) == *name {
                return Some(&slot.uses);
            }
        }
        None
    }

    /// Name, count and time of the last use of everything counted so far.
    pub(crate) fn each(&self, mut see: impl FnMut(&str, u64, UnixMs)) {
        let read = |it: &Use| (it.count.load(Relaxed), UnixMs(it.last_ms.load(Relaxed)));
        for slot in self.slots.get().into_iter().flatten() {
            if let Some(name) = slot.name.get() {
                let (count, last) = read(&slot.uses);
                see(name, count, last);
            }
        }
        let (count, last) = read(&self.other);
        if count > 0 {
            see(OTHER, count, last);
        }
    }
}

/// FNV-1a, 64 bits: short names that nobody hostile chooses.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_exchange_lands_in_its_class_and_in_the_first_bucket_that_holds_it() {
        let metrics = ServiceMetrics::new(2);
        for (core, status, ns) in [
            (0, 200, 0),
            (1, 204, 250_000),
            (0, 503, 250_001),
            (1, 101, 300_000_000_000),
            (0, 0, 300_000_000_001),
            (9, 600, u64::MAX),
        ] {
            metrics.exchange(core, status, Duration::from_nanos(ns));
        }
        metrics.retried(1);
        let sum = metrics.sum();
        assert_eq!(sum.classes, [1, 2, 0, 0, 1, 2]);
        assert_eq!(
            (sum.buckets[0], sum.buckets[1], sum.buckets[17], sum.buckets[18]),
            (2, 1, 1, 2)
        );
        assert_eq!(sum.buckets.iter().sum::<u64>(), 6);
        assert_eq!(sum.retries, 1);
    }

    #[test]
    fn no_sum_is_lost_when_every_core_writes_its_own_shard() {
        let metrics = ServiceMetrics::new(4);
        std::thread::scope(|scope| {
            for core in 0..4 {
                let metrics = &metrics;
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        metrics.exchange(core, 200, Duration::from_nanos(3));
                    }
                });
            }
        });
        let sum = metrics.sum();
        assert_eq!((sum.classes[1], sum.buckets[0], sum.sum_ns), (40_000, 40_000, 120_000));
    }

    #[test]
    fn shards_share_no_cache_line() {
        assert_eq!(align_of::<RedShard>(), 128);
        assert_eq!(align_of::<CoreMetrics>(), 128);
    }

    fn counted(table: &Table) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        table.each(|name, count, _| *found.entry(name.to_owned()).or_default() += count);
        found
    }

    #[test]
    fn a_thousand_keys_are_told_apart() {
        let metrics = CoreMetrics::default();
        for round in 0..3 {
            for key in 0..1000 {
                if key % 3 >= round {
                    metrics.key_used(&format!("key-{key}"));
                }
            }
        }
        let found = counted(metrics.keys());
        assert_eq!(found.len(), 1000);
        assert!(found.iter().all(|(name, count)| {
            name.trim_start_matches("key-").parse::<u64>().unwrap() % 3 + 1 == *count
        }));
    }

    #[test]
    fn a_full_table_counts_the_rest_together() {
        let table = Table::of(16);
        for name in 0..100 {
            table.count(&name.to_string(), Some(UnixMs(name)));
        }
        let found = counted(&table);
        assert_eq!(found.len(), 17);
        assert_eq!(found[OTHER], 84);
    }

    #[test]
    fn a_use_keeps_the_last_time() {
        let metrics = CoreMetrics::default();
        metrics.key_used_at("a", UnixMs(5));
        metrics.key_used_at("a", UnixMs(7));
        let mut last = None;
        metrics.keys().each(|_, _, at| last = Some(at));
        assert_eq!(last, Some(UnixMs(7)));
    }
}
