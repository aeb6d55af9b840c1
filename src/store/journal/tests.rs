//! The journal: kept, trimmed, begun anew.
