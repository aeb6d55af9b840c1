//! Alerts on their way: whatever receivers, disks and crashes do, each arrives, in order, and repeats only with its key.

mod full;
mod kill;
mod receivers;
mod scene;
mod world;
