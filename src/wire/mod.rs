//! HTTP mechanics: bytes, sockets, time; no route, no service, no policy inside.

pub mod answer;
pub mod balance;
pub mod clock;
pub mod dns;
mod flow;
pub mod h1;
pub mod io;
pub mod listener;
pub mod pool;
mod seats;
pub mod serve;
pub mod transport;
pub mod socket;
