//! A lease on a namespace of somebody else's cluster: held, taken, lost, left behind.

use std::time::Duration;

use harness::cluster::Cluster;
use harness::cluster::lease::{self, Held, LEASE, LeaseError, Terms};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::TestCluster;

const TERMS: Terms = Terms {
    lasts: Duration::from_secs(2),
    renewed_every: Duration::from_millis(100),
    lost_after: Duration::from_secs(1),
};

async fn of_others() -> (TestCluster, Cluster, Api<Lease>) {
    let test = TestCluster::start().await;
    let cluster = test.through("staging").await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": cluster.namespace}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let leases = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    (test, cluster, leases)
}

async fn taken(cluster: &Cluster, run: &str) -> Held {
    lease::take(cluster, run, TERMS).await.unwrap().expect("the cluster is somebody else's")
}

async fn holder(leases: &Api<Lease>) -> Option<String> {
    leases.get_opt(LEASE).await.unwrap()?.spec?.holder_identity
}

#[tokio::test]
async fn one_run_at_a_time_holds_it_and_gives_it_back() {
    let (test, cluster, leases) = of_others().await;
    assert!(lease::take(&test.cluster, "ours", TERMS).await.unwrap().is_none(), "a cluster of ours needs none");
    let held = taken(&cluster, "first").await;
    assert!(holder(&leases).await.unwrap().starts_with("first (process "));
    match lease::take(&cluster, "second", TERMS).await {
        Err(LeaseError::Taken { holder, .. }) => assert!(holder.starts_with("first (process "), "{holder}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two runs hold it"),
    }
    held.release().await;
    assert_eq!(holder(&leases).await, None);
    taken(&cluster, "second").await.release().await;
}

#[tokio::test]
async fn one_that_a_dead_run_left_is_taken_when_it_has_run_out() {
    let (_test, cluster, leases) = of_others().await;
    let left = taken(&cluster, "dead").await;
    // Not released: its run is gone.
    drop(left);
    let held = taken(&cluster, "next").await;
    assert!(holder(&leases).await.unwrap().starts_with("next "));
    held.release().await;
}

#[tokio::test]
async fn whoever_loses_it_hears_of_it() {
    let (_test, cluster, leases) = of_others().await;
    let mut held = taken(&cluster, "first").await;
    let other = json!({"spec": {"holderIdentity": "another"}});
    leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(other)).await.unwrap();
    assert_eq!(held.lost().await, "run another took it");
    held.release().await;
    assert_eq!(holder(&leases).await.as_deref(), Some("another"), "what is another's is left alone");
    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();

    let mut held = taken(&cluster, "first").await;
    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
    assert_eq!(held.lost().await, "somebody deleted it");
}
