//! What a load balancer's settings say: the annotations of an Ingress.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::duration;

/// The annotation that the runbook edits, in seconds.
pub const IDLE_TIMEOUT: &str = "nginx.ingress.kubernetes.io/proxy-read-timeout";
/// nginx's own default.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// The idle timeout of a load balancer, as it acts in a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleTimeout {
    /// What its settings say.
    pub set: Duration,
    /// Why it is so.
    pub because: Because,
    /// So many times shorter does it act.
    pub time_scale: u32,
}

/// Why a timeout is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// The annotation says so.
    Annotated,
    /// There is no such annotation.
    Absent,
    /// nginx cannot read it, and goes by its default.
    Unreadable(String),
}

impl IdleTimeout {
    /// Reads it from the annotations of an Ingress.
    #[must_use]
    pub fn read(annotations: Option<&BTreeMap<String, String>>, time_scale: u32) -> Self {
        let text = annotations.and_then(|all| all.get(IDLE_TIMEOUT));
        let seconds = text.map(|text| text.trim().parse::<u32>().ok().filter(|seconds| *seconds > 0));
        let (set, because) = match (seconds, text) {
            (Some(Some(seconds)), _) => (Duration::from_secs(seconds.into()), Because::Annotated),
            (Some(None), Some(text)) => (IDLE_TIMEOUT_DEFAULT, Because::Unreadable(text.clone())),
            (_, None) | (None, Some(_)) => (IDLE_TIMEOUT_DEFAULT, Because::Absent),
        };
        Self { set, because, time_scale }
    }

    /// How long it is in the rehearsal.
    #[must_use]
    pub fn acts(&self) -> Duration {
        self.set / self.time_scale.max(1)
    }

    /// What a report says about it.
    #[must_use]
    pub fn told(&self, ingress: &str) -> String {
        let set = duration::text(self.set);
        let because = match &self.because {
            Because::Annotated => "as its annotation says".to_owned(),
            Because::Absent => "nginx's default, since it has no annotation".to_owned(),
            Because::Unreadable(text) => format!("nginx's default, since its annotation is `{text}`"),
        };
        let scaled = match self.time_scale {
            0 | 1 => String::new(),
            scale => format!("; time is scaled: it acts as {}, {scale} times shorter", duration::text(self.acts())),
        };
        format!(
            "the load balancer of ingress `{ingress}` closes connections that are idle for {set} ({because}){scaled}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_is_what_nginx_would_make_of_the_annotation() {
        let check = |text: Option<&str>, seconds: u64, because: Because| {
            let annotations = text.map(|text| BTreeMap::from([(IDLE_TIMEOUT.to_owned(), text.to_owned())]));
            let read = IdleTimeout::read(annotations.as_ref(), 10);
            let set = Duration::from_secs(seconds);
            assert_eq!(read, IdleTimeout { set, because, time_scale: 10 }, "{text:?}");
            assert_eq!(read.acts(), set / 10);
        };
        check(Some("300"), 300, Because::Annotated);
        check(Some(" 61 "), 61, Because::Annotated);
        check(None, 60, Because::Absent);
        check(Some("5m"), 60, Because::Unreadable("5m".to_owned()));
        check(Some("0"), 60, Because::Unreadable("0".to_owned()));
        check(Some("-1"), 60, Because::Unreadable("-1".to_owned()));
    }

    #[test]
    fn a_report_says_when_time_is_scaled() {
        let told = |time_scale| IdleTimeout::read(None, time_scale).told("web");
        assert!(told(10).ends_with("idle for 1m (nginx's default, since it has no annotation); time is scaled: it acts as 6s, 10 times shorter"), "{}", told(10));
        assert!(told(1).ends_with("since it has no annotation)"), "{}", told(1));
    }
}
