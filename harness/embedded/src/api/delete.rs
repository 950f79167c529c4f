//! Delete, of one object and of a collection.

use http::HeaderMap;
use serde_json::Value;

use crate::api::Api;
use crate::api::body;
use crate::api::options::dry_run;
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::read;
use crate::api::respond::{self, Answer};
use crate::api::selector::Filter;
use crate::api::view::{View, version_of};
use crate::controllers::{self, DeleteOptions, Deleted, Propagation};
use crate::object::Key;
use crate::status::Status;

/// What a client says about a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) options: DeleteOptions,
    pub(super) dry_run: bool,
}

impl Wish {
    /// `DeleteOptions` from the body, or from the query where there is no body.
    pub(super) fn parse(query: &Query, headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Status> {
        if bytes.is_empty() {
            return Self::of_query(query);
        }
        let mut wish = Self::of_object(&body::decode("DeleteOptions", headers, bytes)?)?;
        wish.dry_run |= dry_run("DeleteOptions", query.all("dryRun"))?;
        Ok(wish)
    }

    pub(super) fn of_object(object: &Value) -> Result<Self, Status> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let mut propagation = object["propagationPolicy"].as_str().map(propagation).transpose()?;
        if let Some(orphan) = object["orphanDependents"].as_bool() {
            propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        let dry = object["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(Self {
            options: DeleteOptions {
                grace_seconds: object["gracePeriodSeconds"].as_i64(),
                propagation,
                uid: text(&object["preconditions"]["uid"]),
                resource_version: text(&object["preconditions"]["resourceVersion"]),
            },
            dry_run: dry_run("DeleteOptions", dry)?,
        })
    }

    fn of_query(query: &Query) -> Result<Self, Status> {
        let mut propagation = query.get("propagationPolicy").map(propagation).transpose()?;
        if let Some(orphan) = query.flag_given("orphanDependents") {
            propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        let grace_seconds = query.integer("gracePeriodSeconds")?;
        let options = DeleteOptions { grace_seconds, propagation, uid: None, resource_version: None };
        Ok(Self { options, dry_run: dry_run("DeleteOptions", query.all("dryRun"))? })
    }
}

/// `DELETE` of one object.
pub(super) fn delete(api: &Api, place: &Place, wish: &Wish, view: View) -> Result<Answer, Status> {
    let key = place.key();
    let deleted = delete_key(api, &key, wish)?;
    let body = match deleted {
        Deleted::Object(object) => view.one(key.kind, &std::sync::Arc::new(object))?,
        Deleted::Gone(status) => status,
    };
    Ok(respond::object(200, view.encoding, &body))
}

/// Deletes by key; under a dry run on a copy of the objects.
pub(super) fn delete_key(api: &Api, key: &Key, wish: &Wish) -> Result<Deleted, Status> {
    if wish.dry_run {
        return controllers::delete(&api.store.fork(), key, &wish.options);
    }
    controllers::delete(&api.store, key, &wish.options)
}

/// `DELETE` of a collection: answers with what was there.
pub(super) async fn delete_all(
    api: &Api,
    place: &Place,
    query: &Query,
    wish: &Wish,
    view: View,
) -> Result<Answer, Status> {
    let filter = Filter::parse(place.kind, query)?;
    let (objects, mut page) = read::select(api, place, query, &filter).await?;
    for object in &objects {
        match delete_key(api, &Key::of(place.kind, object), wish) {
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            result => _ = result?,
        }
    }
    page.version = objects.iter().map(|object| version_of(object)).max().unwrap_or(page.version).max(page.version);
    Ok(respond::object(200, view.encoding, &view.list(place.kind, &objects, &page)?))
}

fn propagation(policy: &str) -> Result<Propagation, Status> {
    match policy {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => {
            let message = format!(
                "Unsupported value: \"{other}\": supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\""
            );
            Err(crate::api::options::invalid("DeleteOptions", "FieldValueNotSupported", "propagationPolicy", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_from_the_body_or_the_query() {
        let check = |query: &str, body: &str, expected: (Option<i64>, Option<Propagation>, bool)| {
            let query = Query::parse(&format!("/x?{query}").parse().unwrap()).unwrap();
            let wish = Wish::parse(&query, &HeaderMap::new(), body.as_bytes()).unwrap();
            let found = (wish.options.grace_seconds, wish.options.propagation, wish.dry_run);
            assert_eq!(found, expected, "{query:?} {body}");
        };
        check("", "", (None, None, false));
        check("gracePeriodSeconds=0&propagationPolicy=Orphan", "", (Some(0), Some(Propagation::Orphan), false));
        check("dryRun=All", "", (None, None, true));
        check(
            "",
            r#"{"gracePeriodSeconds":5,"propagationPolicy":"Foreground"}"#,
            (Some(5), Some(Propagation::Foreground), false),
        );
        check("dryRun=All", r#"{"orphanDependents":true}"#, (None, Some(Propagation::Orphan), true));
        check("", r#"{"dryRun":["All"],"orphanDependents":false}"#, (None, Some(Propagation::Background), true));
    }

    #[test]
    fn preconditions_are_read() {
        let wish =
            Wish::of_object(&serde_json::json!({"preconditions": {"uid": "u", "resourceVersion": "7"}})).unwrap();
        assert_eq!((wish.options.uid.as_deref(), wish.options.resource_version.as_deref()), (Some("u"), Some("7")));
    }
}
