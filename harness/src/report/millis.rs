//! Durations as a report holds them: numbers of milliseconds, exact to the microsecond.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A time in milliseconds. Its text is for people: `840 ms`, `1.24 s`, `125.3 s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis {
    micros: u64,
}

impl Millis {
    /// Rounded down: for "at least".
    #[must_use]
    pub fn floor(duration: Duration) -> Self {
        Self::capped(duration.as_micros())
    }

    /// Rounded up: for "at most".
    #[must_use]
    pub fn ceil(duration: Duration) -> Self {
        Self::capped(duration.as_nanos().div_ceil(1_000))
    }

    fn capped(micros: u128) -> Self {
        Self { micros: u64::try_from(micros).map_or(MICROS_MAX, |micros| micros.min(MICROS_MAX)) }
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// Both ends in one unit, each rounded outwards: `1.24–1.61 s`.
    pub(super) fn range(lower: Self, upper: Self) -> String {
        let unit = Unit::of(upper.micros);
        format!("{}–{} {}", unit.number(lower.micros, false), unit.number(upper.micros, true), unit.name)
    }

    /// Rounded down for people: for "at least".
    pub(super) fn at_least(self) -> String {
        self.text(false)
    }

    fn text(self, up: bool) -> String {
        let unit = Unit::of(self.micros);
        let number = unit.number(self.micros, up);
        // `60 s` is how a budget is written.
        let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
        format!("{number} {}", unit.name)
    }
}

/// How a number is shown.
struct Unit {
    name: &'static str,
    /// Microseconds in the last shown digit.
    step: u64,
    /// Shown digits in one unit.
    steps: u64,
    decimals: usize,
}

impl Unit {
    /// Three significant digits or so, whatever the size.
    fn of(micros: u64) -> Self {
        match micros {
            0..10_000 if !micros.is_multiple_of(1_000) => Self { name: "ms", step: 10, steps: 100, decimals: 2 },
            0..1_000_000 => Self { name: "ms", step: 1_000, steps: 1, decimals: 0 },
            1_000_000..100_000_000 => Self { name: "s", step: 10_000, steps: 100, decimals: 2 },
            _ => Self { name: "s", step: 100_000, steps: 10, decimals: 1 },
        }
    }

    fn number(&self, micros: u64, up: bool) -> String {
        let steps = if up { micros.div_ceil(self.step) } else { micros / self.step };
        match self.decimals {
            0 => steps.to_string(),
            decimals => format!("{}.{:0decimals$}", steps / self.steps, steps % self.steps),
        }
    }
}

/// Rounded up: most times in a report are upper ends.
impl fmt::Display for Millis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text(true))
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.micros.is_multiple_of(1_000) {
            serializer.serialize_u64(self.micros / 1_000)
        } else {
            serializer.serialize_f64(self.micros as f64 / 1_000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = f64::deserialize(deserializer)?;
        if !(0.0..=MICROS_MAX as f64 / 1_000.0).contains(&millis) {
            return Err(D::Error::custom(format!("`{millis}` is no time in milliseconds")));
        }
        Ok(Self { micros: (millis * 1_000.0).round() as u64 })
    }
}

/// 31 years: up to here a floating point number of milliseconds is read back to the same
/// microsecond, even by a reader that is off by one in its last place.
const MICROS_MAX: u64 = 1_000_000_000_000_000;
