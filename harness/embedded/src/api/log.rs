//! The log of a container.

mod cri;
mod reader;

use std::path::Path;

use serde_json::Value;

use crate::api::Api;
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::respond::{self, Answer};
use crate::object::{self, Key};
use crate::status::{Cause, Status};
use crate::store::Store;
use reader::Reader;

/// What of the log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<u64>,
    since: Option<jiff::Timestamp>,
    limit_bytes: Option<u64>,
}

/// `GET` of a pod's log.
pub(super) async fn log(api: &Api, place: &Place, query: &Query) -> Result<Answer, Status> {
    let key = place.key();
    let options = Options::parse(&key.name, query, jiff::Timestamp::now())?;
    let pod = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    let container = choose_container(&pod, query.get("container"))?;
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Ok(respond::no_content(204));
    }
    check_started(&pod, &container, options.previous)?;
    let Some(path) = api.node.log_file(object::uid(&pod), &container, options.previous) else {
        return Ok(unavailable(&pod, &container));
    };
    let run = options.follow.then(|| Run::of(api.store.clone(), key, &pod, container));
    open(&path, options, run).await
}

async fn open(path: &Path, options: Options, run: Option<Run>) -> Result<Answer, Status> {
    let reader = Reader::open(path, options, run).await;
    let reader = reader.map_err(|error| Status::internal(format!("failed to open the log: {error}")))?;
    let pieces = futures_util::stream::unfold(reader, |mut reader| async move {
        let piece = reader.next().await.transpose()?;
        Some((piece, reader))
    });
    Ok(respond::stream("text/plain", pieces))
}

/// The kubelet answers so where the run's log is gone.
fn unavailable(pod: &Value, container: &str) -> Answer {
    let status = container_status(pod, container);
    let id = status["containerID"].as_str().unwrap_or_default();
    respond::with_body(200, "text/plain", respond::full(format!("unable to retrieve container logs for {id}")))
}

/// The container that is meant: the named one, or the only one.
pub(super) fn choose_container(pod: &Value, named: Option<&str>) -> Result<String, Status> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let names: Vec<&str> = containers.filter_map(|container| container["name"].as_str()).collect();
    let pod = object::name(pod);
    match (named.filter(|name| !name.is_empty()), &names[..]) {
        (Some(name), _) if names.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => Err(Status::bad_request(format!("container {name} is not valid for pod {pod}"))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => {
            let choices = names.join(" ");
            let message = format!("a container name must be specified for pod {pod}, choose one of: [{choices}]");
            Err(Status::bad_request(message))
        }
    }
}

fn container_status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let mut all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    all.find(|status| status["name"] == container).unwrap_or(&Value::Null)
}

/// 400 where there is nothing to read yet, worded as the kubelet words it.
fn check_started(pod: &Value, container: &str, previous: bool) -> Result<(), Status> {
    let status = container_status(pod, container);
    let has_last = status["lastState"]["terminated"].is_object();
    let name = object::name(pod);
    let refuse = |message: String| Err(Status::bad_request(message));
    if previous {
        return if has_last {
            Ok(())
        } else {
            refuse(format!("previous terminated container \"{container}\" in pod \"{name}\" not found"))
        };
    }
    let state = &status["state"];
    if state["running"].is_object() || state["terminated"].is_object() || has_last {
        return Ok(());
    }
    let why = match state["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => return refuse(format!("container \"{container}\" in pod \"{name}\" is not available")),
    };
    refuse(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}"))
}

/// The run of a container that a log is followed for.
struct Run {
    store: Store,
    key: Key,
    uid: String,
    container: String,
    container_id: Value,
}

impl Run {
    fn of(store: Store, key: Key, pod: &Value, container: String) -> Self {
        let container_id = container_status(pod, &container)["containerID"].clone();
        Self { store, key, uid: object::uid(pod).to_owned(), container, container_id }
    }

    /// Whether this very run is still on.
    fn is_on(&self) -> bool {
        let pod = self.store.get(&self.key).filter(|pod| object::uid(pod) == self.uid);
        pod.is_some_and(|pod| {
            let status = container_status(&pod, &self.container);
            status["state"]["running"].is_object() && status["containerID"] == self.container_id
        })
    }
}

impl Options {
    fn parse(pod: &str, query: &Query, now: jiff::Timestamp) -> Result<Self, Status> {
        let invalid = |field: &str, message: String| {
            let reason = if message.starts_with("Forbidden") { "FieldValueForbidden" } else { "FieldValueInvalid" };
            let cause = Cause { reason, message, field: field.to_owned() };
            Err(Status::invalid_options("", "PodLogOptions", pod, &[cause]))
        };
        let (tail, limit) = (query.integer("tailLines")?, query.integer("limitBytes")?);
        let (seconds, time) = (query.integer("sinceSeconds")?, query.get("sinceTime"));
        if query.get("stream").is_some_and(|stream| stream != "All") {
            return invalid("stream", "Forbidden: may not be specified".to_owned());
        }
        if let Some(tail) = tail.filter(|tail| *tail < 0) {
            return invalid("tailLines", format!("Invalid value: {tail}: must be greater than or equal to 0"));
        }
        for (field, value) in [("limitBytes", limit), ("sinceSeconds", seconds)] {
            if let Some(value) = value.filter(|value| *value <= 0) {
                return invalid(field, format!("Invalid value: {value}: must be greater than 0"));
            }
        }
        if seconds.is_some() && time.is_some() {
            let message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
            return invalid("[]", message.to_owned());
        }
        let ago = seconds
            .map(|seconds| now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MIN));
        let time = time.map(|text| {
            let parsed: Result<jiff::Timestamp, _> = text.parse();
            parsed.map_err(|error| Status::bad_request(format!("sinceTime: {error}")))
        });
        Ok(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            tail_lines: tail.and_then(|tail| u64::try_from(tail).ok()),
            since: ago.or(time.transpose()?),
            limit_bytes: limit.and_then(|limit| u64::try_from(limit).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_are_chosen_as_recorded() {
        let pod = json!({"metadata": {"name": "two"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let one = json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c"}]}});
        let check = |pod: &Value, named: Option<&str>, expected: Result<&str, &str>| {
            let chosen = choose_container(pod, named).map_err(|status| status.message);
            assert_eq!(chosen.as_deref().map_err(String::as_str), expected);
        };
        check(&one, None, Ok("c"));
        check(&one, Some("c"), Ok("c"));
        check(&one, Some("none"), Err("container none is not valid for pod p"));
        check(&pod, Some("b"), Ok("b"));
        check(&pod, None, Err("a container name must be specified for pod two, choose one of: [a b]"));
    }

    #[test]
    fn waiting_containers_have_no_log() {
        let check = |status: Value, previous: bool, expected: Result<(), &str>| {
            let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}});
            let checked = check_started(&pod, "c", previous).map_err(|status| status.message);
            assert_eq!(checked.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text));
        };
        let waiting = |reason: &str| json!({"name": "c", "state": {"waiting": {"reason": reason}}});
        check(
            waiting("ContainerCreating"),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
        );
        check(
            waiting("ErrImagePull"),
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
        );
        check(json!({"name": "c", "state": {"running": {}}}), false, Ok(()));
        check(
            json!({"name": "c", "state": {"running": {}}}),
            true,
            Err("previous terminated container \"c\" in pod \"p\" not found"),
        );
        check(
            json!({"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {}}}),
            false,
            Ok(()),
        );
    }

    #[test]
    fn options_are_refused_as_recorded() {
        let check = |text: &str, code: u16, expected: &str| {
            let query = Query::parse(&format!("/x?{text}").parse().unwrap()).unwrap();
            let refused = Options::parse("p", &query, jiff::Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (code, expected));
        };
        check(
            "tailLines=-1",
            422,
            "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            "sinceSeconds=0",
            422,
            "PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0",
        );
        check(
            "limitBytes=0",
            422,
            "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        );
        check("tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax");
        check("stream=Stderr", 422, "PodLogOptions \"p\" is invalid: stream: Forbidden: may not be specified");
        check(
            "sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z",
            422,
            "PodLogOptions \"p\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        );
    }
}
