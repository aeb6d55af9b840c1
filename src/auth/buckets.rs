//! Finds a digest in constant time, whatever the number of keys.
//!
//! A digest belongs to exactly one bucket, by a hash whose secret is drawn anew for every table. A look-up compares the
//! digest with every slot of its bucket, empty ones included, and each slot costs the same whether it matches, differs
//! in the first bit or has expired. Buckets have one width, so neither the number of keys nor what they are shows in the
//! time. Which bucket was touched may show in a cache, and says nothing: without the secret nobody can tell which
//! digests it stands for, and a digest does not give back its key.
//!
//! Up to [`WIDTH`] keys there is one bucket: every look-up compares with all of them.

use std::hash::{BuildHasher as _, RandomState};

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::auth::KeyEntry;
use crate::model::UnixMs;

/// Slots of a bucket, unless one digest has more entries than that.
const WIDTH: usize = 16;

/// Index of "no entry".
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Slot {
    digest: [u64; 4],
    /// Valid from this ms on.
    from: u64,
    /// Valid before this ms; an empty slot has 0 and therefore never matches.
    end: u64,
    entry: u32,
}

const EMPTY: Slot = Slot { digest: [0; 4], from: u64::MAX, end: 0, entry: NONE };

/// The table; see the module.
#[derive(Default)]
pub(super) struct Buckets {
    secret: Secret,
    width: usize,
    /// Bucket after bucket; their number is a power of two.
    slots: Vec<Slot>,
}

impl Buckets {
    pub(super) fn build(entries: &[KeyEntry]) -> Self {
        let mut count =
            if entries.len() <= WIDTH { 1 } else { (entries.len() / 4).next_power_of_two() };
        let width = WIDTH.max(most_alike(entries));
        // A bucket that overflows is rare (at most 4 keys share 16 slots on average): draw another secret, with more room.
        loop {
            if let Some(buckets) = Self::place(entries, count, width) {
                return buckets;
            }
            count *= 2;
        }
    }

    fn place(entries: &[KeyEntry], count: usize, width: usize) -> Option<Self> {
        let mut table = Self { secret: Secret::new(), width, slots: vec![EMPTY; count * width] };
        for (index, entry) in entries.iter().enumerate() {
            let free = table.bucket_mut(&entry.digest).iter_mut().find(|it| it.entry == NONE)?;
            *free = Slot {
                digest: words(&entry.digest),
                from: entry.not_before.map_or(0, |it| it.0),
                end: entry.expires_at.map_or(u64::MAX, |it| it.0),
                entry: u32::try_from(index).ok()?,
            };
        }
        Some(table)
    }

    /// Index of the first entry with this digest that is valid now.
    pub(super) fn find(&self, digest: &[u8; 32], now: UnixMs) -> Option<usize> {
        let bucket = self.slots.get(self.range(digest)).unwrap_or_default();
        let asked = words(digest);
        let mut found = NONE;
        // From the last to the first: what is selected last wins, and that shall be the first in file order.
        for slot in bucket.iter().rev() {
            // Words, not bytes: subtle hides each byte from the optimiser, which costs ten times as much.
            let differs =
                slot.digest.iter().zip(&asked).fold(0, |differs, (a, b)| differs | (a ^ b));
            let same = differs.ct_eq(&0);
            // Compared as flags, without a branch; neither time is a secret.
            let valid = Choice::from(u8::from(slot.from <= now.0) & u8::from(now.0 < slot.end));
            found.conditional_assign(&slot.entry, same & valid);
        }
        if found == NONE { None } else { usize::try_from(found).ok() }
    }

    fn bucket_mut(&mut self, digest: &[u8; 32]) -> &mut [Slot] {
        let range = self.range(digest);
        self.slots.get_mut(range).unwrap_or_default()
    }

    fn range(&self, digest: &[u8; 32]) -> std::ops::Range<usize> {
        let count = u64::try_from(self.slots.len() / self.width.max(1)).unwrap_or(1).max(1);
        let bucket = usize::try_from(self.secret.hash(digest) & (count - 1)).unwrap_or(0);
        bucket * self.width..(bucket + 1) * self.width
    }
}

/// Odd random factors, one for each word of a digest: as good as a keyed hash here, since a digest is one already and
/// nobody sees what comes out.
#[derive(Default)]
struct Secret([u64; 4]);

impl Secret {
    fn new() -> Self {
        let random = RandomState::new();
        Self(std::array::from_fn(|at| random.hash_one(at) | 1))
    }

    fn hash(&self, digest: &[u8; 32]) -> u64 {
        let words = words(digest);
        let sum = self
            .0
            .iter()
            .zip(&words)
            .fold(0_u64, |sum, (factor, word)| sum.wrapping_add(factor.wrapping_mul(*word)));
        sum >> 32 // the low bits of a product depend on few bits
    }
}

/// Without the digests.
impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buckets").field("width", &self.width).finish_non_exhaustive()
    }
}

fn words(digest: &[u8; 32]) -> [u64; 4] {
    let (words, _) = digest.as_chunks::<8>();
    std::array::from_fn(|at| words.get(at).map_or(0, |it| u64::from_le_bytes(*it)))
}

/// How many entries the most frequent digest has.
fn most_alike(entries: &[KeyEntry]) -> usize {
    let mut digests: Vec<&[u8; 32]> = entries.iter().map(|it| &it.digest).collect();
    digests.sort_unstable();
    digests.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0)
}
