//! Lanes: copies of the system in namespaces of a run, on the same cluster.

use harness::heal::namespaces;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::cluster::TestCluster;
use crate::{Project, deploy, deploy_with, release};

const LANE: &str = "shop-lane-2";

async fn service(client: &kube::Client, namespace: &str) -> Service {
    Api::namespaced(client.clone(), namespace).get("web").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_a_copy_with_addresses_of_its_own_and_goes_without_a_trace() {
    let (project, mut on) = (Project::new(), TestCluster::start().await);
    let text = crate::MANIFESTS
        .replace("ports: [{name: http, port: 80,", "clusterIP: 10.96.7.7, ports: [{name: http, port: 80,");
    let text = text.replace("colour: green", "url: 'http://web.shop.svc:80'");
    project.write(
        "manifests/all.yaml",
        &text.replace("{name: web}\nspec: {selector", "{name: web, namespace: shop}\nspec: {selector"),
    );
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let (client, before) = (on.cluster.client.clone(), on.pods().await);

    let lane = on.lane(LANE);
    namespaces::make(&lane, LANE, "run-1", 2).await.unwrap();
    let told = deploy_with(&project, &lane, &release("v1", "1"), "as-deployed").await;
    told.result.unwrap();
    let (home, copy) = (service(&client, "shop").await, service(&client, LANE).await);
    let address = |service: &Service| service.spec.as_ref().unwrap().cluster_ip.clone().unwrap();
    assert_eq!(address(&home), "10.96.7.7");
    assert_ne!(address(&copy), "10.96.7.7", "an address is one for the whole cluster");
    let settings: ConfigMap = Api::namespaced(client.clone(), LANE).get("settings").await.unwrap();
    assert_eq!(settings.data.unwrap()["url"], format!("http://web.{LANE}.svc:80"));
    let namespace = on.get("namespaces", LANE).await.unwrap();
    assert_eq!(namespace["metadata"]["labels"]["gameday.dev/lane"], "2", "it stays known as ours: {namespace}");

    assert!(!namespaces::remove(&lane, LANE, Some("run-2")).await.unwrap(), "another run's is left alone");
    assert!(on.get("namespaces", LANE).await.is_some());
    assert!(namespaces::remove(&lane, LANE, Some("run-1")).await.unwrap());
    assert!(on.get("namespaces", LANE).await.is_none());
    assert!(!namespaces::remove(&lane, LANE, Some("run-1")).await.unwrap(), "once is enough");
    assert_eq!(on.pods().await, before, "nothing happened to the neighbour");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_no_run_made_is_nobodys_lane() {
    let on = TestCluster::start().await;
    let api: Api<Namespace> = Api::all(on.cluster.client.clone());
    let metadata = ObjectMeta { name: Some(LANE.to_owned()), ..ObjectMeta::default() };
    api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await.unwrap();
    let error = namespaces::make(&on.cluster, LANE, "run-1", 2).await.unwrap_err();
    assert_eq!(error.message, "remove namespace `shop-lane-2`: no run made it, it has no label gameday.dev/lane");
    assert!(!namespaces::remove(&on.cluster, LANE, Some("run-1")).await.unwrap());
    assert!(on.get("namespaces", LANE).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_left_is_replaced() {
    let on = TestCluster::start().await;
    namespaces::make(&on.cluster, LANE, "run-1", 2).await.unwrap();
    let before = on.get("namespaces", LANE).await.unwrap();
    namespaces::make(&on.cluster, LANE, "run-2", 2).await.unwrap();
    let now = on.get("namespaces", LANE).await.unwrap();
    assert_ne!(now["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(now["metadata"]["labels"]["gameday.dev/run"], "run-2");
}
