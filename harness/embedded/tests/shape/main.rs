//! The shape of objects, pinned to recordings of a real Kubernetes 1.36.
#![expect(clippy::unwrap_used, reason = "functions that tests share may unwrap as tests do")]

mod apply;
mod objects;
mod patch;
mod properties;
mod support;
mod table;

use std::path::Path;

use embedded_cluster::kinds::{self, Kind};
use embedded_cluster::status::Status;
use serde_json::Value;

/// The rows of one file of recorded cases.
fn recorded(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/shape").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!rows.is_empty(), "{name} holds no rows");
    rows
}

fn kind_of(object: &Value) -> &'static Kind {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    kinds::by_kind(version, kind).unwrap_or_else(|| panic!("{version} {kind} is not served"))
}

/// The kind of a path such as `deployments/d`.
fn kind_at(path: &str) -> &'static Kind {
    let plural = path.split('/').next().unwrap();
    kinds::ALL.iter().find(|kind| kind.plural == plural).unwrap()
}

/// `managedFields` without times, which no recording shares with us.
fn timeless(managers: &Value) -> Value {
    let mut managers = managers.clone();
    for entry in managers.as_array_mut().into_iter().flatten() {
        let time = entry.as_object_mut().unwrap().remove("time");
        assert!(time.is_none_or(|time| time.is_string()));
    }
    managers
}

fn outcome(result: Result<(), Status>) -> (u64, String) {
    result.map_or_else(|status| (u64::from(status.code), status.message), |()| (200, String::new()))
}
