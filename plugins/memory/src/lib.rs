//! The allocator of a guest: small, and without a call of the system in the usual case. `use memory as _;` suffices.
//!
//! A policy or a formatter is instantiated anew for each call. The allocator of the standard library begins with growing
//! the memory, which costs the host two system calls and a page fault, as much as the rest of the call; this one begins
//! in an arena that is part of the initial memory, and grows only when that is used up.

#[cfg(target_family = "wasm")]
mod arena {
    use core::alloc::Layout;
    use core::arch::wasm32::memory_grow;
    use core::mem::MaybeUninit;

    use talc::base::Talc;
    use talc::base::binning::Binning;
    use talc::cell::TalcSyncCell;
    use talc::source::Source;
    use talc::wasm::WasmBinning;

    const PAGE_BYTES: usize = 64 * 1024;
    const ARENA_BYTES: usize = 48 * 1024;
    /// What a heap needs beside the one allocation that it is claimed for.
    const SLACK_BYTES: usize = 64;

    static mut ARENA: MaybeUninit<[u8; ARENA_BYTES]> = MaybeUninit::uninit();

    #[global_allocator]
    static ALLOCATOR: TalcSyncCell<ArenaThenGrow, WasmBinning> =
        TalcSyncCell::new_wasm(ArenaThenGrow { claimed: false });

    #[derive(Debug)]
    struct ArenaThenGrow {
        claimed: bool,
    }

    // SAFETY: allocates nothing itself.
    unsafe impl Source for ArenaThenGrow {
        fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
            let (base, bytes) = if talc.source.claimed {
                let wanted = layout.size().saturating_add(layout.align() + SLACK_BYTES);
                let pages = wanted.div_ceil(PAGE_BYTES);
                let before = memory_grow::<0>(pages);
                if before == usize::MAX {
                    return Err(());
                }
                ((before * PAGE_BYTES) as *mut u8, pages * PAGE_BYTES)
            } else {
                talc.source.claimed = true;
                ((&raw mut ARENA).cast(), ARENA_BYTES)
            };
            // SAFETY: nobody else knows the arena, and fresh pages belong to nobody.
            unsafe { talc.claim(base, bytes) };
            Ok(())
        }
    }
}
