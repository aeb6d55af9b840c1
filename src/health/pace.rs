//! When a service is probed next: its interval, a little of its own, so that services spread out. Pure.

use std::time::Duration;

use crate::config::health::Probe;

/// The first probe after a start is not later than this.
const FIRST_MAX: Duration = Duration::from_secs(2);
/// What a policy may ask for at the shortest.
const ASKED_MIN: Duration = Duration::from_secs(1);
/// Jitter to either side, in thousandths of the interval.
const JITTER: u64 = 100;

/// From the start of a watch to the first probe.
pub fn first(service: &str, interval: Duration) -> Duration {
    share(interval.min(FIRST_MAX), seed(service, 0) % 1000)
}

/// From one probe to the next.
pub fn next(service: &str, tick: u64, interval: Duration) -> Duration {
    share(interval, 1000 - JITTER + seed(service, tick) % (2 * JITTER + 1))
}

/// The interval as it is now. A policy may look sooner, never later: nobody but the operator makes a watch blind.
pub fn interval(probe: &Probe, is_undecided: bool, asked_ms: Option<u32>) -> Duration {
    let own = match is_undecided {
        true => probe.unhealthy_interval.min(probe.interval),
        false => probe.interval,
    };
    match asked_ms {
        Some(ms) => Duration::from_millis(u64::from(ms)).max(ASKED_MIN).min(own),
        None => own,
    }
}

/// The same for the same service and number, on every replica (FNV-1a, then a finalizer that mixes all bits).
pub fn seed(service: &str, number: u64) -> u64 {
    let bytes = service.bytes().chain(number.to_le_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

fn share(of: Duration, thousandths: u64) -> Duration {
    let us = u64::try_from(of.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros((us / 1000).saturating_mul(thousandths))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::health::ProbeKind;

    const S10: Duration = Duration::from_secs(10);

    #[test]
    fn intervals_differ_by_a_tenth_and_services_spread_out() {
        let name = |number: u64| format!("service-{number}");
        let mut buckets = [0; 10];
        for number in 0..1000 {
            let at = first(&name(number), S10);
            assert!(at <= FIRST_MAX);
            buckets[(at.as_millis() / 200).min(9) as usize] += 1;
            let span = next(&name(number), number, S10);
            assert!((9_000..=11_000).contains(&span.as_millis()), "{span:?}");
            assert_eq!(span, next(&name(number), number, S10));
        }
        assert!(buckets.iter().all(|it| (50..200).contains(it)), "{buckets:?}");
        let mean = (0..1000).map(|it| next("api", it, S10).as_millis()).sum::<u128>() / 1000;
        assert!((9_900..10_100).contains(&mean), "{mean}");
        assert_eq!(first("api", Duration::ZERO), Duration::ZERO);
        let _ = next("api", u64::MAX, Duration::MAX);
    }

    #[test]
    fn a_policy_may_look_sooner_but_not_later() {
        let probe = Probe {
            kind: ProbeKind::Tcp,
            interval: S10,
            unhealthy_interval: Duration::from_secs(2),
            timeout: S10,
        };
        for (undecided, asked, seconds) in [
            (false, None, 10),
            (true, None, 2),
            (false, Some(4_000), 4),
            (false, Some(0), 1),
            (false, Some(90_000), 10),
            (true, Some(10_000), 2),
            (true, Some(1), 1),
        ] {
            let expected = Duration::from_secs(seconds);
            assert_eq!(interval(&probe, undecided, asked), expected, "{undecided} {asked:?}");
        }
        let quick = Probe { interval: Duration::from_millis(50), ..probe };
        assert_eq!(interval(&quick, true, Some(1)), Duration::from_millis(50));
    }
}
