//! The metric check: a Prometheus metric of every pod of the workload, summed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::door::{Door, Failure, api_status};
use super::http::{self, Connection};
use super::increase::Increase;
use super::judge::Answer;
use super::{MetricCheck, MetricRule, Pods};
use crate::clock::RunClock;
use crate::event::Offset;
use crate::load::table::SocketTable;
use crate::scenario::plan::WorkloadRef;

/// How long a server may take to notice that one of its sockets was opened or closed.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// A metric check: one series, whichever pods there are.
pub(crate) struct MetricLook {
    pub(crate) door: Door,
    /// Pods' places are below it.
    pub(crate) namespace: String,
    pub(crate) port: u16,
    pub(crate) workload: WorkloadRef,
    pub(crate) check: MetricCheck,
    pub(crate) pods: watch::Receiver<Pods>,
    pub(crate) table: Arc<SocketTable>,
    pub(crate) clock: RunClock,
    /// Connections to the API server, by uid of the pod.
    pub(crate) kept: Mutex<HashMap<String, Connection>>,
    /// What the rule [`MetricRule::Increase`] has read.
    pub(crate) increase: Mutex<Increase>,
}

/// A pod that is asked.
struct Asked {
    name: String,
    uid: String,
    leaving: bool,
}

impl MetricLook {
    /// One look; the value is the sum, or the increase.
    ///
    /// # Errors
    /// [`Failure`] where it cannot be read, and where it breaks its rule.
    pub(crate) async fn look(&self) -> Answer {
        let pods = self.asked();
        if pods.is_empty() {
            return Err(Failure::Theirs("no pod".to_owned()));
        }
        let from = self.clock.now();
        let readings = join_all(pods.iter().map(|pod| self.read(pod))).await;
        let mut read = Vec::new();
        for (pod, reading) in pods.iter().zip(readings) {
            match reading {
                Ok(value) => read.push((pod.uid.as_str(), value)),
                // Whoever does not answer on its way out holds nothing any more; neither does a pod
                // whose process is dead, which is for a rule to judge.
                Err(Failure::Theirs(_)) if pod.leaving || self.check.rule != MetricRule::OpenSockets => {}
                Err(Failure::Theirs(reason)) => return Err(Failure::Theirs(format!("pod {}: {reason}", pod.name))),
                Err(failure @ Failure::Ours(_)) => return Err(failure),
            }
        }
        // Not `sum`, which makes -0 of nothing.
        let sum = read.iter().fold(0.0, |sum, (_, value)| sum + value);
        Ok(Some(match self.check.rule {
            MetricRule::Any => sum.to_string(),
            MetricRule::Increase => self.increase().read(from, &read).to_string(),
            MetricRule::OpenSockets => {
                let earlier = Offset::from_duration(from.since(Offset::ZERO).saturating_sub(NOTICED_WITHIN));
                counts(&self.check.name, sum, self.table.open_since(earlier)).map_err(Failure::Theirs)?;
                sum.to_string()
            }
        }))
    }

    fn asked(&self) -> Vec<Asked> {
        let pods = self.pods.borrow();
        let ours = pods.iter().filter(|pod| pod.workload.as_ref() == Some(&self.workload) && pod.phase == "Running");
        // A reading is of the pods that stay, so that it falls when one leaves; sockets are counted
        // wherever they still are.
        let counts_leaving = self.check.rule == MetricRule::OpenSockets;
        ours.filter(|pod| counts_leaving || !pod.terminating)
            .map(|pod| Asked { name: pod.name.clone(), uid: pod.uid.clone(), leaving: pod.terminating })
            .collect()
    }

    async fn read(&self, pod: &Asked) -> Result<f64, Failure> {
        let place = format!("/api/v1/namespaces/{}/pods/{}:{}/proxy", self.namespace, pod.name, self.port);
        let kept = self.kept().remove(&pod.uid);
        let path = format!("{place}{}", self.check.path);
        let (reply, connection) = http::exchange(&self.door, &path, kept).await?;
        self.kept().insert(pod.uid.clone(), connection);
        let status = reply.status.as_u16();
        if let Some(failure) = api_status(status, &reply.body) {
            return Err(failure);
        }
        if status != 200 {
            return Err(Failure::Theirs(format!("{status} in place of metrics")));
        }
        let text = String::from_utf8_lossy(&reply.body);
        let absent = (self.check.rule == MetricRule::Increase).then_some(0.0);
        let value = reading(&text, &self.check.name, &self.check.labels).or(absent);
        value.ok_or_else(|| Failure::Theirs(format!("no metric `{}` of that sort", self.check.name)))
    }

    fn increase(&self) -> std::sync::MutexGuard<'_, Increase> {
        // Nothing that can panic runs while it is held.
        self.increase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, Connection>> {
        // Nothing that can panic runs while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a number of sockets can be right, where so many may rightly be open.
fn counts(name: &str, sum: f64, (fewest, most): (u32, u32)) -> Result<(), String> {
    let range = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    if sum > f64::from(most) {
        Err(format!("{name} is {sum}, and {range} are open: it counts sockets that nobody has"))
    } else if sum < f64::from(fewest) {
        Err(format!("{name} is {sum}, and {range} are open: it does not count them all"))
    } else {
        Ok(())
    }
}

/// The sum over all series of a metric that have all of these labels; `None` where there is none.
/// The text format is `name{label="value",…} value [timestamp]`, one series a line.
fn reading(text: &str, name: &str, labels: &BTreeMap<String, String>) -> Option<f64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        let (inside, rest) = match rest.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')) {
            Some((inside, rest)) => (inside, rest),
            None if rest.starts_with([' ', '\t']) => ("", rest),
            // A longer name.
            None => continue,
        };
        let has = |(label, value): (&String, &String)| {
            let wanted = format!("{label}=\"{value}\"");
            inside.match_indices(&wanted).any(|(place, _)| place == 0 || inside[..place].ends_with([',', ' ']))
        };
        let value = rest.split_whitespace().next().and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value.filter(|value| value.is_finite() && labels.iter().all(has)) {
            sum = Some(sum.unwrap_or(0.0) + value);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP websocket_active_connections Open WebSockets
# TYPE websocket_active_connections gauge
websocket_active_connections 67
websocket_active_connections_max 100
websocket_errors_total{error_type=\"receive\"} 3
websocket_errors_total{error_type=\"send\",other_error_type=\"receive\"} 4 1700000000000
websocket_errors_total{error_type=\"odd } brace\"} 5
broken_total NaN
";

    #[test]
    fn series_of_one_name_are_summed() {
        let check = |name: &str, labels: &[(&str, &str)], expect: Option<f64>| {
            let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
            assert_eq!(reading(TEXT, name, &labels), expect, "{name} {labels:?}");
        };
        check("websocket_active_connections", &[], Some(67.0));
        check("websocket_errors_total", &[], Some(12.0));
        check("websocket_errors_total", &[("error_type", "receive")], Some(3.0));
        check("websocket_errors_total", &[("error_type", "odd } brace")], Some(5.0));
        check("websocket_errors_total", &[("error_type", "receive"), ("a", "b")], None);
        check("websocket_errors", &[], None);
        check("broken_total", &[], None);
        check("absent", &[], None);
    }

    #[test]
    fn a_server_counts_what_is_open_and_nothing_else() {
        let check = |sum: f64, range: (u32, u32), expect: Option<&str>| {
            let wrong = counts("active", sum, range).err();
            assert_eq!(wrong.as_deref(), expect, "{sum} in {range:?}");
        };
        check(200.0, (200, 200), None);
        check(133.0, (133, 203), None);
        check(203.0, (200, 203), None);
        check(204.0, (200, 203), Some("active is 204, and 200 to 203 are open: it counts sockets that nobody has"));
        check(199.0, (200, 200), Some("active is 199, and 200 are open: it does not count them all"));
    }
}
