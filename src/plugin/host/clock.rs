//! Ticks once a millisecond while guests run, so that a guest's CPU time can be looked at.
//!
//! A tick raises the engine's epoch; a guest that notices calls the host back, which compares the thread's CPU time with the
//! call's budget ([`Meter`]). A call pays for this with one load: it says that it runs by a flag which is nearly always set
//! already. The thread parks when the flag has stayed down for a while. A long call cannot be forgotten: the first tick after
//! its start makes it call back, and that raises the flag again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// Distance of two looks at a running guest.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a running guest until the thread parks.
const IDLE_TICKS: u32 = 250;

/// The ticking thread; ends with the engine.
#[derive(Debug)]
pub(super) struct Clock {
    flags: Arc<Flags>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Flags {
    /// A guest has run since the last tick.
    runs: AtomicBool,
    parked: AtomicBool,
    ended: AtomicBool,
}

impl Clock {
    /// Starts the thread, parked.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let flags = Arc::new(Flags::default());
        let (weak, of) = (engine.weak(), Arc::clone(&flags));
        let handle =
            Builder::new().name("plugin-clock".to_owned()).spawn(move || tick(&weak, &of))?;
        Ok(Self { flags, thread: handle.thread().clone() })
    }

    /// Says that a guest runs. To be called after the store's deadline was set: then at least one tick comes after both.
    #[inline]
    pub(super) fn runs(&self) {
        if !self.flags.runs.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// At most once a tick and core. With the order of `tick`, either we see it parked or it sees the flag.
    #[cold]
    fn wake(&self) {
        self.flags.runs.store(true, Ordering::SeqCst);
        if self.flags.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.flags.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn tick(engine: &EngineWeak, flags: &Flags) {
    let mut idle = IDLE_TICKS;
    while !flags.ended.load(Ordering::Relaxed) {
        if flags.runs.swap(false, Ordering::SeqCst) {
            idle = 0;
        } else if idle < IDLE_TICKS {
            idle += 1;
        } else {
            park(flags);
            continue;
        }
        std::thread::park_timeout(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}

/// Waits for a guest that runs, or the end.
fn park(flags: &Flags) {
    flags.parked.store(true, Ordering::SeqCst);
    while !flags.runs.load(Ordering::SeqCst) && !flags.ended.load(Ordering::SeqCst) {
        std::thread::park();
    }
    flags.parked.store(false, Ordering::SeqCst);
}

/// How much CPU time a call has had, judged at ticks.
///
/// The first tick of a call reads the clock and counts from there, since reading it at the start of each call would cost more
/// than most calls: what a call took before its first tick (less than a tick) is given to it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    budget: Duration,
    from: Option<Duration>,
}

impl Meter {
    /// For the next call.
    pub(super) fn begin(&mut self, budget: Duration) {
        self.budget = budget;
        self.from = None;
    }

    /// What a call may take.
    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    /// Looks at the clock.
    ///
    /// # Errors
    /// When the call has had its budget.
    pub(super) fn tick(&mut self, thread_cpu: Duration) -> Result<(), OutOfTime> {
        let from = *self.from.get_or_insert(thread_cpu);
        if thread_cpu.saturating_sub(from) < self.budget { Ok(()) } else { Err(OutOfTime) }
    }
}

/// Ends a call that has had its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("has had its CPU time")]
pub(super) struct OutOfTime;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wasmtime::{Config, Engine};

    use super::{Clock, Meter};

    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_call_is_cut_at_the_first_tick_after_its_budget() {
        let cases: &[(&[u64], Option<usize>)] = &[
            (&[100, 101, 101, 101, 101], None),
            (&[100, 101, 102], Some(2)),
            (&[7, 20], Some(1)),
            (&[500], None),
        ];
        for (ticks, cut) in cases {
            let mut meter = Meter::default();
            meter.begin(ms(2));

            let found = ticks.iter().position(|it| meter.tick(ms(*it)).is_err());

            assert_eq!(found, *cut, "{ticks:?}");
        }
    }

    #[test]
    fn the_next_call_begins_anew() {
        let mut meter = Meter::default();
        meter.begin(ms(2));
        assert!(meter.tick(ms(10)).is_ok() && meter.tick(ms(12)).is_err());

        meter.begin(ms(2));

        assert!(meter.tick(ms(1_000)).is_ok() && meter.tick(ms(1_001)).is_ok());
        assert!(meter.tick(ms(1_002)).is_err());
    }

    #[test]
    fn ticks_come_while_something_runs_and_again_after_parking() {
        let mut config = Config::new();
        config.epoch_interruption(true).concurrency_support(false);
        let engine = Engine::new(&config).expect("an engine");
        let clock = Clock::start(&engine).expect("a thread");

        for _ in 0..3 {
            while !clock.flags.parked.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
            }
            clock.runs();
            while clock.flags.runs.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn the_thread_ends_with_its_clock() {
        let mut config = Config::new();
        config.concurrency_support(false);
        let clock = Clock::start(&Engine::new(&config).expect("an engine")).expect("a thread");
        let flags = std::sync::Arc::downgrade(&clock.flags);

        drop(clock);

        while flags.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
