//! Measures plugins.
fn main() {}
