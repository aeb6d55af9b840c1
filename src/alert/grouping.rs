//! Which notices go out together. Pure.
