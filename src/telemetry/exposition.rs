//! Writes metric families through prometheus-client's encoder.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
    MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::telemetry::shard::{BOUNDS_NS, Red};

/// A scrape's text while it is written. Names come without the suffixes that the format adds (`_total`, `_info`, `_bucket`).
pub(crate) struct Exposition<'a>(pub(crate) DescriptorEncoder<'a>);

impl Exposition<'_> {
    /// One family, whose samples `each` writes.
    pub(crate) fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        each: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        each(&mut self.0.encode_descriptor(name, help, None, kind)?)
    }

    pub(crate) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        let value = ConstCounter::new(value);
        value.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    pub(crate) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        let value = ConstGauge::new(value);
        value.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    pub(crate) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    /// A counter for each value of one label.
    pub(crate) fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'l str, impl EncodeCounterValue)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (word, value) in values {
            counter(&mut metric, &[(label, word)], value)?;
        }
        Ok(())
    }

    /// A gauge for each value of one label.
    pub(crate) fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'l str, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (word, value) in values {
            gauge(&mut metric, &[(label, word)], value)?;
        }
        Ok(())
    }
}

/// A counter's sample in a family.
pub(crate) fn counter(
    metric: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    ConstCounter::new(value).encode(metric.encode_family(labels)?)
}

/// A gauge's sample in a family.
pub(crate) fn gauge(
    metric: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    ConstGauge::new(value).encode(metric.encode_family(labels)?)
}

/// A duration histogram's samples in a family, in seconds.
pub(crate) fn durations(
    metric: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    red: &Red,
) -> fmt::Result {
    let bounds = BOUNDS_NS.iter().map(|it| *it as f64 / 1e9).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(red.buckets).collect();
    let count = red.buckets.iter().sum();
    let sum = red.sum_ns as f64 / 1e9;
    metric.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
