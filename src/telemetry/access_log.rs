//! One line per request through a bounded ring per core to one writer; drops are counted.
//!
//! A core formats at once into its batch and hands whole batches over; it never waits. The buffers come back to it.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::telemetry::line::{Form, Formatter};
use crate::telemetry::metrics::CoreMetrics;

/// A batch is handed over as soon as it is this long and the writer keeps up.
const BATCH_BYTES: usize = 32 * 1024;

/// While the writer does not keep up, a batch grows to this; then lines are dropped.
const BATCH_BYTES_MAX: usize = 8 * BATCH_BYTES;

/// Batches of one core that may be on their way; meanwhile the next one grows.
const UNDER_WAY_MAX: usize = 2;

/// Batches of all cores that may wait for the writer.
const BATCHES_MAX: usize = 512;

/// What one line says; borrowed, formatted at once into the core's batch. Nothing secret: no query, no key, no header values but ids.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub unix_ms: u64,
    pub client: IpAddr,
    pub method: &'a [u8],
    /// Canonical path without the query, or as sent if it was refused before.
    pub path: &'a [u8],
    pub authority: &'a [u8],
    pub status: u16,
    /// Service, or `-`.
    pub service: &'a str,
    /// Upstream address that answered.
    pub upstream: Option<std::net::SocketAddr>,
    /// Name of the admitted key.
    pub key: Option<&'a str>,
    /// Code of the refusal, if it was one.
    pub refusal: Option<&'a str>,
    /// Name of the filter that did more than let it pass, and what it did.
    pub filter: Option<(&'a str, &'a str)>,
    /// Why the filter gave no answer, if it gave none.
    pub filter_fault: Option<&'a str>,
    pub request_id: &'a [u8],
    pub took: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Where the lines go.
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
    /// Somewhere else.
    Writer(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stdout => "Stdout",
            Self::File(_) => "File",
            Self::Writer(_) => "Writer",
        })
    }
}

/// The writer thread; one for the process. Flushes and ends when all [`CoreLog`]s and itself are dropped.
#[derive(Debug)]
pub struct AccessLog {
    form: Form,
    batches: SyncSender<Batch>,
    ended: Receiver<()>,
}

impl AccessLog {
    /// Starts the writer on standard output.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(json: bool) -> std::io::Result<Self> {
        Self::start_on(Sink::Stdout, json)
    }

    /// Starts the writer on `sink`.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn start_on(sink: Sink, json: bool) -> std::io::Result<Self> {
        let sink: Box<dyn Write + Send> = match sink {
            Sink::Stdout => Box::new(std::io::stdout()),
            Sink::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            Sink::Writer(it) => it,
        };
        let (batches, waiting) = sync_channel(BATCHES_MAX);
        let (end, ended) = sync_channel(1);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_all(&waiting, sink);
            drop(end);
        })?;
        Ok(Self { form: if json { Form::Json } else { Form::Text }, batches, ended })
    }

    /// The ring of one core, of at most `lines` waiting lines.
    pub fn for_core(&self, lines: usize, metrics: Arc<CoreMetrics>) -> CoreLog {
        let (home, returned) = sync_channel(UNDER_WAY_MAX + 1);
        CoreLog {
            formatter: Formatter::new(self.form),
            batches: self.batches.clone(),
            home,
            returned,
            batch: Vec::new(),
            batch_lines: 0,
            waiting_lines: 0,
            lines_max: lines,
            under_way: 0,
            spare: Vec::new(),
            metrics,
        }
    }

    /// Waits until everything is written, at most `patience`; every [`CoreLog`] must be gone. Says whether it was.
    pub fn finish(self, patience: Duration) -> bool {
        drop(self.batches);
        self.ended.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    }
}

/// Lines on their way to the writer.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    lines: usize,
    home: SyncSender<Returned>,
}

/// A buffer on its way back.
#[derive(Debug)]
struct Returned {
    bytes: Vec<u8>,
    lines: usize,
    written: bool,
}

fn write_all(batches: &Receiver<Batch>, mut sink: Box<dyn Write + Send>) {
    while let Ok(Batch { mut bytes, lines, home }) = batches.recv() {
        let written = sink.write_all(&bytes).is_ok();
        bytes.clear();
        // The core may be gone; then nobody needs the buffer.
        let _ = home.try_send(Returned { bytes, lines, written });
    }
    let _ = sink.flush();
}

/// One core's end of the log; `!Sync`, used by that core alone.
#[derive(Debug)]
pub struct CoreLog {
    formatter: Formatter,
    batches: SyncSender<Batch>,
    home: SyncSender<Returned>,
    returned: Receiver<Returned>,
    batch: Vec<u8>,
    batch_lines: usize,
    /// Lines handed over that have not come back.
    waiting_lines: usize,
    lines_max: usize,
    /// Batches handed over that have not come back.
    under_way: usize,
    spare: Vec<Vec<u8>>,
    metrics: Arc<CoreMetrics>,
}

impl CoreLog {
    /// Formats the line into the current batch; never waits.
    pub fn push(&mut self, line: &Line<'_>) {
        if self.batch.len() >= BATCH_BYTES {
            self.flush();
        }
        if self.waiting_lines + self.batch_lines >= self.lines_max {
            self.take_back();
        }
        let is_full = self.batch.len() >= BATCH_BYTES_MAX
            || self.waiting_lines + self.batch_lines >= self.lines_max;
        if is_full {
            self.metrics.access_lines_dropped(1);
            return;
        }
        self.formatter.push(&mut self.batch, line);
        self.batch_lines += 1;
    }

    /// Hands the batch to the writer if there is one; called at every tick of the core's clock.
    pub fn flush(&mut self) {
        self.take_back();
        if self.batch_lines > 0 && self.under_way < UNDER_WAY_MAX {
            let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH_BYTES * 5 / 4));
            self.hand_over(next);
        }
    }

    fn hand_over(&mut self, next: Vec<u8>) {
        let bytes = std::mem::replace(&mut self.batch, next);
        let batch = Batch { bytes, lines: self.batch_lines, home: self.home.clone() };
        match self.batches.try_send(batch) {
            Ok(()) => {
                self.under_way += 1;
                self.waiting_lines += self.batch_lines;
                self.batch_lines = 0;
            }
            Err(TrySendError::Full(it) | TrySendError::Disconnected(it)) => {
                let unused = std::mem::replace(&mut self.batch, it.bytes);
                self.spare.push(unused);
            }
        }
    }

    fn take_back(&mut self) {
        while let Ok(Returned { mut bytes, lines, written }) = self.returned.try_recv() {
            self.under_way -= 1;
            self.waiting_lines -= lines;
            if !written {
                self.metrics.access_lines_dropped(lines as u64);
            }
            // What grew under a stalled writer is given back.
            bytes.shrink_to(BATCH_BYTES * 2);
            self.spare.push(bytes);
        }
    }
}

impl Drop for CoreLog {
    fn drop(&mut self) {
        if self.batch_lines > 0 {
            // The last batch needs no buffer after it.
            self.hand_over(Vec::new());
        }
        self.metrics.access_lines_dropped(self.batch_lines as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what is written; waits for a permit before each write if there is a gate.
    struct Kept {
        bytes: Arc<Mutex<Vec<u8>>>,
        gate: Option<Receiver<()>>,
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            self.bytes.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn log(gate: Option<Receiver<()>>) -> (AccessLog, Arc<Mutex<Vec<u8>>>) {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept { bytes: Arc::clone(&bytes), gate };
        (AccessLog::start_on(Sink::Writer(Box::new(kept)), true).unwrap(), bytes)
    }

    fn line(path: &str) -> Line<'_> {
        Line {
            unix_ms: 0,
            client: IpAddr::from([127, 0, 0, 1]),
            method: b"GET",
            path: path.as_bytes(),
            authority: b"a",
            status: 200,
            service: "-",
            upstream: None,
            key: None,
            refusal: None,
            filter: None,
            filter_fault: None,
            request_id: b"-",
            took: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    fn paths(bytes: &Mutex<Vec<u8>>) -> Vec<String> {
        let text = String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
        let path =
            |it: &str| serde_json::from_str::<serde_json::Value>(it).unwrap()["path"].clone();
        text.lines().map(|it| path(it).as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_line_is_written_in_order_before_the_log_ends() {
        let (log, bytes) = log(None);
        let metrics = Arc::new(CoreMetrics::default());
        let mut core = log.for_core(1_000_000, Arc::clone(&metrics));
        let sent: Vec<String> = (0..500).map(|it| format!("/{it}")).collect();
        for path in &sent {
            core.push(&line(path));
            core.flush();
        }
        drop(core);
        assert!(log.finish(Duration::from_secs(10)));
        let seen = paths(&bytes);
        assert_eq!(seen, sent);
        assert_eq!(metrics.access_dropped(), 0);
    }

    #[test]
    fn a_full_ring_drops_the_newest_and_counts_exactly() {
        let (open, gate) = sync_channel(0);
        let (log, bytes) = log(Some(gate));
        let metrics = Arc::new(CoreMetrics::default());
        let mut core = log.for_core(100, Arc::clone(&metrics));
        for it in 0..250 {
            core.push(&line(&format!("/{it}")));
            if it % 30 == 0 {
                core.flush();
            }
        }
        assert_eq!(metrics.access_dropped(), 150);
        drop(open);
        drop(core);
        assert!(log.finish(Duration::from_secs(10)));
        assert_eq!(paths(&bytes), (0..100).map(|it| format!("/{it}")).collect::<Vec<_>>());
        assert_eq!(metrics.access_dropped(), 150);
    }

    #[test]
    fn memory_is_bounded_whatever_the_lines_are() {
        let (open, gate) = sync_channel(0);
        let (log, bytes) = log(Some(gate));
        let metrics = Arc::new(CoreMetrics::default());
        let mut core = log.for_core(usize::MAX, Arc::clone(&metrics));
        let hostile = "\u{1}".repeat(8000);
        for _ in 0..1000 {
            core.push(&line(&hostile));
        }
        drop(open);
        drop(core);
        assert!(log.finish(Duration::from_secs(10)));
        let kept = bytes.lock().unwrap().len();
        let lines = paths(&bytes).len();
        // What is under way and what grows behind it; each may exceed its size by its last line.
        let line_bytes = kept / lines;
        let most = BATCH_BYTES_MAX + UNDER_WAY_MAX * BATCH_BYTES;
        assert!(kept <= most + (UNDER_WAY_MAX + 1) * line_bytes, "{kept}");
        assert!(kept > BATCH_BYTES_MAX, "{kept}");
        assert_eq!(lines as u64 + metrics.access_dropped(), 1000);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
                Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let log = AccessLog::start_on(Sink::Writer(Box::new(Broken)), true).unwrap();
        let metrics = Arc::new(CoreMetrics::default());
        let mut core = log.for_core(3, Arc::clone(&metrics));
        core.push(&line("/"));
        core.push(&line("/"));
        core.flush();
        let lost = core.returned.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(!lost.written);
        core.home.try_send(lost).unwrap();
        core.flush();
        assert_eq!(metrics.access_dropped(), 2);
    }
}
