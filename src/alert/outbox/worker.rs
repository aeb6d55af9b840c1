//! One sink's worker: takes parcels in order, sends, judges, waits, tries again.
