//! The durable store on redb: one writer thread, group commit, a copy of every row in memory.
