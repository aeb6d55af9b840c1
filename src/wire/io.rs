//! The buffers of one core: a scratch lent to synchronous steps, and recycled output buffers.

use std::cell::RefCell;

/// Bytes that one read can take; large enough that a 64 KiB body is one or two reads.
const SCRATCH_BYTES: usize = 128 * 1024;
/// Output buffers kept for the next exchange, and the size above which one is given back to the allocator.
const BUFFERS_MAX: usize = 256;
const BUFFER_KEPT_BYTES_MAX: usize = 64 * 1024;

/// Buffers of one core. No buffer belongs to a connection while it waits.
#[derive(Debug)]
pub struct Buffers {
    /// Borrowed inside one poll, never across a wait.
    pub scratch: RefCell<Box<[u8]>>,
    free: RefCell<Vec<Vec<u8>>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            free: RefCell::new(Vec::new()),
        }
    }
}

impl Buffers {
    /// An empty buffer, recycled if there is one.
    pub fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    /// Gives a buffer back.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if buffer.capacity() > 0
            && buffer.capacity() <= BUFFER_KEPT_BYTES_MAX
            && free.len() < BUFFERS_MAX
        {
            buffer.clear();
            free.push(buffer);
        }
    }
}
