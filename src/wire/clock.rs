//! One coarse clock per core, and the alarms that it rings.
//!
//! A time-out costs a store into a cell: alarms sit in a lazy wheel that visits each at most once per turn
//! and puts those whose time has moved on back, instead of a timer per request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::UnixMs;

/// Length of a tick; the resolution of every time-out of the data path.
pub const TICK: Duration = Duration::from_millis(100);
const TICK_MS: u64 = 100;
const SLOTS: u64 = 512;
const NEVER: u64 = u64::MAX;

/// The time `wait` after `from_ms`.
pub fn after(from_ms: u64, wait: Duration) -> u64 {
    from_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(NEVER))
}

/// The clock of one core; time stands still between ticks.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    now_ms: Cell<u64>,
    unix_ms: Cell<u64>,
    turned: Cell<u64>,
    slots: RefCell<Vec<Vec<Rc<Bell>>>>,
}

/// What the wheel knows of an alarm.
#[derive(Debug)]
struct Bell {
    due_ms: Cell<u64>,
    /// Tick of the slot that will visit it; other slots that still hold it ignore it.
    visit: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

/// The one alarm of a connection; set anew for every wait, silent when dropped.
#[derive(Debug)]
pub struct Alarm {
    bell: Rc<Bell>,
    clock: Rc<Clock>,
}

impl Clock {
    /// A clock that shows the present.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            now_ms: Cell::new(0),
            unix_ms: Cell::new(UnixMs::now().0),
            turned: Cell::new(0),
            slots: RefCell::new((0..SLOTS).map(|_| Vec::new()).collect()),
        })
    }

    /// Milliseconds since the core started, as of the last tick.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Wall clock as of the last tick.
    pub fn unix(&self) -> UnixMs {
        UnixMs(self.unix_ms.get())
    }

    /// An alarm that is not set.
    pub fn alarm(self: &Rc<Self>) -> Alarm {
        let bell =
            Bell { due_ms: Cell::new(NEVER), visit: Cell::new(NEVER), waker: RefCell::new(None) };
        Alarm { bell: Rc::new(bell), clock: Rc::clone(self) }
    }

    /// Moves time on and rings what is due; called every [`TICK`], and tells how late it was called.
    pub fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER);
        self.now_ms.set(now);
        self.unix_ms.set(UnixMs::now().0);
        let last = now / TICK_MS;
        let first = self.turned.get() + 1;
        // After a long pause (a stopped process) one whole turn visits everything.
        let turn = first.max(last.saturating_sub(SLOTS - 1))..=last;
        let visited: Vec<_> = turn.map(|tick| (tick, self.take_slot(tick))).collect();
        // First: what is put back must go into slots that are still to come.
        self.turned.set(last.max(self.turned.get()));
        for (tick, bells) in visited {
            bells.into_iter().for_each(|bell| self.visit(bell, tick, now));
        }
    }

    /// Wakes every task that waits with an alarm, for example to tell it that the process drains.
    pub fn ring_all(&self) {
        for bell in self.slots.borrow().iter().flatten() {
            if let Some(waker) = bell.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    fn take_slot(&self, tick: u64) -> Vec<Rc<Bell>> {
        let slot = usize::try_from(tick % SLOTS).unwrap_or(0);
        self.slots.borrow_mut().get_mut(slot).map(std::mem::take).unwrap_or_default()
    }

    fn visit(&self, bell: Rc<Bell>, tick: u64, now: u64) {
        if bell.visit.get() > tick || Rc::strong_count(&bell) == 1 {
            return;
        }
        bell.visit.set(NEVER);
        let due = bell.due_ms.get();
        if due <= now {
            if let Some(waker) = bell.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        } else if due != NEVER {
            self.place(bell, due);
        }
    }

    /// Puts a bell into the slot of its time, or into the farthest one.
    fn place(&self, bell: Rc<Bell>, due_ms: u64) {
        let turned = self.turned.get();
        let tick = due_ms.div_ceil(TICK_MS).clamp(turned + 1, turned + SLOTS - 1);
        if tick >= bell.visit.get() {
            return;
        }
        bell.visit.set(tick);
        let slot = usize::try_from(tick % SLOTS).unwrap_or(0);
        if let Some(slot) = self.slots.borrow_mut().get_mut(slot) {
            slot.push(bell);
        }
    }
}

impl Alarm {
    /// Rings at `due_ms` of the clock; `u64::MAX` is never.
    pub fn set_at(&self, due_ms: u64) {
        self.bell.due_ms.set(due_ms);
        if due_ms != NEVER {
            self.clock.place(Rc::clone(&self.bell), due_ms);
        }
    }

    /// Silences the alarm.
    pub fn clear(&self) {
        self.bell.due_ms.set(NEVER);
    }

    /// Ready at `due_ms`; until then this task is woken in time.
    pub fn poll_due(&self, cx: &Context<'_>, due_ms: u64) -> Poll<()> {
        if due_ms <= self.clock.now_ms() {
            return Poll::Ready(());
        }
        self.listen(cx);
        self.set_at(due_ms);
        Poll::Pending
    }

    /// The clock's time `wait` from now.
    pub fn at(&self, wait: Duration) -> u64 {
        after(self.clock.now_ms(), wait)
    }

    /// Whether its time has come.
    pub fn is_due(&self) -> bool {
        self.bell.due_ms.get() <= self.clock.now_ms()
    }

    /// Makes the alarm wake this task from now on. A connection is one task, so once is enough.
    pub fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.bell.waker.borrow_mut();
        if waker.as_ref().is_none_or(|it| !it.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// A handle by which somebody else on this core can wake the task.
    pub fn waker(&self) -> Option<Waker> {
        self.bell.waker.borrow().clone()
    }

    /// The clock that it belongs to.
    pub fn clock(&self) -> &Rc<Clock> {
        &self.clock
    }
}

impl Drop for Alarm {
    /// The wheel may hold the bell for another turn, and with its waker the memory of a task that has ended.
    fn drop(&mut self) {
        self.clear();
        self.bell.waker.take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    impl Alarm {
        fn set(&self, wait: Duration) {
            self.set_at(self.at(wait));
        }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn pass(clock: &Clock, ms: u64) {
        for _ in 0..ms / TICK_MS {
            tokio::time::advance(TICK).await;
            clock.tick();
        }
    }

    fn listening(clock: &Rc<Clock>) -> (Alarm, Arc<Count>) {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let alarm = clock.alarm();
        alarm.listen(&Context::from_waker(&waker));
        (alarm, count)
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_once_when_its_time_has_come() {
        let clock = Clock::new();
        let (alarm, rung) = listening(&clock);
        alarm.set(Duration::from_secs(2));
        pass(&clock, 1900).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 0);
        assert!(!alarm.is_due());
        pass(&clock, 200).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 1);
        assert!(alarm.is_due());
        pass(&clock, 120_000).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_beyond_one_turn_of_the_wheel_still_rings_in_time() {
        let clock = Clock::new();
        let (alarm, rung) = listening(&clock);
        alarm.set(Duration::from_secs(300));
        pass(&clock, 299_900).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 0);
        pass(&clock, 200).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_moved_earlier_or_later_rings_at_its_last_time() {
        let clock = Clock::new();
        let (alarm, rung) = listening(&clock);
        alarm.set(Duration::from_secs(120));
        pass(&clock, 1000).await;
        alarm.set(Duration::from_secs(2));
        pass(&clock, 1000).await;
        alarm.set(Duration::from_secs(10));
        pass(&clock, 9900).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 0);
        pass(&clock, 200).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 1);
        alarm.set(Duration::from_secs(1));
        alarm.clear();
        pass(&clock, 2000).await;
        assert_eq!(rung.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_alarm_lets_go_of_its_task_at_once() {
        let clock = Clock::new();
        let (alarm, rung) = listening(&clock);
        alarm.set(Duration::from_secs(120));
        drop(alarm);
        assert_eq!(Arc::strong_count(&rung), 1, "what a closed connection held is free");
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_in_time_after_a_pause_longer_than_a_turn() {
        for slot in [0, 100, 300, 480, 511] {
            let clock = Clock::new();
            pass(&clock, slot * TICK_MS).await;
            let (alarm, rung) = listening(&clock);
            alarm.set(Duration::from_secs(100));
            tokio::time::advance(Duration::from_secs(90)).await;
            clock.tick();
            pass(&clock, 9900).await;
            assert_eq!(rung.0.load(Ordering::Relaxed), 0, "from slot {slot}");
            pass(&clock, 200).await;
            assert_eq!(rung.0.load(Ordering::Relaxed), 1, "from slot {slot}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wheel_forgets_dropped_alarms() {
        let clock = Clock::new();
        for _ in 0..1000 {
            clock.alarm().set(Duration::from_secs(1));
        }
        pass(&clock, 60_000).await;
        assert_eq!(clock.slots.borrow().iter().map(Vec::len).sum::<usize>(), 0);
    }
}
