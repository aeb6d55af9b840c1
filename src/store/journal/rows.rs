//! The journal's rows: what is written in one transaction, what is trimmed, and how they are read.

use std::collections::HashMap;
use std::ops::Bound;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, Table,
    TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::health::Saved;
use crate::store::file::{Trouble, trouble};
use crate::store::journal::buffer::Taken;
use crate::store::journal::{Latest, Observation, SavedState, Wanted};

/// How long observations are kept: the day that a replay wants, and a margin.
const KEPT_MS: u64 = 25 * 60 * 60 * 1_000;
/// Bytes of keys and values; the file is about an eighth larger.
const BYTES_MAX: u64 = 224 * 1024 * 1024;
/// Rows that are trimmed in one transaction beyond twice what it writes: a clock that jumps does not empty the journal at once.
const TRIM: usize = 64;
/// Rows that are looked at to find the newest of each service.
const LOOK_MAX: usize = 200_000;
/// Bytes of a row; one that is larger is dropped.
const ROW_BYTES_MAX: usize = 256 * 1024;
/// What a row takes besides its value: key, offset, share of the branches above.
const ROW_BYTES: u64 = 24;

type Key = (u64, u64);

/// Value: the service, a zero byte, the observation as JSON. So other services are passed over unread.
const OBSERVATIONS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("observations");
const LATEST: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("latest");
const SAVED: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("saved");
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("headgate-journal");

const FORMAT: &str = "format";
const FORMAT_NOW: u64 = 1;
const NUMBER: &str = "number";
const BYTES: &str = "bytes";
/// A digest of the boot that wrote last: another one, and the kernel may have lost what it held.
const BOOT: &str = "boot";

/// What the file says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Of the next observation.
    pub(super) number: u64,
    /// Of all observations.
    pub(super) bytes: u64,
    pub(super) boot: u64,
}

/// Reads what the file says of itself.
///
/// # Errors
/// A file of another format is broken, because nothing in it is worth keeping; one of another program is foreign.
pub(super) fn facts(db: &Database) -> Result<Facts, Trouble> {
    let look = db.begin_read().map_err(trouble)?;
    let table = match look.open_table(FACTS) {
        Ok(it) => it,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return Err(Trouble::Foreign("it is another program's".to_owned()));
        }
        Err(it) => return Err(trouble(it)),
    };
    let get = |name: &str| table.get(name).map_err(trouble).map(|it| it.map_or(0, |it| it.value()));
    if get(FORMAT)? != FORMAT_NOW {
        return Err(Trouble::Broken("it has another version's format".to_owned()));
    }
    Ok(Facts { number: get(NUMBER)?, bytes: get(BYTES)?, boot: get(BOOT)? })
}

/// Marks a new file as ours, with its tables.
pub(super) fn begin_new(db: &Database) -> Result<(), Trouble> {
    let change = write_to(db)?;
    put_facts(&change, Facts::default())?;
    change.open_table(OBSERVATIONS).map_err(trouble)?;
    change.open_table(LATEST).map_err(trouble)?;
    change.open_table(SAVED).map_err(trouble)?;
    change.commit().map_err(trouble)
}

/// Marks a file as this boot's.
pub(super) fn mark(db: &Database, facts: Facts) -> Result<(), Trouble> {
    let change = write_to(db)?;
    put_facts(&change, facts)?;
    change.commit().map_err(trouble)
}

fn write_to(db: &Database) -> Result<WriteTransaction, Trouble> {
    let mut change = db.begin_write().map_err(trouble)?;
    // Otherwise the whole file would be read at the next start after a kill.
    change.set_quick_repair(true);
    Ok(change)
}

fn put_facts(change: &WriteTransaction, facts: Facts) -> Result<(), Trouble> {
    let mut table = change.open_table(FACTS).map_err(trouble)?;
    for (name, value) in
        [(FORMAT, FORMAT_NOW), (NUMBER, facts.number), (BYTES, facts.bytes), (BOOT, facts.boot)]
    {
        table.insert(name, value).map_err(trouble)?;
    }
    Ok(())
}

/// Writes in one transaction and trims; the new facts, and how many observations were too large.
pub(super) fn write(
    db: &Database,
    mut facts: Facts,
    taken: &Taken,
    now_ms: u64,
) -> Result<(Facts, u64), Trouble> {
    let change = write_to(db)?;
    let mut too_large = 0;
    if !taken.observations.is_empty() {
        let mut rows = change.open_table(OBSERVATIONS).map_err(trouble)?;
        let mut value = Vec::with_capacity(1024);
        for observation in &taken.observations {
            encode(observation, &mut value);
            if value.len() > ROW_BYTES_MAX {
                too_large += 1;
                continue;
            }
            let key = (observation.at_ms, facts.number);
            rows.insert(key, value.as_slice()).map_err(trouble)?;
            facts.number = facts.number.wrapping_add(1);
            facts.bytes = facts.bytes.saturating_add(row_bytes(value.len()));
        }
        trim(&mut rows, &mut facts, taken.observations.len() * 2 + TRIM, now_ms)?;
    }
    if !taken.latest.is_empty() {
        let mut rows = change.open_table(LATEST).map_err(trouble)?;
        for (service, latest) in &taken.latest {
            rows.insert(service.as_str(), json(latest).as_slice()).map_err(trouble)?;
        }
    }
    put_saved(&change, &taken.saved)?;
    put_facts(&change, facts)?;
    change.commit().map_err(trouble)?;
    Ok((facts, too_large))
}

fn put_saved(
    change: &WriteTransaction,
    saved: &HashMap<(String, String), Option<Saved>>,
) -> Result<(), Trouble> {
    if saved.is_empty() {
        return Ok(());
    }
    let mut rows = change.open_table(SAVED).map_err(trouble)?;
    for ((service, digest), state) in saved {
        let key = (service.as_str(), digest.as_str());
        match state {
            Some(state) => rows.insert(key, json(state).as_slice()).map(drop),
            None => rows.remove(key).map(drop),
        }
        .map_err(trouble)?;
    }
    Ok(())
}

fn trim(
    rows: &mut Table<'_, Key, &'static [u8]>,
    facts: &mut Facts,
    most: usize,
    now_ms: u64,
) -> Result<(), Trouble> {
    let oldest = now_ms.saturating_sub(KEPT_MS);
    for _ in 0..most {
        let Some((key, bytes)) = rows
            .first()
            .map_err(trouble)?
            .map(|(key, value)| (key.value(), row_bytes(value.value().len())))
        else {
            facts.bytes = 0;
            return Ok(());
        };
        if key.0 >= oldest && facts.bytes <= BYTES_MAX {
            return Ok(());
        }
        rows.remove(key).map_err(trouble)?;
        facts.bytes = facts.bytes.saturating_sub(bytes);
    }
    Ok(())
}

fn row_bytes(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX).saturating_add(ROW_BYTES)
}

/// A value that cannot be written as JSON is a bug in its type; it reads as nothing.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn encode(observation: &Observation, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(observation.service.as_bytes());
    out.push(0);
    if serde_json::to_writer(&mut *out, observation).is_err() {
        out.clear();
    }
}

/// The service and the JSON of a row.
fn parts(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(0, value)?;
    Some((value.get(..at)?, value.get(at + 1..)?))
}

/// What cannot be read (another version's) is passed over.
fn decode<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

/// See [`Journal::read`](crate::store::journal::Journal::read).
pub(super) fn read(db: &Database, wanted: &Wanted) -> Result<Vec<(Key, Observation)>, Trouble> {
    let rows = db.begin_read().map_err(trouble)?.open_table(OBSERVATIONS).map_err(trouble)?;
    let first = (wanted.since_ms, 0);
    let from = match wanted.after {
        Some(after) if after >= first => Bound::Excluded(after),
        _ => Bound::Included(first),
    };
    let mut found = Vec::new();
    let range = rows.range::<Key>((from, Bound::Unbounded)).map_err(trouble)?;
    for row in range {
        if found.len() >= wanted.limit {
            break;
        }
        let (key, value) = row.map_err(trouble)?;
        let Some((service, json)) = parts(value.value()) else { continue };
        if wanted.service.as_ref().is_some_and(|it| it.as_bytes() != service) {
            continue;
        }
        found.extend(decode(json).map(|it| (key.value(), it)));
    }
    Ok(found)
}

/// See [`Journal::newest`](crate::store::journal::Journal::newest).
pub(super) fn newest(db: &Database, each: usize) -> Result<Vec<Observation>, Trouble> {
    let look = db.begin_read().map_err(trouble)?;
    let rows = look.open_table(OBSERVATIONS).map_err(trouble)?;
    // The services of late; when all of them are complete there is nothing more to look for.
    let services = look.open_table(LATEST).map_err(trouble)?.len().map_err(trouble)?;
    let services = usize::try_from(services).unwrap_or(usize::MAX);
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut complete = 0_usize;
    let mut found = Vec::new();
    for row in rows.iter().map_err(trouble)?.rev().take(LOOK_MAX) {
        let (_, value) = row.map_err(trouble)?;
        let Some((service, json)) = parts(value.value()) else { continue };
        let count = match seen.get_mut(service) {
            Some(count) => count,
            None => seen.entry(service.to_vec()).or_default(),
        };
        if *count >= each {
            continue;
        }
        *count += 1;
        found.extend(decode(json));
        complete += usize::from(*count == each);
        if services > 0 && complete >= services {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// See [`Journal::all_latest`](crate::store::journal::Journal::all_latest).
pub(super) fn all_latest(db: &Database) -> Result<Vec<(String, Latest)>, Trouble> {
    let rows = db.begin_read().map_err(trouble)?.open_table(LATEST).map_err(trouble)?;
    let mut found = Vec::new();
    for row in rows.iter().map_err(trouble)? {
        let (service, value) = row.map_err(trouble)?;
        found.extend(decode(value.value()).map(|it| (service.value().to_owned(), it)));
    }
    Ok(found)
}

/// See [`Journal::all_saved`](crate::store::journal::Journal::all_saved).
pub(super) fn all_saved(db: &Database) -> Result<Vec<SavedState>, Trouble> {
    let rows = db.begin_read().map_err(trouble)?.open_table(SAVED).map_err(trouble)?;
    let mut found = Vec::new();
    for row in rows.iter().map_err(trouble)? {
        let (key, value) = row.map_err(trouble)?;
        let (service, digest) = key.value();
        let (service, digest) = (service.to_owned(), digest.to_owned());
        found.extend(decode(value.value()).map(|it| (service, digest, Some(it))));
    }
    Ok(found)
}
