//! HTTP mechanics: bytes, sockets, time; no route, no service, no policy inside.

pub mod answer;
pub mod balance;
pub mod h1;
pub mod serve;
pub mod socket;
