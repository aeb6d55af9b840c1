//! How much of a core a filter takes, and for how long it is suspended when that is too much.
//!
//! The wall clock is cheap and suspects; only CPU time convicts, because beside busy neighbours an innocent call may last
//! many times what it took.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use crate::linux::clock::thread_cpu_time;
use crate::model::UnixMs;

/// What is looked at as a whole.
pub const WINDOW: Duration = Duration::from_secs(1);
/// What one filter may take of a core in a window, beside what is [`FREE`].
pub const SHARE: Duration = Duration::from_millis(50);
/// Not counted, of each call. Otherwise it would be the clients who suspend a filter: one of 1 us takes 5 % of a core at
/// 50,000 requests a second, and with it gone a flood would pass where it fails open.
pub const FREE: Duration = Duration::from_micros(25);
/// The first suspension; each that follows soon lasts twice as long.
const SUSPENDED: Duration = Duration::from_secs(5);
const SUSPENDED_MAX: Duration = Duration::from_secs(320);
/// Good behaviour after which an old suspension is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What one filter has taken of one core.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    began: Instant,
    taken: Duration,
    measure: Measure,
}

/// What a call is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// No system call.
    Wall,
    /// Under suspicion.
    Cpu,
}

/// The beginning of a call.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    wall: Instant,
    cpu: Option<Duration>,
}

/// What a call took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub ended: Instant,
    pub wall: Duration,
    /// `None`: it was not measured.
    pub cpu: Option<Duration>,
}

impl Began {
    /// The call begins after this.
    pub fn now(measure: Measure) -> Self {
        let cpu = (measure == Measure::Cpu).then(thread_cpu_time);
        Self { wall: Instant::now(), cpu }
    }

    /// The call has ended before this.
    pub fn took(self) -> Took {
        let ended = Instant::now();
        let cpu = self.cpu.map(|before| thread_cpu_time().saturating_sub(before));
        Took { ended, wall: ended.duration_since(self.wall), cpu }
    }
}

impl Budget {
    pub fn new(now: Instant) -> Self {
        Self { began: now, taken: Duration::ZERO, measure: Measure::Wall }
    }

    /// How the next call is to be measured.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// Counts a call. True: the filter has taken more than [`SHARE`] of CPU time within a [`WINDOW`], beside what is
    /// [`FREE`], and is to be suspended; the count begins anew.
    pub fn charge(&mut self, took: &Took) -> bool {
        if took.ended.duration_since(self.began) > WINDOW {
            *self = Self::new(took.ended);
        }
        let took_of_core = match self.measure {
            Measure::Wall => took.wall,
            // A call that was under way when suspicion arose is not measured.
            Measure::Cpu => took.cpu.unwrap_or_default(),
        };
        self.taken += took_of_core.saturating_sub(FREE);
        if self.taken <= SHARE {
            return false;
        }
        let is_proven = self.measure == Measure::Cpu;
        *self = Self::new(took.ended);
        if !is_proven {
            self.measure = Measure::Cpu;
        }
        is_proven
    }
}

/// How long the next suspension lasts; shared by all cores.
#[derive(Debug, Default)]
pub struct BackOff {
    strikes: AtomicU32,
    /// When the last one ended or ends.
    until_ms: AtomicU64,
}

impl BackOff {
    /// One more suspension: when it ends.
    pub fn strike(&self, now: UnixMs) -> UnixMs {
        let last = self.until_ms.load(Relaxed);
        if now.0.saturating_sub(last) > ms(FORGOTTEN) {
            self.strikes.store(0, Relaxed);
        }
        // Cores that come at the same moment may count twice: a longer pause, no harm.
        let strikes = self.strikes.fetch_add(1, Relaxed).min(16);
        let span = ms(SUSPENDED).saturating_mul(1 << strikes).min(ms(SUSPENDED_MAX));
        let until = now.0.saturating_add(span);
        self.until_ms.fetch_max(until, Relaxed);
        UnixMs(until)
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{BackOff, Began, Budget, FREE, Measure, SHARE, Took, WINDOW};
    use crate::model::UnixMs;

    const MS: Duration = Duration::from_millis(1);

    /// Calls that begin at these milliseconds and take so much wall and CPU time; when the filter is suspended.
    fn suspended(calls: impl IntoIterator<Item = (u32, Duration, Duration)>) -> Vec<u32> {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let mut when = Vec::new();
        for (at, wall, cpu) in calls {
            let cpu = (budget.measure() == Measure::Cpu).then_some(cpu);
            if budget.charge(&Took { ended: start + MS * at + wall, wall, cpu }) {
                when.push(at);
            }
        }
        when
    }

    #[test]
    fn an_endless_filter_is_suspended_after_twice_its_share() {
        let every_ten = (0..100).map(|it| (it * 10, MS * 2, MS * 2));
        assert_eq!(suspended(every_ten).first(), Some(&510));
    }

    #[test]
    fn what_only_lasted_long_is_not_suspended() {
        let beside_busy_neighbours = (0..5000).map(|it| (it * 10, MS * 6, MS / 10));
        assert_eq!(suspended(beside_busy_neighbours), [0; 0]);
    }

    #[test]
    fn a_share_just_below_the_limit_may_go_on_for_ever() {
        let every_four = |cost| (0..5000).map(move |it| (it * 4, FREE + cost, FREE + cost));
        assert_eq!(suspended(every_four(MS / 6)), [0; 0]);
        assert!(!suspended(every_four(MS / 4)).is_empty());
    }

    #[test]
    fn no_number_of_requests_suspends_a_filter_that_is_quick() {
        let flood = (0..200_000).map(|it| (it / 20, MS / 50, MS / 50));
        assert_eq!(suspended(flood), [0; 0]);
        let slow = (0..20_000).map(|it| (it / 2, MS / 2, MS / 2));
        assert!(!suspended(slow).is_empty());
    }

    #[test]
    fn time_that_is_not_measured_is_not_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let long = Took { ended: start, wall: SHARE + MS, cpu: None };
        assert!(!budget.charge(&long));
        assert_eq!(budget.measure(), Measure::Cpu);
        assert!(!budget.charge(&long));
        let later = Took { ended: start + WINDOW + MS, ..long };
        assert!(!budget.charge(&Took { wall: MS, ..later }));
        assert_eq!(budget.measure(), Measure::Wall, "suspicion ends with its window");
    }

    #[test]
    fn cpu_time_is_this_threads() {
        let began = Began::now(Measure::Cpu);
        let mut sum = 0_u64;
        while began.wall.elapsed() < MS * 5 {
            sum = std::hint::black_box(sum + 1);
        }
        let took = began.took();
        assert!(took.cpu.is_some_and(|it| it > Duration::ZERO && it <= took.wall + MS));
        assert!(Began::now(Measure::Wall).took().cpu.is_none());
    }

    #[test]
    fn suspensions_grow_and_are_forgotten() {
        let back_off = BackOff::default();
        let spans: Vec<u64> = (0..9).map(|_| back_off.strike(UnixMs(0)).0 / 1000).collect();
        assert_eq!(spans, [5, 10, 20, 40, 80, 160, 320, 320, 320]);
        let soon = UnixMs(320_000 + 600_000);
        assert_eq!(back_off.strike(soon).0 - soon.0, 320_000);
        let late = UnixMs(soon.0 + 320_000 + 600_001);
        assert_eq!(back_off.strike(late).0 - late.0, 5000);
        assert!(back_off.strike(UnixMs(u64::MAX)).0 == u64::MAX);
    }
}
