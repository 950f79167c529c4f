//! What probes are, and when their results count.

use std::time::Duration;

use serde_json::Value;

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// The field of the container that has it.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Startup => "startupProbe",
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
        }
    }

    /// As it begins a sentence.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// How a probe looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handler {
    Http { host: Option<String>, port: u16, path: String, headers: Vec<(String, String)>, tls: bool },
    Tcp { host: Option<String>, port: u16 },
    Exec { command: Vec<String> },
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) handler: Handler,
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) success_threshold: u32,
    pub(super) failure_threshold: u32,
}

impl Probe {
    /// The container's probe of this kind, with Kubernetes' defaults.
    #[must_use]
    pub(super) fn of(container: &Value, kind: ProbeKind) -> Option<Self> {
        let probe = container.get(kind.field()).filter(|probe| !probe.is_null())?;
        let seconds = |key: &str, default: u64| Duration::from_secs(probe[key].as_u64().unwrap_or(default));
        let count = |key: &str, default: u32| {
            probe[key]
                .as_u64()
                .and_then(|count| u32::try_from(count).ok())
                .filter(|count| *count > 0)
                .unwrap_or(default)
        };
        Some(Self {
            handler: Handler::of(container, probe)?,
            initial_delay: seconds("initialDelaySeconds", 0),
            period: seconds("periodSeconds", 10).max(Duration::from_secs(1)),
            timeout: seconds("timeoutSeconds", 1).max(Duration::from_secs(1)),
            success_threshold: count("successThreshold", 1),
            failure_threshold: count("failureThreshold", 3),
        })
    }
}

impl Handler {
    /// The handler in a probe or a lifecycle hook; named ports are the container's.
    #[must_use]
    pub(super) fn of(container: &Value, from: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(command) = from["exec"]["command"].as_array() {
            let command = command.iter().map(|word| word.as_str().unwrap_or_default().to_owned()).collect();
            return Some(Self::Exec { command });
        }
        if let Some(get) = from.get("httpGet").filter(|get| get.is_object()) {
            let headers = get["httpHeaders"].as_array().into_iter().flatten();
            let headers =
                headers.filter_map(|header| Some((text(&header["name"])?, text(&header["value"]).unwrap_or_default())));
            let path = text(&get["path"]).unwrap_or_else(|| "/".to_owned());
            return Some(Self::Http {
                host: text(&get["host"]),
                port: port(container, &get["port"])?,
                path: if path.starts_with('/') { path } else { format!("/{path}") },
                headers: headers.collect(),
                tls: get["scheme"] == "HTTPS",
            });
        }
        let tcp = from.get("tcpSocket").filter(|tcp| tcp.is_object())?;
        Some(Self::Tcp { host: text(&tcp["host"]), port: port(container, &tcp["port"])? })
    }
}

fn port(container: &Value, value: &Value) -> Option<u16> {
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    number(value).or_else(|| {
        let name = value.as_str()?;
        let mut ports = container["ports"].as_array().into_iter().flatten();
        let named = ports.find(|port| port["name"] == name).and_then(|port| number(&port["containerPort"]));
        named.or_else(|| name.parse().ok())
    })
}

/// Counts results until they count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Streak {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    length: u32,
}

impl Streak {
    /// Nothing seen yet.
    pub(super) fn new(probe: &Probe) -> Self {
        let (success_threshold, failure_threshold) = (probe.success_threshold, probe.failure_threshold);
        Self { success_threshold, failure_threshold, last: None, length: 0 }
    }

    /// Takes one result; returns what the probe says now, or `None` where too few equal
    /// results have come in a row.
    #[must_use]
    pub(super) fn push(&mut self, good: bool) -> Option<bool> {
        self.length = if self.last == Some(good) { self.length.saturating_add(1) } else { 1 };
        self.last = Some(good);
        let threshold = if good { self.success_threshold } else { self.failure_threshold };
        (self.length >= threshold).then_some(good)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn probe(success: u64, failure: u64) -> Probe {
        let probe = json!({"tcpSocket": {"port": 1}, "successThreshold": success, "failureThreshold": failure});
        Probe::of(&json!({"readinessProbe": probe}), ProbeKind::Readiness).unwrap()
    }

    #[test]
    fn results_count_from_the_threshold_on() {
        // `+` and `-` are results; the answer is what the probe says after each: `.` is nothing new.
        let rows = [
            (1, 3, "---", "..-"),
            (1, 3, "--+--", "..+.."),
            (1, 3, "----", "..--"),
            (2, 1, "+-++", ".-.+"),
            (3, 2, "+++--", "..+.-"),
            (1, 1, "+-+", "+-+"),
        ];
        for (success, failure, results, expect) in rows {
            let mut streak = Streak::new(&probe(success, failure));
            let said: String = results
                .chars()
                .map(|result| match streak.push(result == '+') {
                    Some(true) => '+',
                    Some(false) => '-',
                    None => '.',
                })
                .collect();
            assert_eq!(said, expect, "{success}/{failure} {results}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_result_counts_exactly_when_a_threshold_of_equals_ends_in_it(
            success in 1_u64..4, failure in 1_u64..4, results in proptest::collection::vec(proptest::bool::ANY, 0..30),
        ) {
            let mut streak = Streak::new(&probe(success, failure));
            for (place, good) in results.iter().enumerate() {
                let threshold = usize::try_from(if *good { success } else { failure }).unwrap();
                let run = results[..=place].iter().rev().take_while(|other| *other == good).count();
                proptest::prop_assert_eq!(streak.push(*good), (run >= threshold).then_some(*good));
            }
        }
    }

    #[test]
    fn probes_have_kubernetes_defaults() {
        let container =
            json!({"livenessProbe": {"httpGet": {"port": "web"}}, "ports": [{"name": "web", "containerPort": 8000}]});
        let probe = Probe::of(&container, ProbeKind::Liveness).unwrap();
        let expect = Handler::Http { host: None, port: 8000, path: "/".to_owned(), headers: vec![], tls: false };
        assert_eq!(probe.handler, expect);
        let seconds = |duration: Duration| duration.as_secs();
        let times = (seconds(probe.initial_delay), seconds(probe.period), seconds(probe.timeout));
        assert_eq!((times, probe.success_threshold, probe.failure_threshold), ((0, 10, 1), 1, 3));
        assert_eq!(Probe::of(&container, ProbeKind::Readiness), None);
    }
}
