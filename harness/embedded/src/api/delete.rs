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
use crate::api::view::View;
use crate::controllers::{self, DeleteOptions, Deleted, Propagation};
use crate::object::Key;
use crate::status::Status;

/// `DeleteOptions` from the body, or from the query where there is no body, and whether they
/// ask for a dry run.
pub(super) fn options(query: &Query, headers: &HeaderMap, bytes: &[u8]) -> Result<(DeleteOptions, bool), Status> {
    let is_dry = dry_run("DeleteOptions", query.all("dryRun"))?;
    if !bytes.is_empty() {
        let (options, is_dry_too) = options_of(&body::decode("DeleteOptions", headers, bytes)?)?;
        return Ok((options, is_dry || is_dry_too));
    }
    let propagation = query.get("propagationPolicy").map(propagation).transpose()?;
    let grace_seconds = query.integer("gracePeriodSeconds")?;
    Ok((DeleteOptions { grace_seconds, propagation, ..DeleteOptions::default() }, is_dry))
}

/// The same from an object.
pub(super) fn options_of(object: &Value) -> Result<(DeleteOptions, bool), Status> {
    let dry = object["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_dry = dry_run("DeleteOptions", dry)?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut propagation = object["propagationPolicy"].as_str().map(propagation).transpose()?;
    if let Some(orphan) = object["orphanDependents"].as_bool() {
        propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
    }
    let options = DeleteOptions {
        grace_seconds: object["gracePeriodSeconds"].as_i64(),
        propagation,
        uid: text(&object["preconditions"]["uid"]),
        resource_version: text(&object["preconditions"]["resourceVersion"]),
    };
    Ok((options, is_dry))
}

/// `DELETE` of one object.
pub(super) fn delete(
    api: &Api,
    place: &Place,
    (options, is_dry): &(DeleteOptions, bool),
    view: View,
) -> Result<Answer, Status> {
    let key = place.key();
    let store = if *is_dry { &api.store.fork() } else { &api.store };
    let deleted = controllers::delete(store, &key, options)?;
    let body = match deleted {
        Deleted::Object(object) => view.one(key.kind, &std::sync::Arc::new(object)),
        Deleted::Gone(status) => status,
    };
    Ok(respond::object(200, &body))
}

/// `DELETE` of a collection: answers with what was there.
pub(super) async fn delete_all(
    api: &Api,
    place: &Place,
    query: &Query,
    (options, is_dry): &(DeleteOptions, bool),
    view: View,
) -> Result<Answer, Status> {
    let filter = Filter::parse(place.kind, query)?;
    let (objects, version) = read::select(api, place, query, &filter).await?;
    let store = if *is_dry { &api.store.fork() } else { &api.store };
    for object in &objects {
        match controllers::delete(store, &Key::of(place.kind, object), options) {
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            result => _ = result?,
        }
    }
    Ok(respond::object(200, &view.list(place.kind, &objects, version)))
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
        let parse = |query: &str, body: &str| {
            let query = Query::parse(&format!("/x?{query}").parse().unwrap()).unwrap();
            options(&query, &HeaderMap::new(), body.as_bytes())
        };
        let check = |query: &str, body: &str, expected: (Option<i64>, Option<Propagation>)| {
            let (found, is_dry) = parse(query, body).unwrap();
            assert_eq!(is_dry, query.contains("dryRun") || body.contains("dryRun"));
            assert_eq!((found.grace_seconds, found.propagation), expected, "{query} {body}");
        };
        check("", "", (None, None));
        check("gracePeriodSeconds=0&propagationPolicy=Orphan", "", (Some(0), Some(Propagation::Orphan)));
        let body = r#"{"gracePeriodSeconds":5,"propagationPolicy":"Foreground"}"#;
        check("", body, (Some(5), Some(Propagation::Foreground)));
        check("", r#"{"orphanDependents":true}"#, (None, Some(Propagation::Orphan)));
        check("dryRun=All", "", (None, None));
        check("", r#"{"dryRun":["All"]}"#, (None, None));
        assert_eq!(parse("dryRun=Some", "").unwrap_err().code, 422);
    }

    #[test]
    fn preconditions_are_read() {
        let (found, _) =
            options_of(&serde_json::json!({"preconditions": {"uid": "u", "resourceVersion": "7"}})).unwrap();
        assert_eq!((found.uid.as_deref(), found.resource_version.as_deref()), (Some("u"), Some("7")));
    }
}
