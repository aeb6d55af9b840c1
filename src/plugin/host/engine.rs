//! Sets up the one engine of the process: what guests may use, how code is made, where their memory comes from.

use std::num::NonZeroUsize;

use rustix::process::{Resource, getrlimit};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
};

use crate::plugin::host::{Allocation, HostError, Purpose};
use crate::plugin::limits::{Limits, STACK_BYTES};
use crate::plugin::{Class, Kind};

/// Memories of a pool, the first that the address space has room for: each reserves 4 GiB and a guard, so that guests need no
/// bounds checks. 1,000 are enough for 16 cores with ten filters and three spares each; 39-bit kernels have room for 60.
const POOLS: [u32; 3] = [1000, 250, 60];

/// Core instances for each memory of a pool: a Rust guest has about four, JavaScript's fifty over three memories.
const CORE_INSTANCES: u32 = 16;

/// Of a slot's memory, what is put back by copying instead of giving the pages back to the kernel. More than a Rust guest
/// touches in a call; bounds what an idle slot keeps.
const KEEP_MEMORY_BYTES: usize = 512 * 1024;
const KEEP_TABLE_BYTES: usize = 64 * 1024;

/// Idle slots that keep their pages beyond those in use.
const WARM_SLOTS: u32 = 16;

/// Frames of a trap that are looked at.
const FRAMES: usize = 24;

/// The engine with the largest pool that the address space has room for, else without one.
///
/// # Errors
/// When this platform has no engine.
pub(super) fn start(purpose: Purpose) -> Result<(Engine, Allocation), HostError> {
    let mut because = match address_space() {
        Some(bytes) => format!("the address space is limited to {bytes} bytes (RLIMIT_AS)"),
        None => String::new(),
    };
    if because.is_empty() {
        for memories in POOLS {
            match pooled(purpose, memories) {
                Ok(found) => return Ok(found),
                Err(error) => because = format!("{error:#}"),
            }
        }
    }
    let engine = Engine::new(&config(purpose)).map_err(|it| HostError(format!("{it:#}")))?;
    Ok((engine, Allocation::OnDemand { because }))
}

/// The limit of the address space, when there is one.
fn address_space() -> Option<u64> {
    getrlimit(Resource::As).current
}

fn pooled(purpose: Purpose, memories: u32) -> wasmtime::Result<(Engine, Allocation)> {
    let pagemap_scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let mut config = config(purpose);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(memories)));
    Ok((Engine::new(&config)?, Allocation::Pooled { pagemap_scan }))
}

/// Slots that hold what the class `large` may have; what a component may have is its store's limit.
fn pool(memories: u32) -> PoolingAllocationConfig {
    let limits = Limits::of(Kind::Policy, Class::Large);
    let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(memories)
        .total_component_instances(memories)
        .total_core_instances(memories.saturating_mul(CORE_INSTANCES))
        .total_tables(memories.saturating_mul(2))
        .max_memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .max_core_instances_per_component(number(limits.instances))
        .max_memories_per_component(number(limits.memories))
        .max_memories_per_module(number(limits.memories))
        .max_tables_per_component(number(limits.tables))
        .max_tables_per_module(number(limits.tables))
        .linear_memory_keep_resident(KEEP_MEMORY_BYTES)
        .table_keep_resident(KEEP_TABLE_BYTES)
        .max_unused_warm_slots(WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// What is the same with and without a pool, so that code compiled for one runs with the other.
fn config(purpose: Purpose) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(purpose == Purpose::Measure)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES))
        .native_unwind_info(false)
        .memory_init_cow(true);
    config
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_multi_memory(true)
        .wasm_extended_const(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    config
}
