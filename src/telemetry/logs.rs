//! Sets up the log on standard error: text on a terminal, JSON otherwise, never blocking the caller.

use std::io::{IsTerminal, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::telemetry::escape;

/// Events that may wait for the writer; beyond they are dropped and counted.
const EVENTS_MAX: usize = 4096;

/// How long the end of the process waits for the last events.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// How log events look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log format is auto, text or json, not {0:?}")]
    Format(String),
    #[error("log filter {filter:?} is not a list like info,headgate=debug")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("the log's writer thread could not be started")]
    Thread(#[source] std::io::Error),
    #[error("logging is set up already")]
    Twice,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(text.to_owned())),
        }
    }
}

impl LogFormat {
    /// Whether this is JSON for an output that is a terminal or not.
    pub fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// Starts logging to standard error. `filter` is a level or a list of `target=level` (`info,hyper=warn`).
/// The guard writes out what waits when it is dropped: keep it until the end of `main`.
///
/// # Errors
/// On a filter that does not parse, or when logging was set up before.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<LogGuard, LogError> {
    let targets = Targets::from_str(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let (events, waiting) = sync_channel(EVENTS_MAX);
    let is_json = format.is_json(std::io::stderr().is_terminal());
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_all(&waiting, std::io::stderr()))
        .map_err(LogError::Thread)?;
    let writer = Writer { events: events.clone(), dropped: Arc::clone(dropped()) };
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    let registry = tracing_subscriber::registry().with(targets);
    let set = if is_json {
        registry.with(layer.json()).try_init()
    } else {
        registry.with(layer).try_init()
    };
    set.map_err(|_| LogError::Twice)?;
    Ok(LogGuard { events })
}

/// Log events lost because standard error did not take them.
pub fn events_dropped() -> u64 {
    dropped().load(Relaxed)
}

fn dropped() -> &'static Arc<AtomicU64> {
    static DROPPED: OnceLock<Arc<AtomicU64>> = OnceLock::new();
    DROPPED.get_or_init(Arc::default)
}

/// Writes out what waits when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    events: SyncSender<Event>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, all_written) = sync_channel(1);
        if self.events.try_send(Event::Flush(done)).is_ok() {
            let _ = all_written.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

#[derive(Debug)]
enum Event {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

fn write_all(events: &Receiver<Event>, mut sink: impl Write) {
    while let Ok(event) = events.recv() {
        match event {
            // A log that cannot be written has nowhere to say so.
            Event::Text(it) => drop(sink.write_all(&it)),
            Event::Flush(done) => {
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
    }
}

/// Hands each event to the writer thread, or counts it as lost.
#[derive(Clone, Debug)]
struct Writer {
    events: SyncSender<Event>,
    dropped: Arc<AtomicU64>,
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Writer {
    /// Gets one whole event: the formatter writes each with a single call.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.events.try_send(Event::Text(one_line(bytes))).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The event as one line in which nothing steers a terminal: error texts of upstreams end up here.
fn one_line(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut line = Vec::with_capacity(bytes.len() + 16);
    escape::push_visible_text(&mut line, text.strip_suffix('\n').unwrap_or(&text));
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(json: bool, act: impl FnOnce()) -> String {
        let (events, waiting) = sync_channel(16);
        let writer = Writer { events, dropped: Arc::default() };
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
        let targets = Targets::from_str("info,headgate=debug").unwrap();
        let registry = tracing_subscriber::registry().with(targets);
        if json {
            tracing::subscriber::with_default(registry.with(layer.json()), act);
        } else {
            tracing::subscriber::with_default(registry.with(layer), act);
        }
        let mut out = Vec::new();
        write_all(&waiting, &mut out);
        String::from_utf8(out).unwrap()
    }

    const HOSTILE: &str = "a\r\nERROR forged \u{1b}[31m \u{9b}2J \u{202e}x \u{7f}\u{0}";

    #[test]
    fn hostile_text_stays_on_its_line() {
        for json in [true, false] {
            let text = logged(json, || {
                tracing::warn!(error = HOSTILE, detail = %HOSTILE, "{HOSTILE}");
                tracing::info!("after");
            });
            let lines: Vec<&str> = text.split('\n').collect();
            assert_eq!(lines.len(), 3, "{text}");
            assert!(!lines.concat().chars().any(escape::is_hidden), "{text:?}");
        }
    }

    #[test]
    fn json_events_keep_their_words_and_fields() {
        let text = logged(true, || {
            tracing::info!(listener = "ops", address = %"127.0.0.1:1", note = HOSTILE, "listening");
        });
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["fields"]["message"], "listening");
        assert_eq!(event["fields"]["address"], "127.0.0.1:1");
        assert_eq!(event["fields"]["note"], HOSTILE);
        assert_eq!(event["level"], "INFO");
    }

    #[test]
    fn events_beyond_the_queue_are_counted_not_waited_for() {
        let (events, waiting) = sync_channel(2);
        let mut writer = Writer { events, dropped: Arc::default() };
        for _ in 0..5 {
            writer.write_all(b"x\n").unwrap();
        }
        assert_eq!(writer.dropped.load(Relaxed), 3);
        drop(waiting);
        writer.write_all(b"x\n").unwrap();
        assert_eq!(writer.dropped.load(Relaxed), 4);
    }

    #[test]
    fn formats_parse_and_choose() {
        assert!(LogFormat::Auto.is_json(false) && !LogFormat::Auto.is_json(true));
        assert!(!"text".parse::<LogFormat>().unwrap().is_json(false));
        assert!("json".parse::<LogFormat>().unwrap().is_json(true));
        assert!("Json".parse::<LogFormat>().is_err());
        assert!(matches!(
            init_logs(LogFormat::Auto, "headgate=loud"),
            Err(LogError::Filter { .. })
        ));
    }
}
