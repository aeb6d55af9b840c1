//! Every limit of a plugin and its default, in one place.

use std::time::Duration;

use crate::plugin::{Class, Kind};

/// What one component may take. Sums are over all memories, tables and instances of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the component itself.
    pub component_bytes: usize,
    /// Bytes of linear memory.
    pub memory_bytes: usize,
    pub memories: usize,
    pub tables: usize,
    pub table_elements: usize,
    /// Core instances.
    pub instances: usize,
    /// Bytes of stack of the guest (call depth).
    pub stack_bytes: usize,
    /// Bytes that a call may hand to the host (`hostcall_fuel`).
    pub data_bytes: usize,
    /// CPU time of one call.
    pub call: Duration,
    /// CPU time of instantiation, `configure`, `describe` each; `self-test` gets twice as much.
    pub setup: Duration,
    /// Log lines a call.
    pub lines: u32,
    /// Bytes of a log line; the rest is cut.
    pub line_bytes: usize,
    /// Metric values a call.
    pub metric_values: u32,
}

/// Guest stack; threads that call guests have at least four times as much.
pub const STACK_BYTES: usize = 512 * 1024;

const MIB: usize = 1024 * 1024;

impl Limits {
    /// The limits of a kind in a class.
    pub const fn of(kind: Kind, class: Class) -> Self {
        let (component_bytes, memory_bytes, memories, instances, table_elements) = match class {
            Class::Default => (8 * MIB, 64 * MIB, 4, 64, 20_000),
            Class::Large => (32 * MIB, 128 * MIB, 8, 256, 50_000),
        };
        let (call, data_bytes) = match kind {
            Kind::Policy | Kind::Formatter => (Duration::from_millis(100), 256 * 1024),
            Kind::Filter => (Duration::from_millis(2), 64 * 1024),
        };
        Self {
            component_bytes,
            memory_bytes,
            memories,
            tables: 16,
            table_elements,
            instances,
            stack_bytes: STACK_BYTES,
            data_bytes,
            call,
            setup: Duration::from_millis(500),
            lines: 32,
            line_bytes: 2048,
            metric_values: 64,
        }
    }
}
