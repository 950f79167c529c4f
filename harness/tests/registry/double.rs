//! A registry that keeps nothing but what it was told, and misbehaves on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use harness::image::Digest;
use harness::registry::Address;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::PASSWORD;

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Nobody may do anything.
    Forbids,
    /// A token is wanted, which its token service gives for the right password.
    WantsToken,
    /// No room for another blob.
    DiskFull,
    /// It says something else of a manifest than what was put.
    Lies,
    /// It takes blobs and never answers.
    Hangs,
    /// Blobs are not taken over from other repositories.
    NeverMounts,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Repository and digest.
    pub(crate) blobs: BTreeSet<(String, String)>,
    /// Content by digest.
    contents: BTreeMap<String, Bytes>,
    /// Content and media type, by repository and name.
    pub(crate) manifests: BTreeMap<(String, String), (Bytes, String)>,
    /// Bytes of blobs and manifests that came in.
    pub(crate) bytes: u64,
    /// `PUT /v2/…`, in order.
    pub(crate) requests: Vec<String>,
}

pub(crate) struct Double {
    pub(crate) address: Address,
    pub(crate) seen: Arc<Mutex<Seen>>,
    /// Uploads under way.
    pub(crate) uploads: watch::Receiver<usize>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Served {
    mood: Mood,
    host: String,
    seen: Arc<Mutex<Seen>>,
    uploads: watch::Sender<usize>,
}

impl Double {
    pub(crate) async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (sender, uploads) = watch::channel(0);
        let served = Served { mood, host: host.clone(), seen: Arc::clone(&seen), uploads: sender };
        let app = Router::new().fallback(answer).with_state(served);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address: Address::parse(&host, false).unwrap(), seen, uploads, _serving: serving }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.seen.lock().unwrap().bytes
    }

    /// Requests of this method to paths with this in them.
    pub(crate) fn requests(&self, method: &str, part: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.requests.iter().filter(|line| line.starts_with(method) && line.contains(part)).count()
    }
}

async fn answer(State(served): State<Served>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap().to_string();
    served.seen.lock().unwrap().requests.push(format!("{} {target}", parts.method));
    if served.mood == Mood::Forbids {
        return refused(&served, "Basic realm=\"double\"");
    }
    if target.starts_with("/token") {
        return token(&parts.headers);
    }
    let authorised = parts.headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer right");
    if served.mood == Mood::WantsToken && !authorised {
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"double\"", served.host);
        return refused(&served, &realm);
    }
    if target.contains("/uploads/") && parts.method == Method::PUT {
        served.uploads.send_modify(|count| *count += 1);
        match served.mood {
            Mood::Hangs => std::future::pending().await,
            Mood::DiskFull => {
                let said = "write /data: no space left on device\nsecond line";
                return (StatusCode::INSUFFICIENT_STORAGE, said).into_response();
            }
            _ => {}
        }
    }
    let content = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path().trim_start_matches("/v2/").to_owned();
    let query = parts.uri.query().unwrap_or_default().replace("%3A", ":");
    if let Some((repository, digest)) = path.split_once("/blobs/") {
        return blob(&served, &parts.method, repository, digest, &query, &content);
    }
    match path.split_once("/manifests/") {
        Some((repository, name)) => manifest(&served, &parts.method, repository, name, &parts.headers, content),
        None => StatusCode::OK.into_response(),
    }
}

fn refused(_served: &Served, challenge: &str) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge.to_owned())]).into_response()
}

fn token(headers: &HeaderMap) -> Response {
    // `me:open sesame`
    let right = headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Basic bWU6b3BlbiBzZXNhbWU=");
    match right {
        true => r#"{"token":"right"}"#.into_response(),
        false => (StatusCode::UNAUTHORIZED, format!("no, it is {PASSWORD}")).into_response(),
    }
}

fn blob(served: &Served, method: &Method, repository: &str, digest: &str, query: &str, content: &Bytes) -> Response {
    let mut seen = served.seen.lock().unwrap();
    let option = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let location = format!("/v2/{repository}/blobs/uploads/session");
    if *method == Method::HEAD {
        let there = seen.blobs.contains(&(repository.to_owned(), digest.to_owned()));
        return if there { StatusCode::OK.into_response() } else { StatusCode::NOT_FOUND.into_response() };
    }
    if *method == Method::GET {
        let content = seen.contents.get(digest).cloned();
        return content.unwrap_or(Bytes::from_static(b"something else")).into_response();
    }
    if *method == Method::POST {
        let from = option("from").zip(option("mount"));
        let mounts = from.is_some_and(|from| served.mood != Mood::NeverMounts && seen.blobs.contains(&from));
        if let (true, Some(digest)) = (mounts, option("mount")) {
            seen.blobs.insert((repository.to_owned(), digest));
            return (StatusCode::CREATED, [(header::LOCATION, location)]).into_response();
        }
        return (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response();
    }
    let named = option("digest").unwrap();
    if Digest::of(content).to_string() != named {
        return (StatusCode::BAD_REQUEST, "another digest").into_response();
    }
    seen.bytes += content.len() as u64;
    seen.contents.insert(named.clone(), content.clone());
    seen.blobs.insert((repository.to_owned(), named));
    (StatusCode::CREATED, [(header::LOCATION, location)]).into_response()
}

fn manifest(
    served: &Served,
    method: &Method,
    repository: &str,
    name: &str,
    headers: &HeaderMap,
    content: Bytes,
) -> Response {
    let mut seen = served.seen.lock().unwrap();
    let key = |name: &str| (repository.to_owned(), name.to_owned());
    if *method == Method::PUT {
        let media_type = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let digest = Digest::of(&content).to_string();
        seen.bytes += content.len() as u64;
        seen.manifests.insert(key(name), (content.clone(), media_type.clone()));
        seen.manifests.insert(key(&digest), (content, media_type));
        return (StatusCode::CREATED, [(header::LOCATION, format!("/v2/{repository}/manifests/{digest}"))])
            .into_response();
    }
    let Some((content, media_type)) = seen.manifests.get(&key(name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let digest = match served.mood {
        Mood::Lies => Digest::of(b"something else"),
        _ => Digest::of(content),
    };
    let headers = [("docker-content-digest", digest.to_string()), ("content-type", media_type.clone())];
    (headers, content.clone()).into_response()
}
