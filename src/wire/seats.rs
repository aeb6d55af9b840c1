//! Places of a small server's connections: who asks nothing makes room for who comes.
//!
//! Without it, as many silent connections as there are places would keep probes out until their heads time out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How long a connection may ask nothing when others wait: a head is on its way for that long at least.
const QUIET: Duration = Duration::from_millis(250);

/// The places, and who has them.
#[derive(Debug)]
pub(super) struct Seats {
    places: Arc<Semaphore>,
    guests: Vec<Arc<Guest>>,
}

/// A place that is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) guest: Arc<Guest>,
    _place: OwnedSemaphorePermit,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Guest {
    /// Since when it asks nothing; `None` while it is being answered.
    quiet_since: Mutex<Option<Instant>>,
    /// Who makes the streamed answer that it was given last.
    stream: Mutex<Option<WeakSender<Bytes>>>,
    /// Told to make room.
    leave: Notify,
}

/// One request that is being answered.
#[derive(Debug)]
pub(super) struct Asking(Arc<Guest>);

impl Guest {
    /// From now until the answer is dropped nobody takes this place.
    pub(super) fn asks(guest: &Arc<Self>) -> Asking {
        guest.set(None);
        Asking(Arc::clone(guest))
    }

    /// Ends when this one is to make room, and is not being answered just then.
    pub(super) async fn told_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.quiet_since().is_some() {
                return;
            }
        }
    }

    fn set(&self, since: Option<Instant>) {
        *self.quiet_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// It is given an answer that goes on for as long as there is its sender.
    pub(super) fn streams(&self, sender: WeakSender<Bytes>) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    }

    /// Whether such an answer is under way. Not once its sender has given up a client who does not read.
    pub(super) fn is_streaming(&self) -> bool {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_ref().is_some_and(|it| it.strong_count() > 0)
    }

    fn quiet_since(&self) -> Option<Instant> {
        if self.is_streaming() {
            return None;
        }
        *self.quiet_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.set(Some(Instant::now()));
    }
}

impl Seats {
    pub(super) fn new(count: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(count)), guests: Vec::new() }
    }

    /// The next free place.
    pub(super) async fn take(&mut self) -> Seat {
        let place = loop {
            // Whoever has gone left only our own handle.
            self.guests.retain(|it| Arc::strong_count(it) > 1);
            let pause = match self.quietest() {
                _ if self.places.available_permits() > 0 => QUIET,
                Some((at, since)) if since.elapsed() >= QUIET => {
                    self.guests.swap_remove(at).leave.notify_one();
                    QUIET
                }
                Some((_, since)) => QUIET.saturating_sub(since.elapsed()),
                None => QUIET,
            };
            if let Ok(Ok(place)) = timeout(pause, Arc::clone(&self.places).acquire_owned()).await {
                break place;
            }
        };
        let quiet_since = Mutex::new(Some(Instant::now()));
        let guest = Arc::new(Guest { quiet_since, stream: Mutex::default(), leave: Notify::new() });
        self.guests.push(Arc::clone(&guest));
        Seat { guest, _place: place }
    }

    fn quietest(&self) -> Option<(usize, Instant)> {
        let quiet = self.guests.iter().enumerate();
        quiet.filter_map(|(at, it)| Some((at, it.quiet_since()?))).min_by_key(|it| it.1)
    }
}
