//! From a request to the code that answers it.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Request};
use hyper::body::Incoming;
use serde_json::Value;

use crate::api::options::WriteOptions;
use crate::api::place::Place;
use crate::api::query::{Query, decode_segment};
use crate::api::respond::{self, Answer};
use crate::api::view::View;
use crate::api::{
    Api, body, create, delete, discovery, eviction, exec, forward, log, proxy, read, scale, signal, watch, write,
};
use crate::kinds;
use crate::status::Status;

/// Answers any request; a refusal is an answer too.
pub(super) async fn answer(api: &Arc<Api>, request: Request<Incoming>) -> Answer {
    let head = request.method() == Method::HEAD;
    let mut answer = match route(api, request).await {
        Ok(answer) => answer,
        Err(status) => respond::status(&status),
    };
    if head {
        *answer.body_mut() = respond::empty();
    }
    answer
}

async fn route(api: &Arc<Api>, request: Request<Incoming>) -> Result<Answer, Status> {
    let path = request.uri().path().to_owned();
    let trimmed = path.trim_matches('/');
    let segments: Vec<&str> = trimmed.split('/').collect();
    if let ["livez" | "readyz" | "healthz", ..] = segments[..] {
        return only_get(request.method(), || respond::text(200, "ok"));
    }
    api.token.check(request.headers())?;
    let method = request.method().clone();
    let json = |value: Value| respond::object(200, &value);
    let found = |value: Option<Value>| value.map(json).ok_or_else(Status::unknown_resource);
    match segments[..] {
        ["version"] => only_get(&method, || json(discovery::version())),
        ["api"] => only_get(&method, || json(discovery::core_versions(&api.address))),
        ["apis"] => only_get(&method, || json(discovery::groups())),
        ["api", version] => found(discovery::resources("", version)),
        ["apis", group] => Ok(discovery::group(group).map_or_else(not_a_path, json)),
        ["apis", group, version] if discovery::group(group).is_some() => found(discovery::resources(group, version)),
        ["openapi", "v2"] => only_get(&method, || json(discovery::openapi_v2())),
        ["openapi", "v3"] => only_get(&method, || json(discovery::openapi_index())),
        ["openapi", "v3", ..] => {
            let document = trimmed.trim_start_matches("openapi/v3/");
            Ok(discovery::openapi_document(document).map_or_else(not_a_path, json))
        }
        ["gameday", "v1", "namespaces", namespace, "pods", pod, "signal"] if method == Method::POST => {
            let (namespace, pod) = (decode_segment(namespace), decode_segment(pod));
            let bytes = body::read(request.into_body()).await?;
            signal::signal(api, &namespace, &pod, &bytes)
        }
        ["api", version, ..] => placed(api, "", version, below(&path, 2), request).await,
        ["apis", group, version, ..] if discovery::group(group).is_some() => {
            placed(api, group, version, below(&path, 3), request).await
        }
        _ => Ok(not_a_path()),
    }
}

/// What follows the first `count` segments of a path, with its last slash where it has one.
fn below(path: &str, count: usize) -> &str {
    path.trim_start_matches('/').splitn(count + 1, '/').nth(count).unwrap_or_default()
}

async fn placed(
    api: &Arc<Api>,
    group: &str,
    version: &str,
    path: &str,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let place = Place::parse(group, version, path).ok_or_else(Status::unknown_resource)?;
    let query = Query::parse(request.uri())?;
    match (&place.name, place.subresource.as_deref()) {
        (Some(_), Some(name)) if !place.kind.subresources.contains(&name) => Err(Status::unknown_resource()),
        (Some(_), Some("proxy")) => proxy::proxy(api, &place, request).await,
        (Some(_), Some("exec")) => exec::exec(api, &place, &query, request),
        (Some(_), Some("portforward")) => forward::forward(api, &place, &query, request),
        _ => stored(api, &place, &query, request).await,
    }
}

/// Requests that read or write objects.
async fn stored(api: &Arc<Api>, place: &Place, query: &Query, request: Request<Incoming>) -> Result<Answer, Status> {
    let (Parts { method, headers, .. }, incoming) = request.into_parts();
    if place.subresource.as_deref() == Some("log") {
        return if method == Method::GET {
            log::log(api, place, query).await
        } else {
            Err(Status::method_not_allowed())
        };
    }
    let view = View::negotiate(&headers, query)?;
    let (verb, named, subresource) = (method.as_str(), place.name.is_some(), place.subresource.as_deref());
    match (verb, named, subresource) {
        ("GET", false, _) if query.flag("watch") => return watch::watch(api, place, query, view),
        ("GET", false, _) => return read::list(api, place, query, view).await,
        ("GET", true, None | Some("status")) => return read::get(api, place, query, view).await,
        ("GET", true, Some("scale")) => return scale::get(api, place),
        _ => {}
    }
    let bytes = body::read(incoming).await?;
    let options = |name| WriteOptions::parse(name, query, &headers);
    let wish = || delete::options(query, &headers, &bytes);
    let is_collection = !named && place.kind.namespaced == place.namespace.is_some();
    match (verb, named, subresource) {
        ("POST", false, _) if is_collection => {
            create::create(api, place, &headers, &options("CreateOptions")?, view, &bytes).await
        }
        ("DELETE", false, _) if is_collection && *place.kind != kinds::NAMESPACE => {
            delete::delete_all(api, place, query, &wish()?, view).await
        }
        ("PUT", true, Some("scale")) => {
            scale::write(api, place, &headers, &options("UpdateOptions")?, None, &bytes).await
        }
        ("PATCH", true, Some("scale")) => {
            let options = options("PatchOptions")?;
            let edit = write::patch_of(&headers, &options, &bytes)?;
            scale::write(api, place, &headers, &options, Some(&edit), &bytes).await
        }
        ("PUT", true, None | Some("status" | "finalize")) => {
            let edit = write::replacement(place.kind, &headers, &bytes)?;
            write::write(api, place, &options("UpdateOptions")?, view, &edit).await
        }
        ("PATCH", true, None | Some("status")) => {
            let options = options("PatchOptions")?;
            let edit = write::patch_of(&headers, &options, &bytes)?;
            write::write(api, place, &options, view, &edit).await
        }
        ("DELETE", true, None) => delete::delete(api, place, &wish()?, view),
        ("POST", true, Some("eviction")) => eviction::evict(api, place, query, &headers, &bytes),
        _ => Err(Status::method_not_allowed()),
    }
}

fn only_get(method: &Method, answer: impl FnOnce() -> Answer) -> Result<Answer, Status> {
    if *method == Method::GET { Ok(answer()) } else { Err(Status::method_not_allowed()) }
}

fn not_a_path() -> Answer {
    respond::text(404, "404 page not found\n")
}
