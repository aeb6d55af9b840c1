//! What a plugin says besides its answers: a bounded memory of lines, the gate's log, and its own metrics.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::model::UnixMs;
use crate::plugin::registry::Place;
use crate::plugin::registry::status::LogEntry;
use crate::plugin::{Digest, Level, Line};

/// Lines that are kept of one plugin.
const LINES: usize = 200;

/// Lines a second that reach memory and log; the rest is dropped and counted.
const LINES_PER_SECOND: u32 = 100;

/// The voice of one plugin, shared by all its uses.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    spoken: Mutex<Spoken>,
}

#[derive(Debug, Default)]
struct Spoken {
    lines: VecDeque<LogEntry>,
    /// The second that is counted, and the lines in it.
    second: u64,
    in_second: u32,
}

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) place: &'a Place,
    pub(crate) digest: Digest,
}

impl Voice {
    /// Takes lines; returns how many were dropped. Never waits: a voice that is being read loses them.
    pub(crate) fn speak(&self, who: Speaker<'_>, lines: &[Line], now: UnixMs) -> u64 {
        let Ok(mut spoken) = self.spoken.try_lock() else {
            return lines.len() as u64;
        };
        let mut dropped = 0;
        for line in lines {
            if spoken.admits(now) {
                spoken.keep(who, line, now);
                trace(who, line);
            } else {
                dropped += 1;
            }
        }
        dropped
    }

    /// What was said of late, oldest first.
    pub(crate) fn lines(&self) -> Vec<LogEntry> {
        let spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        spoken.lines.iter().cloned().collect()
    }
}

impl Spoken {
    fn admits(&mut self, now: UnixMs) -> bool {
        let second = now.0 / 1_000;
        if self.second != second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        self.in_second <= LINES_PER_SECOND
    }

    fn keep(&mut self, who: Speaker<'_>, line: &Line, now: UnixMs) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(LogEntry {
            at: now.rfc3339(),
            digest: who.digest,
            place: who.place.to_string(),
            level: line.level,
            text: line.text.clone(),
        });
    }
}

fn trace(who: Speaker<'_>, line: &Line) {
    let (plugin, place, digest) = (who.plugin, who.place.to_string(), who.digest.short());
    let text = line.text.as_str();
    match line.level {
        Level::Trace => tracing::trace!(plugin, place, digest, "{text}"),
        Level::Debug => tracing::debug!(plugin, place, digest, "{text}"),
        Level::Info => tracing::info!(plugin, place, digest, "{text}"),
        Level::Warn => tracing::warn!(plugin, place, digest, "{text}"),
        Level::Error => tracing::error!(plugin, place, digest, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_lines_are_kept_and_a_hundred_a_second_taken() {
        let voice = Voice::default();
        let who = Speaker { plugin: "p", place: &Place::Alerts, digest: Digest([0; 32]) };
        let said: Vec<Line> =
            (0..150).map(|it| Line { level: Level::Info, text: it.to_string() }).collect();
        assert_eq!(voice.speak(who, &said, UnixMs(5_000)), 50);
        assert_eq!(voice.speak(who, &said[..10], UnixMs(5_999)), 10);
        assert_eq!(voice.speak(who, &said, UnixMs(6_000)), 50);
        assert_eq!(voice.speak(who, &said[..1], UnixMs(7_000)), 0);
        let kept = voice.lines();
        assert_eq!(kept.len(), LINES);
        assert_eq!((kept[0].text.as_str(), kept[199].text.as_str()), ("1", "0"));
        assert_eq!(kept[0].place, "alerts");
    }

    #[test]
    fn a_voice_that_is_read_does_not_make_a_caller_wait() {
        let voice = Voice::default();
        let who = Speaker { plugin: "p", place: &Place::Alerts, digest: Digest([0; 32]) };
        let reading = voice.spoken.lock().unwrap();
        let line = Line { level: Level::Info, text: String::new() };
        assert_eq!(voice.speak(who, &[line], UnixMs(1)), 1);
        drop(reading);
    }
}
