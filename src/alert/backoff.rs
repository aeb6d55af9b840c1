//! When to try again: exponential with full jitter, or as the receiver asks. Pure.
