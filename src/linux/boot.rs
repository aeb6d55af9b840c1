//! Which boot of the machine this is.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A number that another boot does not have; zero when the kernel does not say.
pub fn id() -> u64 {
    let Ok(text) = fs::read("/proc/sys/kernel/random/boot_id") else { return 0 };
    let mut hash = DefaultHasher::new();
    text.hash(&mut hash);
    hash.finish().max(1)
}
