//! The server as kube-rs, the harness' own client, sees it.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::support::{Running, TOKEN};

/// How long a test waits for an event that must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn client(server: &Running) -> Client {
    let mut config = Config::new(format!("https://127.0.0.1:{}", server.port).parse().unwrap());
    let authority = CertificateDer::from_pem_slice(server.ca_pem.as_bytes()).unwrap();
    config.root_cert = Some(vec![authority.to_vec()]);
    config.auth_info.token = Some(TOKEN.to_owned().into());
    Client::try_from(config).unwrap()
}

fn config_map(name: &str, data: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": data}})).unwrap()
}

fn data(object: &ConfigMap) -> Option<&str> {
    object.data.as_ref()?.get("a").map(String::as_str)
}

#[tokio::test]
async fn objects_live_and_die() {
    let mut server = Running::start().await;
    server.create_namespace("kube").await;
    let api: Api<ConfigMap> = Api::namespaced(client(&server), "kube");
    let created = api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);

    let params = PatchParams::apply("test").force();
    let patched = api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await.unwrap();
    assert_eq!(data(&patched), Some("2"));
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"a": "3"}});
    assert_eq!(data(&api.patch("b", &params, &Patch::Apply(applied)).await.unwrap()), Some("3"));

    api.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = api.get("a").await.unwrap_err();
    assert!(matches!(&gone, kube::Error::Api(status) if status.code == 404 && status.reason == "NotFound"), "{gone}");
}

#[tokio::test]
async fn watchers_follow() {
    for strategy in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut server = Running::start().await;
        server.create_namespace("kube").await;
        let api: Api<ConfigMap> = Api::namespaced(client(&server), "kube");
        api.create(&PostParams::default(), &config_map("old", "1")).await.unwrap();
        let mut events = pin!(watcher(api.clone(), strategy));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last: &String| last != "done") {
            let event = tokio::time::timeout(PATIENCE, events.try_next()).await.expect("an event").unwrap().unwrap();
            seen.push(match event {
                watcher::Event::Init => "init".to_owned(),
                watcher::Event::InitApply(object) => format!("init {}", data(&object).unwrap()),
                watcher::Event::InitDone => {
                    api.create(&PostParams::default(), &config_map("new", "2")).await.unwrap();
                    let kind = &embedded_cluster::kinds::CONFIG_MAP;
                    let key = embedded_cluster::object::Key::new(kind, "kube", "new");
                    server.store.remove(&key).unwrap();
                    "init done".to_owned()
                }
                watcher::Event::Apply(object) => format!("apply {}", data(&object).unwrap()),
                watcher::Event::Delete(_) => "done".to_owned(),
            });
        }
        assert_eq!(seen, ["init", "init 1", "init done", "apply 2", "done"]);
    }
}

#[tokio::test]
async fn discovery_lists_what_is_served() {
    let server = Running::start().await;
    let client = client(&server);
    let groups = client.list_api_groups().await.unwrap();
    assert_eq!(groups.groups.first().map(|group| group.name.as_str()), Some("apps"));
    let core = client.list_core_api_resources("v1").await.unwrap();
    assert!(core.resources.iter().any(|one| one.name == "pods/log" && one.verbs == ["get"]));
    assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.36.2+gameday");
    let unknown = client.list_api_group_resources("nonsense.example/v1").await;
    assert!(unknown.is_err());
}

#[tokio::test]
async fn lists_come_in_pages() {
    let mut server = Running::start().await;
    server.create_namespace("kube").await;
    let api: Api<ConfigMap> = Api::namespaced(client(&server), "kube");
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name, "1")).await.unwrap();
    }
    let mut parameters = ListParams::default().limit(2);
    for expected in [vec!["a", "b"], vec!["c"]] {
        let list = api.list(&parameters).await.unwrap();
        let names: Vec<_> = list.items.iter().filter_map(|item| item.metadata.name.as_deref()).collect();
        assert_eq!((&names, list.metadata.continue_.is_some()), (&expected, expected.len() == 2));
        parameters = ListParams::default().limit(2).continue_token(&list.metadata.continue_.unwrap_or_default());
    }
}
