//! Clocks of the kernel that the standard library does not read.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that this thread has taken since it began, in user and kernel mode.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::thread_cpu_time;

    #[test]
    fn counts_work_of_this_thread_alone() {
        let before = thread_cpu_time();
        let other = std::thread::spawn(thread_cpu_time).join().expect("a thread");

        while thread_cpu_time() <= before {
            std::hint::spin_loop();
        }

        assert!(other < thread_cpu_time(), "a new thread begins at nothing: {other:?}");
    }
}
