//! Instances made beforehand, off the data threads, and the thread that makes and drops them.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::plugin::Fault;
use crate::plugin::limits::STACK_BYTES;

/// Spares that are kept besides what cores have not taken yet.
const STANDING: usize = 2;
/// Cores that are provided for; more take theirs one after the other.
const CORES_MAX: usize = 32;
/// After an instance could not be made.
const PAUSE: Duration = Duration::from_secs(1);
/// Work that may wait for the thread.
const WORK_MAX: usize = 1024;

/// Instances of one filter that nobody uses yet. At first one for each core and two more; once the cores have theirs, two.
#[derive(Debug)]
pub struct Spares<I> {
    state: Mutex<State<I>>,
}

#[derive(Debug)]
struct State<I> {
    ready: Vec<I>,
    /// How many were taken.
    taken: usize,
    /// Whether somebody makes some, or is about to.
    making: bool,
    /// When to try again after a failure.
    not_before: Option<Instant>,
}

impl<I> Default for Spares<I> {
    fn default() -> Self {
        let state = State { ready: Vec::new(), taken: 0, making: false, not_before: None };
        Self { state: Mutex::new(state) }
    }
}

impl<I> State<I> {
    fn lacking(&self) -> usize {
        let untaken = cores().saturating_sub(self.taken);
        (untaken + STANDING).saturating_sub(self.ready.len())
    }
}

impl<I> Spares<I> {
    /// One of them. Waits for nothing but the same few instructions on another core.
    pub fn take(&self) -> Option<I> {
        let mut state = self.state();
        let taken = state.ready.pop();
        state.taken = state.taken.saturating_add(usize::from(taken.is_some()));
        taken
    }

    /// Whether the caller should see to it that [`Spares::fill`] is called: some are lacking and nobody is at it.
    pub fn claim(&self) -> bool {
        let mut state = self.state();
        let may = state.not_before.is_none_or(|it| it <= Instant::now());
        let claimed = may && !state.making && state.lacking() > 0;
        state.making |= claimed;
        claimed
    }

    /// Gives a claim back.
    pub fn release(&self) {
        self.state().making = false;
    }

    /// Makes what is lacking. Blocks as long as that takes.
    ///
    /// # Errors
    /// The first fault; nothing is made for a while after it.
    pub fn fill(&self, mut make: impl FnMut() -> Result<I, Fault>) -> Result<(), Fault> {
        while self.state().lacking() > 0 {
            let made = make();
            let mut state = self.state();
            match made {
                Ok(instance) => state.ready.push(instance),
                Err(fault) => {
                    state.not_before = Some(Instant::now() + PAUSE);
                    state.making = false;
                    return Err(fault);
                }
            }
        }
        let mut state = self.state();
        state.making = false;
        state.not_before = None;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    let machine = || std::thread::available_parallelism().map_or(1, usize::from);
    *CORES.get_or_init(|| machine().min(CORES_MAX))
}

type Work = Box<dyn FnOnce() + Send>;

/// Has something done on the thread that makes and drops instances; never waits. False: it is not done, because too much
/// waits already.
pub fn later(work: impl FnOnce() + Send + 'static) -> bool {
    static THREAD: OnceLock<Option<SyncSender<Work>>> = OnceLock::new();
    let Some(thread) = THREAD.get_or_init(start) else { return false };
    !matches!(
        thread.try_send(Box::new(work)),
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
    )
}

/// One thread for the process; it lives as long.
fn start() -> Option<SyncSender<Work>> {
    let (send, receive) = sync_channel(WORK_MAX);
    let builder = std::thread::Builder::new().name("plugin-spares".to_owned());
    // A guest's stack is a part of its thread's.
    match builder.stack_size(8 * STACK_BYTES).spawn(move || work_on(&receive)) {
        Ok(_) => Some(send),
        Err(error) => {
            tracing::error!(%error, "no thread for instances of filters: they go on with what they have");
            None
        }
    }
}

fn work_on(receive: &Receiver<Work>) {
    while let Ok(work) = receive.recv() {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if done.is_err() {
            tracing::error!("making an instance of a filter panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::{STANDING, Spares, cores, later};
    use crate::plugin::Fault;

    fn count(spares: &Spares<u32>) -> usize {
        spares.state().ready.len()
    }

    #[test]
    fn every_core_finds_one_and_then_two_stand_by() {
        let spares = Spares::default();
        assert_eq!(spares.take(), None);
        let mut next = 0;
        let mut make = || {
            next += 1;
            Ok(next)
        };
        spares.fill(&mut make).unwrap();
        assert_eq!(count(&spares), cores() + STANDING);
        for _ in 0..cores() {
            spares.take().unwrap();
            spares.fill(&mut make).unwrap();
        }
        assert_eq!(count(&spares), STANDING);
        for _ in 0..10 {
            spares.take().unwrap();
            spares.fill(&mut make).unwrap();
            assert_eq!(count(&spares), STANDING);
        }
    }

    #[test]
    fn one_claims_and_the_others_need_not() {
        let spares = Spares::default();
        assert!(spares.claim());
        assert!(!spares.claim());
        spares.release();
        assert!(spares.claim());
        spares.fill(|| Ok(1)).unwrap();
        assert!(!spares.claim(), "nothing is lacking");
        spares.take().unwrap();
        for _ in 0..=cores() {
            let _ = spares.take();
        }
        assert!(spares.claim());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_there_is_a_pause() {
        let spares: Spares<u32> = Spares::default();
        assert!(spares.claim());
        assert_eq!(spares.fill(|| Err(Fault::Busy)), Err(Fault::Busy));
        assert!(!spares.claim());
        tokio::time::advance(super::PAUSE).await;
        assert!(spares.claim());
        spares.fill(|| Ok(1)).unwrap();
    }

    #[test]
    fn work_is_done_elsewhere_and_a_panic_in_it_ends_nothing() {
        let (tell, told) = channel();
        let here = std::thread::current().id();
        assert!(later(|| panic!("on purpose")));
        assert!(later(move || tell.send(std::thread::current().id()).unwrap()));
        assert_ne!(told.recv_timeout(Duration::from_secs(10)).unwrap(), here);
    }

    #[test]
    fn many_threads_take_each_once() {
        let spares = Arc::new(Spares::default());
        let mut next = 0;
        spares
            .fill(|| {
                next += 1;
                Ok(next)
            })
            .unwrap();
        let takers: Vec<_> = (0..8)
            .map(|_| {
                let spares = Arc::clone(&spares);
                std::thread::spawn(move || std::iter::from_fn(|| spares.take()).collect::<Vec<_>>())
            })
            .collect();
        let mut all: Vec<u32> = takers.into_iter().flat_map(|it| it.join().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=next).collect::<Vec<_>>());
    }
}
