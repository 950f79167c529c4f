//! What a proxy can do to the traffic: the words of scenarios, receipts and the API.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration;

/// Something done to the traffic between clients and the Service. `for` is how long it lasts;
/// where absent it lasts until it is healed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Trick {
    /// Every open connection is reset at once (RST), at both ends. New ones get through.
    Reset {},
    /// Every open connection is closed at once (FIN), at both ends. New ones get through.
    Cut {},
    /// Bytes vanish both ways, and nobody is told: no FIN, no RST. A connection that lost bytes
    /// cannot go on, so it is reset when this is over.
    HalfOpen {
        /// Which connections.
        #[serde(default)]
        of: Of,
        /// How long, such as `10s`.
        #[serde(default, rename = "for", with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        lasts: Option<Duration>,
    },
    /// New connections are refused. Open ones go on.
    Refuse {
        /// How long, such as `10s`.
        #[serde(default, rename = "for", with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        lasts: Option<Duration>,
    },
    /// Bytes arrive later, each way.
    Latency {
        /// By how much.
        #[serde(with = "crate::duration")]
        #[schemars(with = "String")]
        by: Duration,
        /// And by up to so much more, at random with the run's seed.
        #[serde(default, with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        jitter: Option<Duration>,
        /// How long, such as `10s`.
        #[serde(default, rename = "for", with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        lasts: Option<Duration>,
    },
    /// Each connection gets so many bytes a second, each way, and no more.
    Bandwidth {
        /// How many.
        bytes_per_second: NonZeroU64,
        /// How long, such as `10s`.
        #[serde(default, rename = "for", with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        lasts: Option<Duration>,
    },
    /// A connection on which no byte moved for this long is closed (FIN), as a load balancer does.
    IdleTimeout {
        /// After how long.
        #[serde(with = "crate::duration")]
        #[schemars(with = "String")]
        after: Duration,
        /// How long, such as `10s`.
        #[serde(default, rename = "for", with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        lasts: Option<Duration>,
    },
    /// When one end closes, the other is told only later.
    SlowClose {
        /// By how much.
        #[serde(with = "crate::duration")]
        #[schemars(with = "String")]
        by: Duration,
        /// How long, such as `10s`.
        #[serde(default, rename = "for", with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        lasts: Option<Duration>,
    },
}

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// Those that are open at that moment; new ones get through. So it is when a load balancer
    /// or a NAT has lost its table.
    #[default]
    Live,
    /// New ones as well: nobody gets through. So it is when the network is parted.
    Every,
}

impl Trick {
    /// How long it lasts; absent where until healed, or where it is over at once.
    #[must_use]
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Reset {} | Self::Cut {} => None,
            Self::HalfOpen { lasts, .. }
            | Self::Refuse { lasts }
            | Self::Latency { lasts, .. }
            | Self::Bandwidth { lasts, .. }
            | Self::IdleTimeout { lasts, .. }
            | Self::SlowClose { lasts, .. } => *lasts,
        }
    }

    /// What is impossible about it, although it is of the right form.
    #[must_use]
    pub fn wrong(&self) -> Option<String> {
        let times = match self {
            Self::Reset {} | Self::Cut {} | Self::HalfOpen { .. } | Self::Refuse { .. } | Self::Bandwidth { .. } => {
                [None, None]
            }
            Self::Latency { by, jitter, .. } => [Some(*by), *jitter],
            Self::IdleTimeout { after, .. } => [Some(*after), None],
            Self::SlowClose { by, .. } => [Some(*by), None],
        };
        let zero = times.into_iter().chain([self.lasts()]).flatten().any(|time| time.is_zero());
        zero.then(|| "the time must be above zero".to_owned())
    }
}

impl fmt::Display for Trick {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = duration::text;
        match self {
            Self::Reset {} => formatter.write_str("every open connection is reset")?,
            Self::Cut {} => formatter.write_str("every open connection is closed")?,
            Self::HalfOpen { of: Of::Live, .. } => {
                formatter.write_str("every open connection falls silent, without FIN or RST")?;
            }
            Self::HalfOpen { of: Of::Every, .. } => {
                formatter.write_str("every connection, open or new, is silent, without FIN or RST")?;
            }
            Self::Refuse { .. } => formatter.write_str("new connections are refused")?,
            Self::Latency { by, jitter: None, .. } => write!(formatter, "bytes arrive {} later", text(*by))?,
            Self::Latency { by, jitter: Some(jitter), .. } => {
                write!(formatter, "bytes arrive {} to {} later", text(*by), text(*by + *jitter))?;
            }
            Self::Bandwidth { bytes_per_second, .. } => {
                write!(formatter, "each connection gets {bytes_per_second} bytes a second")?;
            }
            Self::IdleTimeout { after, .. } => {
                write!(formatter, "connections idle for {} are closed", text(*after))?;
            }
            Self::SlowClose { by, .. } => write!(formatter, "closes are passed on {} later", text(*by))?,
        }
        match self.lasts() {
            Some(lasts) => write!(formatter, " (for {})", text(lasts)),
            None => Ok(()),
        }
    }
}
