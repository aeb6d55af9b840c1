//! Loops of the control side that must not end: one that breaks down is told of and begun again.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

/// Before a loop that broke down is begun again: what broke it may be there still.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a loop until it ends by itself, and ends it when this is dropped. A panic is a bug, and costs one turn of the loop
/// it is in: no other loop, and not the rest of this one's life.
pub(super) async fn kept<F>(what: &'static str, mut begin: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut running = JoinSet::new();
        running.spawn(begin());
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(what, %error, again_in = ?PAUSE, "a loop broke down; it is begun again");
            }
            _ => return,
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc;

    use super::kept;

    #[tokio::test(start_paused = true)]
    async fn what_breaks_down_is_begun_again_until_it_ends_by_itself() {
        let begun = Arc::new(AtomicU32::new(0));
        let begin = || {
            let number = begun.fetch_add(1, Ordering::Relaxed);
            async move { assert!(number >= 2, "a bug") }
        };
        kept("test", begin).await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_breaks_down_takes_no_other_with_it() {
        let (tell, mut told) = mpsc::channel(1);
        let broken = kept("broken", || async { panic!("a bug") });
        let well = kept("well", move || {
            let tell = tell.clone();
            async move { while tell.send(()).await.is_ok() {} }
        });
        let both = tokio::spawn(async move { tokio::join!(broken, well) });
        for _ in 0..10 {
            told.recv().await.expect("it goes on");
        }
        both.abort();
        // It ends with whoever keeps it.
        while told.recv().await.is_some() {}
    }
}
