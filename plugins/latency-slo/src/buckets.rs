//! Counts of probes over time, and their saved form: what the plugin remembers between evaluations.

/// Counts in buckets of equal width, oldest first, each at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    width_ms: u64,
    /// The newest moment that was counted, and how many probes of exactly that moment.
    last_ms: u64,
    last_count: u16,
    buckets: Vec<Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    /// Moment divided by width.
    index: u64,
    total: u32,
    bad: u32,
}

/// First byte of the saved form.
const LAYOUT: u8 = 1;
/// The long window is cut into so many buckets.
pub(crate) const PER_WINDOW: u64 = 60;
/// Those of the long window, the one that is being filled, and one for a clock that is ahead.
const BUCKETS_MAX: usize = PER_WINDOW as usize + 2;

impl Buckets {
    /// Nothing counted yet.
    pub(crate) fn new(window_ms: u64) -> Self {
        let width_ms = window_ms.div_ceil(PER_WINDOW).max(1);
        Self { width_ms, last_ms: 0, last_count: 0, buckets: Vec::new() }
    }

    /// Reads what [`save`](Self::save) wrote; `None` when it is anything else. What was saved under another window is
    /// counted into buckets of this one.
    pub(crate) fn load(saved: &[u8], window_ms: u64) -> Option<Self> {
        let mut rest = saved;
        let (1, width_ms) = (take::<1>(&mut rest)?[0], number(take::<4>(&mut rest)?)) else {
            return None;
        };
        let last_ms = u64::from_le_bytes(take(&mut rest)?);
        let last_count = u16::from_le_bytes(take(&mut rest)?);
        let mut index = u64::from_le_bytes(take(&mut rest)?);
        let mut loaded = Self { last_ms, last_count, ..Self::new(window_ms) };
        if width_ms == 0 || rest.len() > BUCKETS_MAX * 10 {
            return None;
        }
        while !rest.is_empty() {
            index = index.checked_add(u64::from(u16::from_le_bytes(take(&mut rest)?)))?;
            let total = u32::from_le_bytes(take(&mut rest)?);
            let bad = u32::from_le_bytes(take(&mut rest)?);
            if bad > total {
                return None;
            }
            loaded.add(index.checked_mul(width_ms)?, total, bad);
        }
        Some(loaded)
    }

    /// Layout, width, newest moment and its count, first index, then for each bucket its distance from the one before,
    /// total and bad. Little-endian; 643 bytes at most.
    pub(crate) fn save(&self) -> Vec<u8> {
        let mut saved = Vec::with_capacity(23 + self.buckets.len() * 10);
        let mut before = self.buckets.first().map_or(0, |it| it.index);
        saved.push(LAYOUT);
        saved.extend(u32::try_from(self.width_ms).unwrap_or(u32::MAX).to_le_bytes());
        saved.extend(self.last_ms.to_le_bytes());
        saved.extend(self.last_count.to_le_bytes());
        saved.extend(before.to_le_bytes());
        for bucket in &self.buckets {
            let distance = u16::try_from(bucket.index - before).unwrap_or(u16::MAX);
            saved.extend(distance.to_le_bytes());
            saved.extend(bucket.total.to_le_bytes());
            saved.extend(bucket.bad.to_le_bytes());
            before = bucket.index;
        }
        saved
    }

    /// Counts those probes that have not been counted before: the window of one evaluation overlaps that of the last.
    /// Oldest first; each its moment and whether it was good, `None` for neither. That is asked of new ones only: looking
    /// into a body costs more than all the rest.
    pub(crate) fn count<G: FnOnce() -> Option<bool>>(
        &mut self,
        now_ms: u64,
        probes: impl Iterator<Item = (u64, G)>,
    ) {
        let counted_before = (self.last_ms, self.last_count);
        let mut same = 0;
        for (at_ms, good) in probes {
            if at_ms == counted_before.0 && same < counted_before.1 {
                same += 1;
                continue;
            }
            if at_ms < self.last_ms {
                continue;
            }
            self.last_count =
                if at_ms == self.last_ms { self.last_count.saturating_add(1) } else { 1 };
            self.last_ms = at_ms;
            if let Some(good) = good() {
                self.add(at_ms.min(now_ms), 1, u32::from(!good));
            }
        }
    }

    /// Forgets what is older than the window, and everything when it was written under a clock far ahead of this one.
    pub(crate) fn forget(&mut self, now_ms: u64) {
        let window_ms = self.width_ms * PER_WINDOW;
        if self.last_ms > now_ms.saturating_add(window_ms) {
            *self = Self::new(window_ms);
        }
        let oldest = now_ms.saturating_sub(window_ms) / self.width_ms;
        let newest = now_ms / self.width_ms;
        self.buckets.retain(|it| (oldest..=newest).contains(&it.index));
    }

    /// How many there were in the last so many milliseconds, and how many of them were bad.
    pub(crate) fn sum(&self, now_ms: u64, window_ms: u64) -> (u64, u64) {
        let since = now_ms.saturating_sub(window_ms) / self.width_ms;
        let within = self.buckets.iter().filter(|it| it.index >= since);
        within.fold((0, 0), |sum, it| (sum.0 + u64::from(it.total), sum.1 + u64::from(it.bad)))
    }

    fn add(&mut self, at_ms: u64, total: u32, bad: u32) {
        let index = at_ms / self.width_ms;
        let place = self.buckets.partition_point(|it| it.index < index);
        match self.buckets.get_mut(place) {
            Some(bucket) if bucket.index == index => {
                bucket.total = bucket.total.saturating_add(total);
                bucket.bad = bucket.bad.saturating_add(bad);
            }
            _ => self.buckets.insert(place, Bucket { index, total, bad }),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn number(bytes: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::Buckets;

    const HOUR_MS: u64 = 3_600_000;

    fn probes(
        probes: &[(u64, bool)],
    ) -> impl Iterator<Item = (u64, impl FnOnce() -> Option<bool>)> {
        probes.iter().map(|&(at_ms, good)| (at_ms, move || Some(good)))
    }

    #[test]
    fn overlapping_windows_count_each_probe_once() {
        let all: Vec<(u64, bool)> = (0..100).map(|it| (it / 2 * 1000, it % 3 == 0)).collect();
        let mut whole = Buckets::new(HOUR_MS);
        whole.count(60_000, probes(&all));
        assert_eq!(whole.sum(60_000, HOUR_MS).0, 100);
        let mut parts = Buckets::new(HOUR_MS);
        for end in 1..=all.len() {
            parts.count(60_000, probes(&all[end.saturating_sub(20)..end]));
            parts = Buckets::load(&parts.save(), HOUR_MS).expect("just saved");
        }
        assert_eq!(parts, whole);
    }

    #[test]
    fn what_is_saved_is_bounded_and_comes_back() {
        let mut buckets = Buckets::new(HOUR_MS);
        for at in (0..10 * HOUR_MS).step_by(10_000) {
            buckets.forget(at);
            buckets.count(at, probes(&[(at, at % 3 == 0)]));
        }
        let saved = buckets.save();
        assert!(saved.len() <= 643, "{} bytes", saved.len());
        assert_eq!(Buckets::load(&saved, HOUR_MS), Some(buckets.clone()));
        let (total, _) = buckets.sum(10 * HOUR_MS, HOUR_MS);
        assert!((350..=370).contains(&total), "{total}");
        let wider = Buckets::load(&saved, 2 * HOUR_MS).expect("another window");
        assert_eq!(wider.sum(10 * HOUR_MS, 2 * HOUR_MS).0, 366);
    }

    #[test]
    fn what_was_not_saved_by_this_is_not_loaded() {
        let mut buckets = Buckets::new(HOUR_MS);
        buckets.count(9_000_000, probes(&[(8_000_000, true), (9_000_000, false)]));
        let saved = buckets.save();
        for end in 0..saved.len() {
            let cut = Buckets::load(&saved[..end], HOUR_MS);
            assert!(cut.is_none() || end == 23 || end == 33, "{end} bytes");
        }
        for index in 0..saved.len() {
            let mut other = saved.clone();
            other[index] ^= 0xff;
            if let Some(mut loaded) = Buckets::load(&other, HOUR_MS) {
                loaded.forget(9_000_000);
                loaded.count(9_000_000, probes(&[(9_000_000, true)]));
                assert!(loaded.save().len() <= 643);
            }
        }
        assert_eq!(Buckets::load(&[2; 40], HOUR_MS), None);
        assert_eq!(Buckets::load(&[1; 5000], HOUR_MS), None);
    }

    #[test]
    fn a_clock_that_was_far_ahead_does_not_stop_the_counting() {
        let mut buckets = Buckets::new(HOUR_MS);
        buckets.count(90 * HOUR_MS, probes(&[(90 * HOUR_MS, true)]));
        buckets.forget(HOUR_MS);
        buckets.count(HOUR_MS, probes(&[(HOUR_MS - 1, true)]));
        assert_eq!(buckets.sum(HOUR_MS, HOUR_MS), (1, 0));
    }
}
