//! Finds everything configured for a leading part of a path, in one walk over it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Configured paths by the hash of their case-folded text. A lookup costs one pass over the path and one table probe
/// per segment, however many paths there are, and stops at the length of the longest one.
#[derive(Debug, Default)]
pub(crate) struct PathIndex {
    texts: Vec<String>,
    by_hash: HashMap<u64, Vec<usize>, BuildHasherDefault<AsIs>>,
    longest: usize,
}

/// One configured text that matches a leading part of the path but for the case of letters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// As [`PathIndex::add`] gave it.
    pub(crate) id: usize,
    /// Whether the case is the same, too.
    pub(crate) same_case: bool,
    /// Whether it is the whole path.
    pub(crate) whole: bool,
    /// Whether it ends at the end of a segment (a text with a trailing slash does not).
    pub(crate) segments: bool,
}

impl PathIndex {
    /// Adds a text (once) and gives its number, counted from 0.
    pub(crate) fn add(&mut self, text: &str) -> usize {
        let hash = text.bytes().fold(BASIS, step);
        let ids = self.by_hash.entry(hash).or_default();
        if let Some(id) = ids.iter().find(|it| self.texts.get(**it).is_some_and(|it| it == text)) {
            return *id;
        }
        let id = self.texts.len();
        ids.push(id);
        self.texts.push(text.to_owned());
        self.longest = self.longest.max(text.len());
        id
    }

    /// Visits all hits, shortest first.
    pub(crate) fn visit(&self, path: &str, mut found: impl FnMut(Hit)) {
        if self.texts.is_empty() {
            return;
        }
        let mut hash = BASIS;
        for (at, byte) in path.bytes().enumerate() {
            if byte == b'/' {
                self.probe(hash, path, at, &mut found);
            }
            if at >= self.longest {
                return;
            }
            hash = step(hash, byte);
        }
        self.probe(hash, path, path.len(), &mut found);
    }

    fn probe(&self, hash: u64, path: &str, end: usize, found: &mut impl FnMut(Hit)) {
        let Some(ids) = self.by_hash.get(&hash) else { return };
        let Some(part) = path.get(..end) else { return };
        for id in ids {
            let Some(text) = self.texts.get(*id) else { continue };
            if text.eq_ignore_ascii_case(part) {
                found(Hit {
                    id: *id,
                    same_case: text == part,
                    whole: end == path.len(),
                    segments: !part.ends_with('/'),
                });
            }
        }
    }
}

/// FNV-1a, case-folded. An attacker cannot add entries, and a hit is compared as text, so a keyed hash buys nothing.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
}

/// Takes a hash as it is.
#[derive(Clone, Copy, Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| step(hash, *byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, proptest};

    use super::PathIndex;

    fn hits(texts: &[String], path: &str) -> Vec<(String, bool, bool)> {
        let mut index = PathIndex::default();
        for text in texts {
            index.add(text);
        }
        let mut found = Vec::new();
        index.visit(path, |it| found.push((index.texts[it.id].clone(), it.same_case, it.whole)));
        found.sort();
        found
    }

    /// Every leading part that ends before a slash or at the end, compared one by one.
    fn naive(texts: &[String], path: &str) -> Vec<(String, bool, bool)> {
        let ends = path.match_indices('/').map(|it| it.0).chain([path.len()]);
        let mut found: Vec<_> = ends
            .flat_map(|end| texts.iter().map(move |text| (text, &path[..end], end)))
            .filter(|(text, part, _)| text.eq_ignore_ascii_case(part))
            .map(|(text, part, end)| (text.clone(), text == part, end == path.len()))
            .collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn a_text_is_kept_once() {
        let mut index = PathIndex::default();
        assert_eq!(index.add("/a"), 0);
        assert_eq!(index.add("/A"), 1);
        assert_eq!(index.add("/a"), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_every_text(
            texts in prop::collection::vec("(/[abAB]{1,2}){0,3}/?", 0..12),
            path in "(/[abAB]{1,2}){0,5}/?",
        ) {
            assert_eq!(hits(&texts, &path), naive(&texts, &path), "{texts:?} {path}");
        }
    }
}
