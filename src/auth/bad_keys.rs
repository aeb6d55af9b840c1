//! Counts bad keys per client address and says who must wait.
//!
//! Only refused requests ask: a valid key is never locked out, even from the address of somebody who guesses.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SHARDS: usize = 16;

/// Addresses remembered in one shard; 65,536 in all (about 6 MB when full).
const SHARD_ADDRESSES: usize = 4096;

/// A token bucket per client address, bounded in number: beyond 65,536 addresses the one first seen is forgotten.
#[derive(Debug)]
pub struct BadKeys {
    per_minute: AtomicU32,
    secret: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// An IPv4 address, or the /64 of an IPv6 address: one customer holds at least that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Address {
    V4([u8; 4]),
    V6([u8; 8]),
}

/// Per address the time (in us) at which its bucket is full again (GCRA: one number is the whole bucket).
#[derive(Debug, Default)]
struct Shard {
    full_at: HashMap<Address, u64>,
    /// Addresses in the order in which they were first seen.
    order: VecDeque<Address>,
}

impl BadKeys {
    /// Allows `per_minute` bad keys a minute, and as many at once; 0 is no limit.
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute: AtomicU32::new(per_minute),
            secret: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// A reload changed the limit; what has been counted stays.
    pub fn limit(&self, per_minute: u32) {
        self.per_minute.store(per_minute, Relaxed);
    }

    /// Counts a bad key from `client` at `now_ms` of a monotonic clock. `Some` when the client is over the limit: how long
    /// until it may try again (not counted then, or a stubborn client would never get out).
    pub fn failed(&self, client: IpAddr, now_ms: u64) -> Option<Duration> {
        let per_minute = u64::from(self.per_minute.load(Relaxed));
        let interval = 60_000_000_u64.checked_div(per_minute)?.max(1);
        let address = Address::of(client);
        let shard = usize::try_from(self.secret.hash_one(address)).unwrap_or(0) % SHARDS;
        let mut shard = self.shards.get(shard)?.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now_ms.saturating_mul(1000);
        let full_at = shard.bucket(address);
        let level = (*full_at).saturating_sub(now);
        // Integer division may leave the last token a few us short of a minute; hence the product, not 60 s.
        let room = interval * (per_minute - 1);
        if level > room {
            return Some(Duration::from_micros(level - room));
        }
        *full_at = now.saturating_add(level + interval);
        None
    }
}

impl Address {
    fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(it) => Self::V4(it.octets()),
            IpAddr::V6(it) => {
                let [a, b, c, d, e, f, g, h, ..] = it.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Shard {
    fn bucket(&mut self, address: Address) -> &mut u64 {
        if !self.full_at.contains_key(&address) {
            if self.order.len() >= SHARD_ADDRESSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.full_at.remove(&oldest);
            }
            self.order.push_back(address);
        }
        self.full_at.entry(address).or_insert(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_burst_then_one_token_per_interval() {
        let bad = BadKeys::new(10);
        for _ in 0..10 {
            assert_eq!(bad.failed(ip("192.0.2.1"), 1000), None);
        }
        assert_eq!(bad.failed(ip("192.0.2.1"), 1000), Some(Duration::from_secs(6)));
        assert_eq!(bad.failed(ip("192.0.2.1"), 4000), Some(Duration::from_secs(3)));
        assert_eq!(bad.failed(ip("192.0.2.1"), 7000), None);
        assert!(bad.failed(ip("192.0.2.1"), 7000).is_some());
        for _ in 0..10 {
            assert_eq!(bad.failed(ip("192.0.2.1"), 200_000), None, "a full minute refills it");
        }
        assert!(bad.failed(ip("192.0.2.1"), 200_000).is_some());
    }

    #[test]
    fn addresses_are_told_apart_as_customers_are() {
        let rows = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ];
        for (first, second, same) in rows {
            let bad = BadKeys::new(1);
            assert_eq!(bad.failed(ip(first), 5), None);
            assert_eq!(bad.failed(ip(second), 5).is_some(), same, "{first} {second}");
        }
    }

    #[test]
    fn zero_is_no_limit_and_a_reload_changes_the_limit() {
        let bad = BadKeys::new(0);
        assert!((0..1000).all(|_| bad.failed(ip("192.0.2.1"), 0).is_none()));
        bad.limit(1);
        assert_eq!(bad.failed(ip("192.0.2.1"), 0), None);
        assert!(bad.failed(ip("192.0.2.1"), 0).is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_newest_addresses_are_kept() {
        let bad = BadKeys::new(1);
        for number in 0..200_000_u32 {
            bad.failed(IpAddr::V4(number.into()), 1);
        }
        let held: usize = bad
            .shards
            .iter()
            .map(|it| {
                let shard = it.lock().unwrap();
                assert_eq!(shard.full_at.len(), shard.order.len());
                shard.order.len()
            })
            .sum();
        assert!(held <= SHARDS * SHARD_ADDRESSES);
        assert!(bad.failed(IpAddr::V4(199_999_u32.into()), 1).is_some());
        assert!(bad.failed(IpAddr::V4(0_u32.into()), 1).is_none(), "forgotten long ago");
    }

    proptest::proptest! {
        /// Whatever the rhythm, no window of a minute lets more than burst + one minute's worth through.
        #[test]
        fn no_minute_allows_more_than_twice_the_limit(
            limit in 1_u32..50,
            gaps in proptest::collection::vec(0_u64..3000, 1..400),
        ) {
            let bad = BadKeys::new(limit);
            let (mut now, mut allowed) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if bad.failed(ip("192.0.2.1"), now).is_none() {
                    allowed.push(now);
                }
            }
            for start in &allowed {
                let inside = allowed.iter().filter(|it| (*start..start + 60_000).contains(it)).count();
                proptest::prop_assert!(inside <= usize::try_from(limit).unwrap() * 2);
            }
        }
    }
}
