//! The node's own channel, beside the Kubernetes API: signals from outside a container.
//!
//! `POST /gameday/v1/namespaces/NS/pods/POD/signal` with `{"signal": "SIGSTOP", "container": "redis"}`
//! does what `docker exec NODE kill` does on a cluster whose nodes are containers: a process
//! inside the pod could not signal its own PID 1 so.

use rustix::process::Signal;
use serde_json::json;

use crate::api::Api;
use crate::api::body;
use crate::api::respond::{self, Answer};
use crate::kinds;
use crate::node::ContainerRef;
use crate::object::Key;
use crate::status::Status;

/// Signals the container; the only one of the pod where none is named.
pub(super) fn signal(api: &Api, namespace: &str, pod: &str, bytes: &[u8]) -> Result<Answer, Status> {
    let wish = body::decode_json(bytes).map_err(Status::bad_request)?;
    let named = wish["signal"].as_str().unwrap_or_default();
    let signal = parse(named).ok_or_else(|| {
        let message =
            format!("signal \"{named}\" is not known: one of SIGHUP, SIGINT, SIGTERM, SIGKILL, SIGSTOP, SIGCONT");
        Status::bad_request(message)
    })?;
    let object = api.store.get(&Key::new(&kinds::POD, namespace, pod));
    let object = object.ok_or_else(|| Status::not_found(&kinds::POD, pod))?;
    let container = crate::api::log::choose_container(&object, wish["container"].as_str())?;
    let container = ContainerRef { namespace: namespace.to_owned(), pod: pod.to_owned(), container };
    api.node.signal(&container, signal)?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    Ok(respond::object(200, &done))
}

fn parse(name: &str) -> Option<Signal> {
    Some(match name {
        "SIGHUP" => Signal::HUP,
        "SIGINT" => Signal::INT,
        "SIGTERM" => Signal::TERM,
        "SIGKILL" => Signal::KILL,
        "SIGSTOP" => Signal::STOP,
        "SIGCONT" => Signal::CONT,
        _ => return None,
    })
}
