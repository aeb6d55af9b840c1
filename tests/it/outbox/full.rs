//! The disk fills while alerts are made.
