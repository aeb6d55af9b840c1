//! Threads that call policies and formatters: few, with room for a guest's stack, behind a bounded queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::plugin::Fault;
use crate::plugin::limits::STACK_BYTES;

/// Threads of the process that call guests off the data path.
const THREADS: usize = 2;

/// Calls that may wait.
const QUEUE: usize = 64;

/// Wall-clock time that a caller waits for its turn and the call together. A call's own limits are CPU time; this one holds on a
/// machine that has none to give.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Stack of a thread that calls guests.
pub(crate) const THREAD_STACK: usize = STACK_BYTES * 4;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    queue: SyncSender<Job>,
}

impl Workers {
    /// Starts the threads. Where none can be had every call is [`Fault::Busy`], so that native code acts.
    pub fn start() -> Self {
        let (queue, jobs) = sync_channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..THREADS {
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new()
                .name(format!("plugin-{number}"))
                .stack_size(THREAD_STACK)
                .spawn(move || work(&jobs));
            if let Err(error) = thread {
                tracing::error!(%error, "no thread for plugins can be had");
            }
        }
        Self { queue }
    }

    /// Runs `call` on one of the threads and gives its answer; `after` runs there when the answer is out.
    ///
    /// # Errors
    /// [`Fault::Busy`] when the queue is full or the answer does not come in time; a trap when the gate's own code panics.
    pub async fn run<T, C, A>(&self, call: C, after: A) -> Result<T, Fault>
    where
        T: Send + 'static,
        C: FnOnce() -> T + Send + 'static,
        A: FnOnce() + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more: the work would be for nothing.
            if answer.is_closed() {
                return;
            }
            let result = unbroken(call);
            if answer.send(result).is_ok() && unbroken(after).is_err() {
                tracing::error!("the work after a plugin's call panicked");
            }
        });
        if self.queue.try_send(job).is_err() {
            return Err(Fault::Busy);
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Fault::Busy),
        }
    }
}

/// Runs code that calls a guest; a panic of ours is a fault of the call, not the end of the thread.
pub(crate) fn unbroken<T>(call: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Fault::Trap { message: format!("the gate itself panicked during the call: {text}") }
    })
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn answers_come_back_and_the_work_after_them_is_done() {
        let workers = Workers::start();
        let (done, was_done) = sync_channel(1);
        let answer = block(workers.run(|| 7, move || done.send(8).unwrap()));
        assert_eq!((answer, was_done.recv().unwrap()), (Ok(7), 8));
    }

    #[test]
    fn a_panic_is_a_fault_and_the_threads_live_on() {
        let workers = Workers::start();
        for _ in 0..THREADS * 3 {
            let answer: Result<(), Fault> = block(workers.run(|| panic!("ouch"), || {}));
            let Err(Fault::Trap { message }) = answer else { panic!("{answer:?}") };
            assert!(message.ends_with("ouch"));
        }
        assert_eq!(block(workers.run(|| 1, || panic!("later"))), Ok(1));
        assert_eq!(block(workers.run(|| 2, || {})), Ok(2));
    }

    #[test]
    fn a_full_queue_is_said_at_once_and_nobody_waits_for_ever() {
        let workers = Workers::start();
        let (free, blocked) = sync_channel::<()>(0);
        let blocked = Arc::new(Mutex::new(blocked));
        for _ in 0..THREADS + QUEUE {
            let blocked = Arc::clone(&blocked);
            let job: Job = Box::new(move || assert!(blocked.lock().unwrap().recv().is_err()));
            let mut job = Some(job);
            // The threads take the first jobs off the queue when they get to it.
            while let Some(it) = job.take() {
                if let Err(std::sync::mpsc::TrySendError::Full(it)) = workers.queue.try_send(it) {
                    job = Some(it);
                    thread::yield_now();
                }
            }
        }
        assert_eq!(block(workers.run(|| 1, || {})), Err(Fault::Busy));
        drop(free);
    }
}
