//! Keeps a store within its memory and tables, as sums over everything that lives in it.

use wasmtime::ResourceLimiter;

use crate::plugin::limits::Limits;

/// An element of a table takes a pointer.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// What lives in one store, and how much of it there may be.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    memory_bytes: usize,
    table_elements: usize,
}

/// Ends a call that asked for too much. A growth that merely failed would make the guest abort with words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("asked for more than {limit} bytes")]
pub(super) struct OverMemory {
    pub(super) limit: usize,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, memory_bytes: 0, table_elements: 0 }
    }

    /// Sum of all linear memories; they never shrink.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// Whether something of size `current` that may have `maximum` grows, and what all of them are then. A guest that goes
/// beyond the maximum it declared itself gets the failed growth that the specification promises.
fn grown(
    sum: usize,
    (current, desired, maximum): (usize, usize, Option<usize>),
    limit: usize,
) -> Result<Option<usize>, ()> {
    if maximum.is_some_and(|it| desired > it && it < limit) {
        return Ok(None);
    }
    let sum = sum.saturating_sub(current).saturating_add(desired);
    if sum > limit { Err(()) } else { Ok(Some(sum)) }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = self.limits.memory_bytes;
        let sum = grown(self.memory_bytes, (current, desired, maximum), limit)
            .map_err(|()| OverMemory { limit })?;
        self.memory_bytes = sum.unwrap_or(self.memory_bytes);
        Ok(sum.is_some())
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(OverMemory { limit: self.limits.memory_bytes }.into())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = self.limits.table_elements;
        let sum = grown(self.table_elements, (current, desired, maximum), limit)
            .map_err(|()| OverMemory { limit: limit.saturating_mul(ELEMENT_BYTES) })?;
        self.table_elements = sum.unwrap_or(self.table_elements);
        Ok(sum.is_some())
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::{ELEMENT_BYTES, Limiter, OverMemory};
    use crate::plugin::limits::Limits;
    use crate::plugin::{Class, Kind};

    const PAGE: usize = 64 * 1024;

    fn limiter() -> Limiter {
        let limits = Limits::of(Kind::Filter, Class::Default);
        Limiter::new(Limits { memory_bytes: 10 * PAGE, table_elements: 100, ..limits })
    }

    #[test]
    fn memories_are_limited_by_their_sum() {
        // Current size, wanted size, declared maximum; whether it grows (`None`: the call ends), the sum after it.
        let steps = [
            (0, 2, None, Some(true), 2),
            (0, 3, Some(20), Some(true), 5),
            (2, 4, None, Some(true), 7),
            (3, 6, None, Some(true), 10),
            (4, 5, None, None, 10),
            (0, 1, None, None, 10),
            (4, 9, Some(8), Some(false), 10),
            (0, 0, None, Some(true), 10),
        ];
        let mut limiter = limiter();
        for (number, (current, wanted, maximum, grows, sum)) in steps.into_iter().enumerate() {
            let maximum = maximum.map(|it: usize| it * PAGE);

            let found = limiter.memory_growing(current * PAGE, wanted * PAGE, maximum);

            match (found, grows) {
                (Ok(found), Some(grows)) => assert_eq!(found, grows, "step {number}"),
                (Err(error), None) => {
                    let over = error.downcast_ref::<OverMemory>().expect("its own error");
                    assert_eq!(over.limit, 10 * PAGE, "step {number}");
                }
                (found, expected) => panic!("step {number}: {found:?}, not {expected:?}"),
            }
            assert_eq!(limiter.memory_bytes(), sum * PAGE, "step {number}");
        }
    }

    #[test]
    fn tables_are_limited_by_their_sum_and_told_in_bytes() {
        let mut limiter = limiter();
        assert!(limiter.table_growing(0, 60, None).expect("room"));
        assert!(limiter.table_growing(0, 40, None).expect("room"));

        let error = limiter.table_growing(40, 41, None).expect_err("no room");

        let over = error.downcast_ref::<OverMemory>().expect("its own error");
        assert_eq!(over.limit, 100 * ELEMENT_BYTES);
        assert_eq!(limiter.memory_bytes(), 0);
    }
}
