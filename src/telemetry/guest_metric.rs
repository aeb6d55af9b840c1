//! One metric that a plugin records by itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of a guest's histogram: what they measure is not known, so a wide scale.
pub(crate) const GUEST_BOUNDS: [f64; 10] =
    [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 100.0, 1_000.0, 10_000.0];

/// How the values of a guest's metric add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestKind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric of a guest at one place. Values that make no sense for its kind are left out.
#[derive(Debug)]
pub struct GuestMetric {
    kind: GuestKind,
    /// Bits of an `f64`: the sum, or the last value.
    value: AtomicU64,
    pub(crate) buckets: [AtomicU64; GUEST_BOUNDS.len() + 1],
}

impl GuestMetric {
    pub(crate) fn new(kind: GuestKind) -> Self {
        Self { kind, value: AtomicU64::new(0), buckets: Default::default() }
    }

    /// A value of the guest.
    pub fn record(&self, value: f64) {
        if !value.is_finite() || (self.kind == GuestKind::Counter && value < 0.0) {
            return;
        }
        match self.kind {
            GuestKind::Gauge => self.value.store(value.to_bits(), Relaxed),
            GuestKind::Counter => self.sum(value),
            GuestKind::Histogram => {
                self.sum(value);
                let bucket = GUEST_BOUNDS.partition_point(|bound| *bound < value);
                if let Some(it) = self.buckets.get(bucket) {
                    it.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn sum(&self, value: f64) {
        let more = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self.value.fetch_update(Relaxed, Relaxed, more);
    }

    pub(crate) fn read(&self) -> f64 {
        f64::from_bits(self.value.load(Relaxed))
    }
}
