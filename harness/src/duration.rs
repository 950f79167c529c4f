//! Durations as people write them: `60s`, `300ms`, `1m 30s`.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Reads `60s`, `300ms`, `5m`, `1h 30m`.
///
/// # Errors
/// A sentence that names the text and an example, for anything else and for negative times.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration `{text}`: write a number and a unit, such as `60s` or `300ms`");
    let signed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// Writes a duration so that [`parse`] reads the same one.
#[must_use]
pub fn text(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| "forever".to_owned(), |signed| format!("{signed:#}"))
}

/// For `#[serde(with = "crate::duration::optional")]`.
pub mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes it as text, or as nothing.
    ///
    /// # Errors
    /// What the serializer returns.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&super::text(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a text, or nothing.
    ///
    /// # Errors
    /// What [`super::parse`] says, at the place of the text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

/// For `#[serde(with = "crate::duration")]`.
///
/// # Errors
/// What the serializer returns.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// For `#[serde(with = "crate::duration")]`.
///
/// # Errors
/// What [`parse`] says, at the place of the text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}
