//! Which sinks hear of an incident. Pure.
