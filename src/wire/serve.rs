//! Serves small complete answers over hyper: ops, admin and stand-ins; never the data path.

use std::net::SocketAddr;

/// A small request, read whole (body at most 64 KiB, else 413).
#[derive(Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: hyper::HeaderMap,
    pub body: bytes::Bytes,
    /// `None` on a unix socket.
    pub peer: Option<SocketAddr>,
}
