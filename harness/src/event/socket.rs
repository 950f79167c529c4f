//! What becomes of the WebSockets that the load holds: opens and ends, never messages.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Offset;

/// Something that happened to one WebSocket of the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SocketEvent {
    /// Its number, from 0; it keeps it when it comes back.
    pub socket: u32,
    /// When.
    pub at: Offset,
    /// Whether it comes back as users' clients should, backing off: such a one shows what users
    /// see and decides nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backs_off: bool,
    /// What happened.
    pub what: SocketChange,
}

/// What can happen to a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketChange {
    /// Its handshake is done.
    Opened {
        /// Handshakes it took, this one included.
        attempts: u32,
    },
    /// It is no longer open.
    Ended {
        /// How.
        end: SocketEnd,
        /// Whether an answer that had begun was cut.
        cut: bool,
        /// Whether that counts as a loss: anything but a planned move does.
        lost: bool,
    },
    /// It was not back within 2 s of a planned move, or never opened: a loss.
    Overdue,
}

/// How a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketEnd {
    /// With a close frame.
    Closed {
        /// Its code; 1005 where it had none.
        code: u16,
        /// Its reason, as the server worded it.
        reason: String,
    },
    /// The connection was reset (RST).
    Reset,
    /// The connection was closed (FIN) without a close frame: 1006, as browsers call it.
    Unclosed,
    /// An answer did not come, or did not go on, in time.
    NoAnswer,
    /// Our own ping was not answered in time: packets vanish, and nobody says so.
    HalfOpen,
    /// What came was no WebSocket any more.
    Broken {
        /// What it was.
        error: String,
    },
    /// The way to the system broke, which says nothing of the system.
    Way {
        /// How.
        reason: String,
    },
}

/// The kinds of [`SocketEnd`], as a scenario names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SocketEndKind {
    /// With a close frame.
    Closed,
    /// Reset.
    Reset,
    /// Without a close frame.
    Unclosed,
    /// No answer in time.
    NoAnswer,
    /// No answer to our own ping in time.
    HalfOpen,
    /// No WebSocket any more.
    Broken,
    /// The way broke: nothing that a scenario could ask for.
    #[serde(skip)]
    Way,
}

impl SocketEnd {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> SocketEndKind {
        match self {
            Self::Closed { .. } => SocketEndKind::Closed,
            Self::Reset => SocketEndKind::Reset,
            Self::Unclosed => SocketEndKind::Unclosed,
            Self::NoAnswer => SocketEndKind::NoAnswer,
            Self::HalfOpen => SocketEndKind::HalfOpen,
            Self::Broken { .. } => SocketEndKind::Broken,
            Self::Way { .. } => SocketEndKind::Way,
        }
    }

    /// Whether an end by itself is a loss. A planned move is a 1001 after the answer in
    /// flight; 1000 and 1012 say the same in other words. What the way took is nobody's loss.
    #[must_use]
    pub const fn is_loss(&self, cut: bool) -> bool {
        match self {
            Self::Way { .. } => false,
            Self::Closed { code: 1000 | 1001 | 1012, .. } => cut,
            Self::Closed { .. }
            | Self::Reset
            | Self::Unclosed
            | Self::NoAnswer
            | Self::HalfOpen
            | Self::Broken { .. } => true,
        }
    }
}

impl fmt::Display for SocketEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } if reason.is_empty() => write!(formatter, "closed by {code}"),
            Self::Closed { code, reason } => write!(formatter, "closed by {code} ({reason})"),
            Self::Broken { error } => write!(formatter, "broken ({error})"),
            Self::Way { reason } => write!(formatter, "taken by the way ({reason})"),
            Self::Reset | Self::Unclosed | Self::NoAnswer | Self::HalfOpen => self.kind().fmt(formatter),
        }
    }
}

impl fmt::Display for SocketEndKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Closed => "closed by a close frame",
            Self::Reset => "reset",
            Self::Unclosed => "ended without a close frame (1006)",
            Self::NoAnswer => "given up without an answer",
            Self::HalfOpen => "half-open (our ping was not answered)",
            Self::Broken => "broken",
            Self::Way => "taken by the way",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_planned_move_is_no_loss() {
        let check = |end: SocketEnd, cut: bool, expect: bool| assert_eq!(end.is_loss(cut), expect, "{end} {cut}");
        let closed = |code| SocketEnd::Closed { code, reason: String::new() };
        check(closed(1001), false, false);
        check(closed(1001), true, true);
        check(closed(1000), false, false);
        check(closed(1012), false, false);
        check(closed(1011), false, true);
        check(closed(1005), false, true);
        check(SocketEnd::Reset, false, true);
        check(SocketEnd::Unclosed, false, true);
        check(SocketEnd::HalfOpen, false, true);
        check(SocketEnd::NoAnswer, true, true);
        check(SocketEnd::Way { reason: "reset".to_owned() }, true, false);
    }
}
