//! What only Linux can do; the rest of the crate asks here.

pub mod boot;
pub mod clock;
pub mod process;
pub mod sockets;
