//! The log check: how many lines of a workload's logs say something, since the check began.
//!
//! Lines are JSON objects. The first look finds the end of each log; from there on each log is
//! read on from its last line that was seen, by the kubelet's own time stamps. So a look costs
//! what is new, and no clock of ours is held against one of a node. The log of a pod that comes
//! later is read from its beginning.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, watch};

use super::door::{Door, Failure};
use super::http::{Connection, exchange};
use super::{LogCheck, Pods};
use crate::event::PodFacts;

/// The logs of a workload: one series, however many pods it has.
pub(crate) struct LogLook {
    pub(crate) door: Door,
    pub(crate) namespace: String,
    pub(crate) check: LogCheck,
    pub(crate) pods: watch::Receiver<Pods>,
    reading: Mutex<Reading>,
}

/// How far the logs have been read.
#[derive(Default)]
struct Reading {
    kept: Option<Connection>,
    matching: u64,
    /// Whether the ends of the logs have been found.
    begun: bool,
    /// Time stamp of each pod's last line, by uid.
    last: BTreeMap<String, Timestamp>,
}

impl LogLook {
    pub(crate) fn new(door: Door, namespace: String, check: LogCheck, pods: watch::Receiver<Pods>) -> Self {
        Self { door, namespace, check, pods, reading: Mutex::default() }
    }

    /// One look; the value is the number of matching lines so far.
    ///
    /// # Errors
    /// [`Failure::Ours`] where a log could not be read: it says nothing about the system.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        // Two looks at once would count a line twice.
        let mut reading = self.reading.lock().await;
        let pods: Vec<PodFacts> = {
            let pods = self.pods.borrow();
            pods.iter().filter(|pod| pod.workload.as_ref() == Some(&self.check.of)).cloned().collect()
        };
        for pod in pods {
            self.read(&pod, &mut reading).await?;
        }
        reading.begun = true;
        Ok(Some(reading.matching.to_string()))
    }

    async fn read(&self, pod: &PodFacts, reading: &mut Reading) -> Result<(), Failure> {
        let last = reading.last.get(&pod.uid).copied();
        let part = match last {
            _ if !reading.begun => "&tailLines=1".to_owned(),
            // The API counts in whole seconds; what was seen already is told by its own stamp.
            Some(last) => format!("&sinceTime={}", whole_second(last)),
            None => String::new(),
        };
        let (namespace, name) = (&self.namespace, &pod.name);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/log?timestamps=true{part}");
        let (reply, connection) = exchange(&self.door, &path, reading.kept.take()).await.map_err(by_the_way)?;
        reading.kept = Some(connection);
        match reply.status.as_u16() {
            200 => {}
            // It has not started yet, or is gone.
            400 | 404 => return Ok(()),
            status => return Err(Failure::Ours(format!("API server: {status} in place of a log"))),
        }
        for (at, line) in String::from_utf8_lossy(&reply.body).lines().filter_map(stamped) {
            if last.is_none_or(|last| at > last) {
                reading.matching += u64::from(reading.begun && matches(line, &self.check.fields));
                reading.last.insert(pod.uid.clone(), at);
            }
        }
        Ok(())
    }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A log that cannot be read is nobody's failure but the way's.
fn by_the_way(failure: Failure) -> Failure {
    match failure {
        Failure::Ours(reason) | Failure::Theirs(reason) => Failure::Ours(reason),
    }
}

/// The kubelet's time stamp, and the line as the container wrote it.
fn stamped(line: &str) -> Option<(Timestamp, &str)> {
    let (stamp, line) = line.split_once(' ')?;
    Some((stamp.parse().ok()?, line))
}

/// Whether a line is a JSON object with these fields; a list names the values that one may have.
fn matches(line: &str, fields: &Map<String, Value>) -> bool {
    let Ok(line) = serde_json::from_str::<Map<String, Value>>(line) else { return false };
    fields.iter().all(|(name, expected)| {
        line.get(name).is_some_and(|found| match expected {
            Value::Array(any) => any.contains(found),
            one => one == found,
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_match_by_all_their_fields() {
        let check = |fields: Value, line: &str, expect: bool| {
            let Value::Object(fields) = fields else { panic!("fields are an object") };
            assert_eq!(matches(line, &fields), expect, "{fields:?} {line}");
        };
        let line = r#"{"level":"ERROR","logger":"llm","status":400,"error":"refused"}"#;
        check(json!({"level": "ERROR"}), line, true);
        check(json!({"level": "ERROR", "logger": "llm"}), line, true);
        check(json!({"level": "ERROR", "logger": "redis"}), line, false);
        check(json!({"status": [400, 401, 403]}), line, true);
        check(json!({"status": [429]}), line, false);
        check(json!({"status": "400"}), line, false);
        check(json!({"client_id": "a"}), line, false);
        check(json!({"level": "ERROR"}), "level=ERROR", false);
        check(json!({"level": "ERROR"}), "", false);
    }

    #[test]
    fn a_line_has_the_kubelets_stamp_before_it() {
        let (at, line) = stamped("2026-11-29T10:00:00.123456789Z {\"a\": 1}").unwrap();
        assert_eq!((at.to_string().as_str(), line), ("2026-11-29T10:00:00.123456789Z", "{\"a\": 1}"));
        assert!(stamped("unable to retrieve container logs for x").is_none());
    }
}
