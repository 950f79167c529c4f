//! Get and list.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::api::options::invalid;
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::respond::{self, Answer};
use crate::api::selector::Filter;
use crate::api::view::View;
use crate::object;
use crate::status::Status;
use crate::store::Store;

/// How long a read of a resource version from the future waits for it, as in Kubernetes.
const FUTURE_MAX: Duration = Duration::from_secs(3);

/// `GET` of one object.
pub(super) async fn get(api: &Api, place: &Place, query: &Query, view: View) -> Result<Answer, Status> {
    if let Some(version) = query.get("resourceVersion") {
        let version = version.parse().map_err(|_| Status::internal(bad_version(version)))?;
        reach(&api.store, version).await?;
    }
    let key = place.key();
    let object = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    Ok(respond::object(200, &view.one(key.kind, &object)))
}

/// `GET` of a collection, in pages where `limit` asks for them. A page is of the list of its own
/// moment, as on a real cluster whose list of the first page has been forgotten.
pub(super) async fn list(api: &Api, place: &Place, query: &Query, view: View) -> Result<Answer, Status> {
    let filter = Filter::parse(place.kind, query)?;
    let (mut objects, version) = select(api, place, query, &filter).await?;
    let token = |object: &Value| format!("{}~{}", object::namespace(object), object::name(object));
    if let Some(last) = query.get("continue") {
        objects.retain(|object| token(object).as_str() > last);
    }
    let limit = query.integer("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let left = objects.split_off(limit.unwrap_or(usize::MAX).min(objects.len()));
    let mut list = view.list(place.kind, &objects, version);
    if let Some(last) = objects.last().filter(|_| !left.is_empty()) {
        list["metadata"]["continue"] = token(last).into();
    }
    Ok(respond::object(200, &list))
}

/// The objects that a list or a deletion of a collection is about, and the version they are of.
pub(super) async fn select(
    api: &Api,
    place: &Place,
    query: &Query,
    filter: &Filter,
) -> Result<(Vec<Arc<Value>>, u64), Status> {
    if let Some(version) = least_version(query)? {
        reach(&api.store, version).await?;
    }
    let (mut objects, version) = api.store.list(place.kind, place.namespace.as_deref());
    objects.retain(|object| filter.matches(object));
    Ok((objects, version))
}

/// The version that the list must have reached. Lists of the past are refused.
fn least_version(query: &Query) -> Result<Option<u64>, Status> {
    let refuse = |reason, message: String| Err(invalid("ListOptions", reason, "resourceVersionMatch", message));
    match (query.get("resourceVersion"), query.get("resourceVersionMatch")) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
            refuse("FieldValueForbidden", why.to_owned())
        }
        (Some(text), None | Some("NotOlderThan")) => text
            .parse()
            .map(Some)
            .map_err(|_| Status::bad_request(format!("invalid resource version: {}", bad_version(text)))),
        (Some(_), Some(other)) => {
            let message = format!("Unsupported value: \"{other}\": supported values: \"NotOlderThan\"");
            refuse("FieldValueNotSupported", message)
        }
    }
}

/// The sentence for a resource version that is not a number.
pub(super) fn bad_version(text: &str) -> String {
    format!("resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax")
}

/// Waits until the store is at this version, and gives up after [`FUTURE_MAX`].
async fn reach(store: &Store, version: u64) -> Result<(), Status> {
    let reached = store.changed_after(version.saturating_sub(1));
    if tokio::time::timeout(FUTURE_MAX, reached).await.is_ok() {
        return Ok(());
    }
    let current = store.version();
    let message = format!("Timeout: Too large resource version: {version}, current: {current}");
    let mut status = Status::new(504, "Timeout", message);
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    status.details = json!({"causes": [cause], "retryAfterSeconds": 1});
    Err(status)
}
