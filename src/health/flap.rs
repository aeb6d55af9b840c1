//! How often a service has changed lately, with two thresholds. Pure.

use serde::{Deserialize, Serialize};

/// The last verdicts as well (`true`) or not, newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(pub Vec<bool>);
