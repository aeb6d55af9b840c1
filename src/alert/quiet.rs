//! Hours in which only what is loud enough goes out. Pure.
