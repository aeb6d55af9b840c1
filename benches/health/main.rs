//! Measures what watching services costs: CPU, punctuality, and the way from a failed probe to the alert.

fn main() {}
