//! Asks Kubesnap for snapshots: one in flight and a cool-down for each namespace, a daily budget, the body judged.
