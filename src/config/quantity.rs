//! Durations, sizes and `none` as values of the config file.

use serde::Deserialize;
use serde::de::{Deserializer, Unexpected, Visitor};

use super::units;

/// A duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) std::time::Duration);

/// A size in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

/// A limit, or the word `none`.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrNone<T>(pub(super) Option<T>);

/// A value written as one word with a unit.
pub(super) trait Unit: Sized {
    const EXPECTED: &'static str;
    const PATTERN: &'static str;
    fn read(text: &str) -> Option<Self>;
}

impl Unit for Span {
    const EXPECTED: &'static str = units::DURATION;
    const PATTERN: &'static str = "^(?=.)(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$";

    fn read(text: &str) -> Option<Self> {
        units::parse_duration(text).map(Self)
    }
}

impl Unit for Bytes {
    const EXPECTED: &'static str = units::SIZE;
    const PATTERN: &'static str = "^\\d+(B|KiB|MiB|GiB)$";

    fn read(text: &str) -> Option<Self> {
        units::parse_size(text).map(Self)
    }
}

impl<T: Unit> Unit for OrNone<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const PATTERN: &'static str = T::PATTERN;

    fn read(text: &str) -> Option<Self> {
        if text == "none" { Some(Self(None)) } else { T::read(text).map(|it| Self(Some(it))) }
    }
}

struct UnitVisitor<T>(std::marker::PhantomData<T>, &'static str);

impl<T: Unit> Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", T::EXPECTED, self.1)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        Err(E::invalid_value(Unexpected::Str(&format!("{number}")), &self))
    }
}

fn read_unit<'de, T: Unit, D: Deserializer<'de>>(
    deserializer: D,
    or: &'static str,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(UnitVisitor(std::marker::PhantomData, or))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_unit(deserializer, "")
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_unit(deserializer, "")
    }
}

impl<'de, T: Unit> Deserialize<'de> for OrNone<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_unit(deserializer, ", or `none`")
    }
}
