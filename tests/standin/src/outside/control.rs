//! How the double behaves, and what it has counted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the Gemini API behaves towards requests with a valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LlmMode {
    /// It answers.
    #[default]
    Ok,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 429 with `Retry-After`.
    Quota,
    /// 500.
    Error,
    /// It answers, with a pause before each piece.
    Slow,
    /// It never says anything.
    Hang,
    /// It breaks off after the first piece.
    Cut,
    /// It answers 200 and nonsense.
    Garbage,
}

/// How the makers' sites behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ManualsMode {
    /// They send the manual.
    #[default]
    Ok,
    /// 404.
    Missing,
    /// 403.
    Forbidden,
    /// 429 with `Retry-After`.
    Quota,
    /// 500.
    Error,
    /// They send the manual, with a pause before each piece.
    Slow,
    /// They never say anything.
    Hang,
    /// They break off after the first piece.
    Cut,
    /// They send 200 and nonsense.
    Garbage,
}

/// The switches and the counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Control {
    pub(super) llm: LlmMode,
    pub(super) manuals: ManualsMode,
    /// Pause of the slow modes, in milliseconds.
    slow_ms: u64,
    /// `Retry-After` of the quota modes, in seconds.
    pub(super) retry_after_seconds: u64,
    counters: Counters,
}

/// Requests by what came of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Counters {
    llm: BTreeMap<String, u64>,
    manuals: BTreeMap<String, u64>,
}

/// The body of `PUT /control`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    llm: Option<LlmMode>,
    manuals: Option<ManualsMode>,
    slow_ms: Option<u64>,
    retry_after_seconds: Option<u64>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            llm: LlmMode::default(),
            manuals: ManualsMode::default(),
            slow_ms: 3000,
            retry_after_seconds: 33,
            counters: Counters::default(),
        }
    }
}

impl Control {
    /// Changes what is named; the counters go on.
    pub(super) fn apply(&mut self, change: &Change) {
        self.llm = change.llm.unwrap_or(self.llm);
        self.manuals = change.manuals.unwrap_or(self.manuals);
        self.slow_ms = change.slow_ms.unwrap_or(self.slow_ms);
        self.retry_after_seconds = change.retry_after_seconds.unwrap_or(self.retry_after_seconds);
    }

    pub(super) fn slow(&self) -> Duration {
        Duration::from_millis(self.slow_ms)
    }

    /// Counts one request to the Gemini API.
    pub(super) fn count_llm(&mut self, result: &str) {
        *self.counters.llm.entry(result.to_owned()).or_default() += 1;
    }

    /// Counts one request for a manual.
    pub(super) fn count_manual(&mut self, result: &str) {
        *self.counters.manuals.entry(result.to_owned()).or_default() += 1;
    }
}

impl LlmMode {
    /// Its name in the counters.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Quota => "quota",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
        }
    }
}

impl ManualsMode {
    /// Its name in the counters.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Forbidden => "forbidden",
            Self::Quota => "quota",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_changes_what_it_names() {
        let mut control = Control::default();
        control.count_llm("ok");
        for (change, expect) in [
            (r#"{"llm":"quota"}"#, (LlmMode::Quota, ManualsMode::Ok, 3000)),
            (r#"{"manuals":"hang","slow_ms":5}"#, (LlmMode::Quota, ManualsMode::Hang, 5)),
            (r"{}", (LlmMode::Quota, ManualsMode::Hang, 5)),
            (r#"{"llm":"ok","manuals":"ok"}"#, (LlmMode::Ok, ManualsMode::Ok, 5)),
        ] {
            control.apply(&serde_json::from_str(change).unwrap());
            assert_eq!((control.llm, control.manuals, control.slow_ms), expect, "{change}");
        }
        assert_eq!(control.counters.llm["ok"], 1);
        for wrong in [r#"{"lm":"ok"}"#, r#"{"llm":"fine"}"#, "[]", ""] {
            assert!(serde_json::from_str::<Change>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_are_the_words_of_the_control() {
        for name in ["ok", "unauthorized", "forbidden", "quota", "error", "slow", "hang", "cut", "garbage"] {
            let mode: LlmMode = serde_json::from_value(name.into()).unwrap();
            assert_eq!(mode.label(), name);
        }
        for name in ["ok", "missing", "forbidden", "quota", "error", "slow", "hang", "cut", "garbage"] {
            let mode: ManualsMode = serde_json::from_value(name.into()).unwrap();
            assert_eq!(mode.label(), name);
        }
    }
}
