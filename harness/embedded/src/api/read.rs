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
use crate::api::view::{Page, View};
use crate::object;
use crate::status::Status;
use crate::store::Store;

/// How long a read of a resource version from the future waits for it, as in Kubernetes.
const FUTURE_MAX: Duration = Duration::from_secs(3);

/// `GET` of one object.
pub(super) async fn get(api: &Api, place: &Place, query: &Query, view: View) -> Result<Answer, Status> {
    if let Some(version) = query.get("resourceVersion") {
        let version = version.parse().map_err(|_| Status::internal(bad_version(version)))?;
        reach(&api.store, version, true).await?;
    }
    let key = place.key();
    let object = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    Ok(respond::object(200, view.encoding, &view.one(key.kind, &object)?))
}

/// `GET` of a collection, in pages where `limit` asks for them.
pub(super) async fn list(api: &Api, place: &Place, query: &Query, view: View) -> Result<Answer, Status> {
    let filter = Filter::parse(place.kind, query)?;
    let (objects, page) = select(api, place, query, &filter).await?;
    Ok(respond::object(200, view.encoding, &view.list(place.kind, &objects, &page)?))
}

/// The objects that a list or a deletion of a collection is about.
pub(super) async fn select(
    api: &Api,
    place: &Place,
    query: &Query,
    filter: &Filter,
) -> Result<(Vec<Arc<Value>>, Page), Status> {
    let limit = query.integer("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
    let namespace = place.namespace.as_deref();
    let wanted = wanted_version(query)?;
    if query.get("continue").is_some() && wanted.is_some() {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let token = query.get("continue").map(Token::parse).transpose()?;
    let (mut objects, version) = match (&token, wanted) {
        (Some(token), _) => {
            let too_old = "The provided continue parameter is too old to display a consistent list result.";
            let objects = api.store.list_at(place.kind, namespace, token.version);
            (objects.map_err(|_| Status::new(410, "Expired", too_old))?, token.version)
        }
        (None, Some((version, Match::Exact))) => {
            reach(&api.store, version, false).await?;
            let too_old = "The resourceVersion for the provided list is too old.";
            let objects = api.store.list_at(place.kind, namespace, version);
            (objects.map_err(|_| Status::new(410, "Expired", too_old))?, version)
        }
        (None, Some((version, Match::NotOlderThan))) => {
            reach(&api.store, version, true).await?;
            api.store.list(place.kind, namespace)
        }
        (None, None) => api.store.list(place.kind, namespace),
    };
    objects.retain(|object| filter.matches(object) && token.as_ref().is_none_or(|token| token.is_before(object)));
    let mut page = Page { version, next: None, remaining: None };
    if limit > 0 && objects.len() > limit {
        let left = objects.split_off(limit);
        page.next = objects.last().map(|last| Token::after(version, last));
        page.remaining = filter.is_empty().then_some(left.len());
    }
    Ok((objects, page))
}

/// What `resourceVersionMatch` asks for.
enum Match {
    NotOlderThan,
    Exact,
}

fn wanted_version(query: &Query) -> Result<Option<(u64, Match)>, Status> {
    let version = query.get("resourceVersion");
    let wanted = query.get("resourceVersionMatch");
    let forbidden = |why: &str| {
        Err(invalid("ListOptions", "FieldValueForbidden", "resourceVersionMatch", format!("Forbidden: {why}")))
    };
    let Some(text) = version else {
        return match wanted {
            Some(_) => forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"),
            None => Ok(None),
        };
    };
    let matching = match (wanted, text) {
        (Some("Exact"), "0") => {
            return forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        (Some("Exact"), _) => Match::Exact,
        (None | Some("NotOlderThan"), _) => Match::NotOlderThan,
        (Some(other), _) => {
            let message = format!("Unsupported value: \"{other}\": supported values: \"Exact\", \"NotOlderThan\"");
            return Err(invalid("ListOptions", "FieldValueNotSupported", "resourceVersionMatch", message));
        }
    };
    let version =
        text.parse().map_err(|_| Status::bad_request(format!("invalid resource version: {}", bad_version(text))))?;
    Ok(Some((version, matching)))
}

/// The sentence for a resource version that is not a number.
pub(super) fn bad_version(text: &str) -> String {
    format!("resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax")
}

/// Waits until the store is at this version, and gives up after [`FUTURE_MAX`].
async fn reach(store: &Store, version: u64, retry: bool) -> Result<(), Status> {
    let reached = store.changed_after(version.saturating_sub(1));
    if tokio::time::timeout(FUTURE_MAX, reached).await.is_ok() {
        return Ok(());
    }
    let current = store.version();
    let message = format!("Timeout: Too large resource version: {version}, current: {current}");
    let mut status = Status::new(504, "Timeout", message);
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    status.details = json!({"causes": [cause]});
    if retry {
        status.details["retryAfterSeconds"] = 1.into();
    }
    Err(status)
}

/// Where the next page begins: after this object, in the list of that version.
struct Token {
    version: u64,
    namespace: String,
    name: String,
}

impl Token {
    fn after(version: u64, last: &Value) -> String {
        format!("{version}~{}~{}", object::namespace(last), object::name(last))
    }

    fn parse(text: &str) -> Result<Self, Status> {
        let mut parts = text.splitn(3, '~');
        let version = parts.next().and_then(|version| version.parse().ok());
        match (version, parts.next(), parts.next()) {
            (Some(version), Some(namespace), Some(name)) => {
                Ok(Self { version, namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(Status::bad_request("invalid continue token: continue key is not valid")),
        }
    }

    fn is_before(&self, object: &Value) -> bool {
        (self.namespace.as_str(), self.name.as_str()) < (object::namespace(object), object::name(object))
    }
}
