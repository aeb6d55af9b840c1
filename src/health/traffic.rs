//! What real traffic says: connect errors, share of 5xx, latency; from the counters of the request path.

use crate::model::health::{Outcome, Sample, Source};
use crate::telemetry::metrics::{BOUNDS_NS, BUCKETS, Red, ServiceMetrics};

/// Errors from which on traffic goes badly: so many, and so many in a hundred requests.
const ERRORS_MIN: u64 = 5;
const ERRORS_PERCENT: u64 = 10;

/// The counters of one service as they were at the last tick.
#[derive(Debug, Default)]
pub struct Traffic {
    last: Option<Red>,
}

/// What has happened between two ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    requests: u64,
    /// 5xx, and those that ended without an answer.
    errors: u64,
    connect_errors: u64,
    buckets: [u64; BUCKETS],
}

impl Traffic {
    /// One sample on the requests that ended since the last call; `None`: there were none, or this is the first call.
    ///
    /// `outcome` is `Ok` until at least five requests and a tenth of all failed; then it is `Refused` where half of that may
    /// be connections that failed, else `BadStatus`. `latency_us` is the 95th percentile as far as the histogram knows it;
    /// `extra` holds `requests`, `errors`, `connect-errors`, `p50-us` and `p95-us`. The gate's own answers count too, so
    /// while it answers for the service this says nothing of it.
    pub fn sample(&mut self, metrics: &ServiceMetrics, now_ms: u64) -> Option<Sample> {
        let now = metrics.sum();
        let span = Span::between(&self.last.replace(now)?, &now);
        if span.requests == 0 {
            return None;
        }
        let (p50, p95) = (span.percentile_us(50), span.percentile_us(95));
        let extra = [
            ("requests", span.requests),
            ("errors", span.errors),
            ("connect-errors", span.connect_errors),
            ("p50-us", p50),
            ("p95-us", p95),
        ];
        Some(Sample {
            at_ms: now_ms,
            source: Source::Traffic,
            kind: "passive".to_owned(),
            latency_us: u32::try_from(p95).unwrap_or(u32::MAX),
            outcome: span.outcome(),
            status: None,
            body: None,
            extra: extra.map(|(name, count)| (name.to_owned(), count.to_string())).to_vec(),
        })
    }
}

impl Span {
    fn between(before: &Red, now: &Red) -> Self {
        let classes @ [_, _, _, _, server, none] = since(&before.classes, &now.classes);
        Self {
            requests: classes.iter().sum(),
            errors: server.saturating_add(none),
            connect_errors: now.connect_errors.saturating_sub(before.connect_errors),
            buckets: since(&before.buckets, &now.buckets),
        }
    }

    fn outcome(&self) -> Outcome {
        let share = self.errors.saturating_mul(100) / self.requests.max(1);
        if self.errors < ERRORS_MIN || share < ERRORS_PERCENT {
            Outcome::Ok
        } else if self.connect_errors.saturating_mul(2) >= self.errors {
            Outcome::Refused
        } else {
            Outcome::BadStatus
        }
    }

    /// In microseconds, as if the requests of a bucket lay evenly in it; beyond the last bound, that.
    fn percentile_us(&self, percent: u64) -> u64 {
        let total: u64 = self.buckets.iter().sum();
        let rank = total.saturating_mul(percent).div_ceil(100).max(1);
        let (mut below, mut lower_ns) = (0_u64, 0);
        for (count, upper_ns) in self.buckets.iter().zip(BOUNDS_NS) {
            if *count > 0 && below.saturating_add(*count) >= rank {
                let within = u128::from(upper_ns - lower_ns) * u128::from(rank - below);
                let within = u64::try_from(within / u128::from(*count)).unwrap_or(upper_ns);
                return lower_ns.saturating_add(within) / 1000;
            }
            below = below.saturating_add(*count);
            lower_ns = upper_ns;
        }
        lower_ns / 1000
    }
}

/// Counters only grow; what a torn look makes smaller counts as nothing.
fn since<const N: usize>(before: &[u64; N], now: &[u64; N]) -> [u64; N] {
    let mut grown = *now;
    grown.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(*before));
    grown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn extra(sample: &Sample) -> Vec<(&str, u64)> {
        sample.extra.iter().map(|(name, count)| (name.as_str(), count.parse().unwrap())).collect()
    }

    /// A sample after so many good requests, 5xx, unanswered ones and connect errors.
    fn after(good: u64, bad: u64, none: u64, connect_errors: u64) -> Option<Sample> {
        let (metrics, mut traffic) = (ServiceMetrics::new(2), Traffic::default());
        metrics.exchange(0, 500, ms(1));
        assert_eq!(traffic.sample(&metrics, 1), None);
        (0..good).for_each(|_| metrics.exchange(0, 200, ms(2)));
        (0..bad).for_each(|_| metrics.exchange(1, 503, ms(2)));
        (0..none).for_each(|_| metrics.exchange(1, 0, ms(2)));
        (0..connect_errors).for_each(|_| metrics.connect_failed(1));
        traffic.sample(&metrics, 2)
    }

    #[test]
    fn without_requests_nothing_is_said() {
        assert_eq!(after(0, 0, 0, 0), None);
        assert_eq!(after(0, 0, 0, 7), None);
    }

    #[test]
    fn a_share_of_errors_is_bad_and_a_few_are_not() {
        for (good, bad, none, connect, outcome) in [
            (1, 0, 0, 0, Outcome::Ok),
            (0, 4, 0, 0, Outcome::Ok),
            (0, 5, 0, 0, Outcome::BadStatus),
            (0, 2, 3, 0, Outcome::BadStatus),
            (45, 5, 0, 0, Outcome::BadStatus),
            (46, 5, 0, 0, Outcome::Ok),
            (0, 5, 0, 2, Outcome::BadStatus),
            (0, 5, 0, 3, Outcome::Refused),
            (0, 5, 0, 40, Outcome::Refused),
            // Other endpoints took the requests.
            (50, 0, 0, 50, Outcome::Ok),
        ] {
            let sample = after(good, bad, none, connect).unwrap();
            assert_eq!(sample.outcome, outcome, "{good} {bad} {none} {connect}");
            assert_eq!((sample.source, sample.kind.as_str()), (Source::Traffic, "passive"));
            let counts = [
                ("requests", good + bad + none),
                ("errors", bad + none),
                ("connect-errors", connect),
            ];
            assert_eq!(extra(&sample)[..3], counts);
        }
    }

    #[test]
    fn only_what_came_since_the_last_look_counts() {
        let (metrics, mut traffic) = (ServiceMetrics::new(1), Traffic::default());
        traffic.sample(&metrics, 1);
        (0..10).for_each(|_| metrics.exchange(0, 500, ms(900)));
        assert_eq!(traffic.sample(&metrics, 2).unwrap().outcome, Outcome::BadStatus);
        metrics.exchange(0, 200, ms(1));
        let sample = traffic.sample(&metrics, 3).unwrap();
        assert_eq!((sample.outcome, sample.at_ms), (Outcome::Ok, 3));
        assert_eq!(
            extra(&sample),
            [
                ("requests", 1),
                ("errors", 0),
                ("connect-errors", 0),
                ("p50-us", 1000),
                ("p95-us", 1000)
            ]
        );
        assert_eq!(traffic.sample(&metrics, 4), None);
    }

    #[test]
    fn percentiles_lie_in_the_bucket_of_their_request() {
        let (metrics, mut traffic) = (ServiceMetrics::new(1), Traffic::default());
        traffic.sample(&metrics, 1);
        (0..94).for_each(|_| metrics.exchange(0, 200, ms(4)));
        (0..6).for_each(|_| metrics.exchange(0, 200, ms(400)));
        let sample = traffic.sample(&metrics, 2).unwrap();
        let [.., (_, p50), (_, p95)] = extra(&sample)[..] else { panic!("{sample:?}") };
        assert!((2_500..=5_000).contains(&p50), "{p50}");
        assert!((250_000..=500_000).contains(&p95), "{p95}");
        assert_eq!(u64::from(sample.latency_us), p95);
        metrics.exchange(0, 200, Duration::from_secs(100_000));
        assert_eq!(traffic.sample(&metrics, 3).unwrap().latency_us, 300_000_000);
    }
}
