//! What real traffic says: connect errors, share of 5xx, latency; from the counters of the request path.
