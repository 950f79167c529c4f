//! A cluster of somebody else's: reached through a context, by port-forward, only with permission.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::time::Duration;

use gameday_tests::context::Rented;
use gameday_tests::{Cluster, Place, alone, eventually, newest_journal};
use harness::cluster::lease::LEASE;
use harness::event::{Event, Seen, Subject, What};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "hsc-jit";
const VARIANT: &str = "redis-lost/deleted";
/// How long a run may take until its fault is done.
const REACHES_WITHIN: Duration = Duration::from_secs(120);
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(2);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// The journal's events so far.
fn events(place: &Place) -> Vec<What> {
    let text = newest_journal(&place.runs()).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok());
    events.map(|event| event.what).collect()
}

async fn leases(cluster: &Cluster<'_>) -> Api<Lease> {
    Api::namespaced(cluster.client().await, NAMESPACE)
}

/// Holds the lease under this name, and renews it every second.
async fn hold_lease(cluster: &Cluster<'_>, holder: &'static str) -> tokio::task::JoinHandle<()> {
    let leases = leases(cluster).await;
    let renew = async move |times: u32| {
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 5, "leaseTransitions": times}});
        leases.patch(LEASE, &PatchParams::apply("test").force(), &Patch::Apply(lease)).await.unwrap();
    };
    renew(0).await;
    tokio::spawn(async move {
        for times in 1.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            renew(times).await;
        }
    })
}

fn verdict(report: &Value) -> &str {
    report["scenarios"][0]["verdict"]["verdict"].as_str().unwrap()
}

#[test]
fn a_forward_that_is_cut_while_sampling_is_missing_and_not_bad() {
    let _alone = alone();
    let place = Place::new();
    let cluster = place.cluster();
    place.run(["gate", VARIANT]).expect_code(0);
    let rented = runtime().block_on(Rented::new(&cluster, place.path(), NAMESPACE));

    let without = place.run(["run", VARIANT].into_iter().chain(rented.arguments())).expect_code(2);
    assert!(without.stderr.contains("nobody consented") && without.stderr.contains("--yes"), "{}", without.stderr);
    let command = ["run", VARIANT, "--yes"];

    let elsewhere = runtime();
    let held = elsewhere.block_on(hold_lease(&cluster, "run 7 (process 1 on elsewhere)"));
    let busy = place.run(command.into_iter().chain(rented.arguments())).expect_code(6);
    assert!(busy.stderr.contains("run 7 (process 1 on elsewhere) is at work there"), "{}", busy.stderr);
    // It died: nobody renews its lease any more, and the next run takes it when it has run out.
    held.abort();

    let ended = place.run(command.into_iter().chain(rented.arguments())).expect_code(0);
    let said = "service backend is reached through a port-forward to its pods, through the API server";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert_eq!(verdict(&place.report()), "pass");

    let lease = runtime().block_on(async { leases(&cluster).await.get_opt(LEASE).await.unwrap() });
    assert_eq!(lease, None, "a run that is over holds no lease");

    let before = newest_journal(&place.runs());
    let mut run = place.xtask(command.into_iter().chain(rented.arguments())).spawn().unwrap();
    let is_broken = |what: &What| matches!(what, What::FaultDone);
    eventually(REACHES_WITHIN, || {
        match newest_journal(&place.runs()) != before && events(&place).iter().any(is_broken) {
            true => Ok(()),
            false => Err("no fault yet".to_owned()),
        }
    });
    rented.relay.cut();
    std::thread::sleep(AWAY);
    rented.relay.mend();
    run.wait().unwrap();
    assert_ne!(verdict(&place.report()), "fail", "{:#}", place.report()["scenarios"]);
    let of_service = events(&place).into_iter().filter_map(|what| match what {
        What::Sample(sample) if sample.subject == Subject::Service => Some(sample.seen),
        _ => None,
    });
    let blamed = |seen: &Seen| matches!(seen, Seen::Missing { reason } if reason.contains("port-forward"));
    assert!(of_service.filter(blamed).count() > 0, "the cut was felt, and nobody blamed the system for it");
}
