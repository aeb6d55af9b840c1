//! What is seen of a service and what is concluded from it: the nouns of policies, probes and alerts.
//!
//! Shapes and spelling follow `wit/types.wit` and `wit/health-policy.wit`; as JSON the names are the WIT's own (kebab-case).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Open-ended pairs; unknown keys are ignored by both sides.
pub type Attrs = Vec<(String, String)>;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// What a verdict says about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Unknown,
    Ok,
    Degraded,
    Failing,
    Maintenance,
}

/// Who saw a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An active probe.
    Probe,
    /// Real traffic.
    Traffic,
    /// A CronJob's runs.
    Schedule,
    /// Another replica.
    Peer,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Ok,
    BadStatus,
    Timeout,
    Refused,
    Reset,
    Dns,
    Tls,
    Protocol,
    Skipped,
    Other,
}

/// One finished probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sample {
    pub at_ms: u64,
    pub source: Source,
    /// `http`, `tcp`, `grpc`, `cronjob`, `passive`; open-ended.
    pub kind: String,
    pub latency_us: u32,
    pub outcome: Outcome,
    /// HTTP or gRPC code when there was one.
    #[serde(default)]
    pub status: Option<u16>,
    /// First bytes of the body, cut by the host.
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub extra: Attrs,
}

/// A service as policies and formatters see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServiceFacts {
    pub name: String,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub endpoint: String,
    #[serde(default)]
    pub ready: Option<u32>,
    #[serde(default)]
    pub desired: Option<u32>,
    #[serde(default)]
    pub labels: Attrs,
}

/// What a policy judges (`health-policy.input`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Window {
    pub now_ms: u64,
    pub service: ServiceFacts,
    pub current: Health,
    pub since_ms: u64,
    /// Oldest first; shared, because one window has most samples of the one before.
    #[serde(with = "shared")]
    pub samples: Vec<Arc<Sample>>,
    /// The same on every replica for one evaluation.
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub extra: Attrs,
}

/// A case that a later pair of host and plugin may add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Extension {
    pub kind: String,
    #[serde(default)]
    pub params: Attrs,
}

/// What a policy proposes; hysteresis and budgets are the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A Kubesnap snapshot of this namespace.
    Snapshot(String),
    Alert(AlertProposal),
    Ext(Extension),
}

/// An alert that a policy proposes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AlertProposal {
    pub severity: Severity,
    #[serde(default)]
    pub issues: Vec<String>,
    #[serde(default)]
    pub channels: Vec<String>,
}

/// What a policy concludes from a window (`health-policy.verdict`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Verdict {
    pub status: Health,
    /// Stable slug, `[a-z0-9-]{1,48}`.
    pub code: String,
    pub detail: String,
    #[serde(default)]
    pub actions: Vec<Action>,
    #[serde(default)]
    pub next_check_ms: Option<u32>,
    /// The policy's memory; `None` keeps the previous value. Hex in JSON.
    #[serde(default, with = "hex_bytes")]
    pub state: Option<Vec<u8>>,
    #[serde(default)]
    pub extra: Attrs,
}

/// A policy's saved memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Saved {
    /// `info.state-version` of the plugin that wrote it.
    pub version: u32,
    #[serde(with = "hex_bytes::plain")]
    pub bytes: Vec<u8>,
}

/// Shared samples as plain ones in JSON.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Sample;

    pub(super) fn serialize<S: Serializer>(
        samples: &[Arc<Sample>],
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.collect_seq(samples.iter().map(Arc::as_ref))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Arc<Sample>>, D::Error> {
        Ok(Vec::<Sample>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}

/// Bytes as lower-case hex in JSON.
mod hex_bytes {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::model::{hex, unhex};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => out.serialize_some(&hex(bytes)),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|it| unhex(&it).ok_or_else(|| serde::de::Error::custom("hex digits, two a byte")))
            .transpose()
    }

    pub(super) mod plain {
        use serde::{Deserialize as _, Deserializer, Serializer};

        use crate::model::{hex, unhex};

        pub(crate) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
            out.serialize_str(&hex(bytes))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
            let text = String::deserialize(from)?;
            unhex(&text).ok_or_else(|| serde::de::Error::custom("hex digits, two a byte"))
        }
    }
}
