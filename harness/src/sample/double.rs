//! The double's counters: a second channel that only a double of the LLM has.

use serde::Deserialize;

use super::door::{Door, Failure};
use super::http::exchange;

/// The double of the namespace.
pub(crate) struct DoubleLook {
    pub(crate) door: Door,
    /// Of its control, through the API server.
    pub(crate) path: String,
    /// Which counters of requests are summed up.
    pub(crate) counts: Vec<String>,
}

/// What the control tells, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    counters: Counters,
}

#[derive(Deserialize)]
struct Counters {
    llm: std::collections::BTreeMap<String, u64>,
}

impl DoubleLook {
    /// One look; the value is the sum of the counters, those that are absent being 0.
    ///
    /// # Errors
    /// [`Failure::Ours`], since a double that does not answer says nothing about the system.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        let (reply, _) = exchange(&self.door, &self.path, None).await.map_err(|failure| match failure {
            Failure::Ours(reason) | Failure::Theirs(reason) => Failure::Ours(reason),
        })?;
        match reply.status.as_u16() {
            200 => sum(&reply.body, &self.counts).map(Some).map_err(Failure::Ours),
            404 => Err(Failure::Ours("there is no double of the LLM here".to_owned())),
            status => Err(Failure::Ours(format!("the double's control answered {status}"))),
        }
    }
}

fn sum(told: &[u8], counts: &[String]) -> Result<String, String> {
    let told: Told = serde_json::from_slice(told).map_err(|error| format!("the double's control: {error}"))?;
    Ok(counts.iter().filter_map(|name| told.counters.llm.get(name)).sum::<u64>().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_are_named_are_summed() {
        let told =
            br#"{"llm":"ok","slow_ms":3000,"counters":{"llm":{"ok":7,"invalid-key":2,"no-key":1},"manuals":{}}}"#;
        for (counts, expect) in [(&["invalid-key", "no-key"][..], "3"), (&["ok"], "7"), (&["quota"], "0"), (&[], "0")] {
            let counts: Vec<String> = counts.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(sum(told, &counts), Ok(expect.to_owned()), "{counts:?}");
        }
        assert!(sum(b"<html>", &[]).is_err());
    }
}
