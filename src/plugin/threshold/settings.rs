//! Reads the rule's settings and names everything that is wrong with them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::plugin::Issue;
use crate::plugin::threshold::{Expected, Threshold};

const KNOWN: [&str; 7] =
    ["statuses", "path", "expected", "maintenanceWord", "latencyMs", "timeouts", "staleMs"];
const RANGES_MAX: usize = 16;
const NAMES_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 256;

pub(super) fn read(settings: &Value) -> Result<Threshold, Vec<Issue>> {
    let Value::Object(members) = settings else {
        return Err(vec![Issue { path: String::new(), message: "expected an object".to_owned() }]);
    };
    let mut reader = Reader { members, issues: Vec::new() };
    let preset = Threshold::default();
    let rule = Threshold {
        statuses: reader.statuses().unwrap_or(preset.statuses),
        path: reader.path().unwrap_or(preset.path),
        expected: reader.expected().unwrap_or(preset.expected),
        maintenance_word: reader.maintenance_word().unwrap_or(preset.maintenance_word),
        latency_ms: reader.latency_ms().unwrap_or(preset.latency_ms),
        timeouts: reader.whole("timeouts", 1..=10).unwrap_or(preset.timeouts),
        stale_ms: reader.whole("staleMs", 1000..=86_400_000).unwrap_or(preset.stale_ms),
    };
    reader.unknown();
    if reader.issues.is_empty() { Ok(rule) } else { Err(reader.issues) }
}

struct Reader<'a> {
    members: &'a Map<String, Value>,
    issues: Vec<Issue>,
}

impl Reader<'_> {
    fn wrong<T>(&mut self, path: impl AsRef<str>, message: &str) -> Option<T> {
        self.issues
            .push(Issue { path: format!("/{}", path.as_ref()), message: message.to_owned() });
        None
    }

    fn statuses(&mut self) -> Option<Vec<(u16, u16)>> {
        let items = match self.members.get("statuses")? {
            Value::Array(items) if (1..=RANGES_MAX).contains(&items.len()) => items,
            _ => return self.wrong("statuses", "expected a list of 1 to 16 strings"),
        };
        let mut ranges = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match item.as_str().and_then(range) {
                Some(range) => ranges.push(range),
                None => {
                    let message = "expected \"200\" or \"200-299\", from 100 to 599";
                    self.wrong::<()>(format!("statuses/{at}"), message);
                }
            }
        }
        Some(ranges)
    }

    fn path(&mut self) -> Option<Option<String>> {
        match self.members.get("path")? {
            Value::Null => Some(None),
            Value::String(path) if is_path(path) => Some(Some(path.clone())),
            _ => self.wrong(
                "path",
                "expected $.name or $.name.name (8 names of [A-Za-z0-9_-]{1,64} at most), or null",
            ),
        }
    }

    fn expected(&mut self) -> Option<Expected> {
        let value = self.members.get("expected")?;
        match value {
            Value::String(text) if text.len() <= TEXT_BYTES_MAX => {
                return Some(Expected::Text(text.clone()));
            }
            Value::Bool(value) => return Some(Expected::Boolean(*value)),
            Value::Number(_) => {
                if let Some(number) = value.as_i64() {
                    return Some(Expected::Integer(number));
                }
            }
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => {}
        }
        self.wrong("expected", "expected a string of at most 256 bytes, an integer or a boolean")
    }

    fn maintenance_word(&mut self) -> Option<Option<String>> {
        match self.members.get("maintenanceWord")? {
            Value::Null => Some(None),
            Value::String(word) if (1..=TEXT_BYTES_MAX).contains(&word.len()) => {
                Some(Some(word.clone()))
            }
            _ => self.wrong("maintenanceWord", "expected a string of 1 to 256 bytes, or null"),
        }
    }

    fn latency_ms(&mut self) -> Option<Option<u32>> {
        match self.members.get("latencyMs")? {
            Value::Null => Some(None),
            _ => self.whole("latencyMs", 1..=600_000).map(Some),
        }
    }

    fn whole<T: TryFrom<u64>>(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<T> {
        let number = self.members.get(name)?.as_u64().filter(|it| range.contains(it));
        match number.and_then(|it| T::try_from(it).ok()) {
            Some(number) => Some(number),
            None => {
                let (least, most) = (range.start(), range.end());
                self.wrong(name, &format!("expected a whole number from {least} to {most}"))
            }
        }
    }

    fn unknown(&mut self) {
        for name in self.members.keys().filter(|it| !KNOWN.contains(&it.as_str())) {
            // RFC 6901.
            let path = name.replace('~', "~0").replace('/', "~1");
            self.wrong::<()>(path, &format!("is unknown; known are {}", KNOWN.join(", ")));
        }
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (status(from)?, status(to)?);
    (from <= to).then_some((from, to))
}

fn status(text: &str) -> Option<u16> {
    let plain = text.len() == 3 && text.bytes().all(|it| it.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|it| (100..=599).contains(it))
}

fn is_path(path: &str) -> bool {
    let Some(names) = path.strip_prefix("$.") else { return false };
    names.split('.').count() <= NAMES_MAX && names.split('.').all(is_name)
}

fn is_name(name: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}
