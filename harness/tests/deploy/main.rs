//! Deploy, roll back: against the embedded API server and its controllers, in this process.
#![expect(clippy::unwrap_used, reason = "functions that tests share may unwrap as tests do")]

mod cluster;
mod lanes;
mod lease;

use std::fs;

use harness::clock::RunClock;
use harness::config::{Config, Release};
use harness::event::{RolloutStep, StageResult, What};
use harness::image::Digest;
use harness::image::document::{Descriptor, MANIFEST};
use harness::pipeline::{self, BuiltImage, BuiltRelease, DeployError, DeployOptions, RollbackError, Variant, Why};
use tokio_util::sync::CancellationToken;

use crate::cluster::TestCluster;

const GATE: &str = r#"
[system]
name = "shop"
namespace = "shop"
manifests = "manifests"
scenarios = "scenarios"
version = "v2"
previous-version = "v1"
[images.web]
host-binaries = ["true"]
entrypoint = ["true"]
[images.db]
host-binaries = ["true"]
entrypoint = ["true"]
[secrets.token]
keys = { key = { generate = 39 } }
[profiles.rehearsal]
overlay = "rehearsal.yaml"
[rollout]
pull-grace = "500ms"
"#;

const MANIFESTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: 'web:v0', ports: [{name: http, containerPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
        - {name: db, image: 'db'}
";

const REHEARSAL: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, env: [{name: REHEARSAL, value: '1'}]}]}}}
";

struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(project.directory.path().join("manifests")).unwrap();
        project.write("gate.toml", GATE);
        project.write("manifests/all.yaml", MANIFESTS);
        project.write("rehearsal.yaml", REHEARSAL);
        project
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.directory.path().join(file), text).unwrap();
    }

    fn config(&self) -> Config {
        Config::load(&self.directory.path().join("gate.toml")).unwrap()
    }
}

/// A release whose images have these tags; nobody pulls them.
fn release(web: &str, db: &str) -> BuiltRelease {
    let image = |repository: &str, tag: &str| {
        let manifest = Descriptor::new(MANIFEST, Digest::of(tag.as_bytes()), 1);
        let image = BuiltImage { reference: format!("{repository}:{tag}"), manifest, why: Why::First };
        (repository.to_owned(), image)
    };
    BuiltRelease {
        variant: Variant { release: Release::Current, flaw: None },
        version: "v2".to_owned(),
        images: [image("web", web), image("db", db)].into(),
        registry: None,
    }
}

struct Told {
    result: Result<(), DeployError>,
    stage: StageResult,
    facts: Vec<String>,
    /// What was told of its rollout, in order.
    steps: Vec<RolloutStep>,
}

async fn deploy(project: &Project, on: &TestCluster, release: &BuiltRelease) -> Told {
    deploy_with(project, &on.cluster, release, "as-deployed").await
}

async fn deploy_with(
    project: &Project,
    cluster: &harness::cluster::Cluster,
    release: &BuiltRelease,
    profile: &str,
) -> Told {
    let mut told = Vec::new();
    let mut sink = |what| told.push(what);
    let options = DeployOptions { stage: "deploy", profile, run: "run-1", clock: RunClock::start() };
    let cancel = CancellationToken::new();
    let result = pipeline::deploy(&project.config(), cluster, release, options, &cancel, &mut sink).await;
    let Some(What::StageFinished { result: stage, facts, .. }) = told.pop() else { panic!("{told:?}") };
    let mut told = told.into_iter();
    assert_eq!(told.next(), Some(What::StageStarted { stage: "deploy".to_owned() }));
    let steps = told.map(|what| match what {
        What::Rollout(moment) => moment.step,
        other => panic!("{other:?}"),
    });
    Told { result, stage, facts, steps: steps.collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_install_is_ordered_marked_and_pinned() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    let told = deploy(&project, &on, &release("v1", "1")).await;
    told.result.unwrap();
    assert_eq!(told.stage, StageResult::Done);
    assert_eq!(told.facts[..2], ["secret/token created with random values", "as-deployed of v2: 5 objects applied"]);
    assert!(told.facts[2].starts_with("deployment/web: new pods ready, old ones gone after "), "{:?}", told.facts);

    let mut written = Vec::new();
    for (plural, name) in [
        ("namespaces", "shop"),
        ("secrets", "token"),
        ("configmaps", "settings"),
        ("services", "web"),
        ("statefulsets", "db"),
        ("deployments", "web"),
    ] {
        let object = on.get(plural, name).await.unwrap();
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "gameday", "{name}");
        if plural != "secrets" {
            assert_eq!(object["metadata"]["annotations"]["gameday.dev/run"], "run-1", "{name}");
        }
        let template = &object["spec"]["template"]["metadata"];
        assert!(template["annotations"].is_null(), "a mark on a pod template restarts pods");
        written.push((object["metadata"]["creationTimestamp"].as_str().unwrap().to_owned(), plural));
    }
    assert!(written.is_sorted_by_key(|(time, _)| time.clone()), "{written:?}");

    let expected = format!("web:v1@{}", Digest::of(b"v1"));
    assert_eq!(on.image("deployments", "web").await, expected);
    let secret = on.get("secrets", "token").await.unwrap();
    assert_eq!(secret["data"]["key"].as_str().unwrap().len(), 52, "39 bytes in base64");
    assert_eq!(on.pods().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn deploying_the_same_release_again_restarts_nothing() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let (pods, secret) = (on.pods().await, on.get("secrets", "token").await.unwrap());
    let told = deploy(&project, &on, &release("v1", "1")).await;
    told.result.unwrap();
    assert_eq!(told.facts[0], "secret/token was there");
    assert_eq!(told.facts[2], "nothing was to be rolled out: every workload runs this release already");
    assert_eq!(told.steps, []);
    assert_eq!(on.pods().await, pods);
    assert_eq!(on.get("secrets", "token").await.unwrap(), secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_replaces_what_changed_and_nothing_else() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let before = on.pods().await;
    deploy(&project, &on, &release("v2", "1")).await.result.unwrap();
    let after = on.pods().await;
    assert_eq!(after.len(), 3, "old pods are gone: {after:?}");
    let kept: Vec<_> = after.iter().filter(|pod| before.contains(pod)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(kept, ["db-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_laid_over_the_manifests() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy_with(&project, &on.cluster, &release("v1", "1"), "rehearsal").await.result.unwrap();
    let object = on.get("deployments", "web").await.unwrap();
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"], "REHEARSAL");
    let loaded = pipeline::manifests::load(&project.config(), "rehearsal").unwrap();
    let expected = [
        "deployment/web spec.template.spec.containers[web].env[REHEARSAL].name: absent → \"REHEARSAL\"",
        "deployment/web spec.template.spec.containers[web].env[REHEARSAL].value: absent → \"1\"",
    ];
    assert_eq!(loaded.profile_changes, expected);
    let told = deploy_with(&project, &on.cluster, &release("v1", "1"), "haste").await;
    let error = told.result.unwrap_err().to_string();
    assert_eq!(error, "find profile `haste`: gate.toml has `rehearsal` and `as-deployed`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_is_rolled_back_and_that_is_verified() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let (good, pods) = (on.image("deployments", "web").await, on.pods().await);
    on.spoil("web:v2", "CreateContainerConfigError");
    let told = deploy(&project, &on, &release("v2", "1")).await;
    let error = told.result.unwrap_err();
    let StageResult::RolledBack { reason } = &told.stage else { panic!("{error}") };
    assert!(reason.starts_with("deployment/web: pod web-"), "{reason}");
    assert!(reason.ends_with(": CreateContainerConfigError: as the test wants"), "{reason}");
    let DeployError::RolledBack { restored, .. } = error else { panic!("{error}") };
    assert_eq!(restored.len(), 2, "the database was not changed: {restored:?}");
    assert!(restored[0].starts_with("deployment/web is back at what was revision 1, after "), "{restored:?}");
    assert!(restored[1].ends_with("gate.toml has no smoke check to ask it"), "{restored:?}");
    assert_eq!(told.facts, restored);
    let bad = RolloutStep::Bad { reason: reason.clone() };
    assert_eq!(told.steps, [RolloutStep::Writing, bad, RolloutStep::Returning, RolloutStep::Settled]);
    assert_eq!(on.image("deployments", "web").await, good);
    assert_eq!(on.pods().await, pods, "the pods that ran before were never touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_pod_that_never_became_ready_is_replaced_on_the_way_back() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let good = on.image("statefulsets", "db").await;
    on.spoil("db:2", "ImagePullBackOff");
    let told = deploy(&project, &on, &release("v1", "2")).await;
    let error = told.result.unwrap_err();
    assert!(matches!(error, DeployError::RolledBack { .. }), "{error}");
    assert_eq!(on.image("statefulsets", "db").await, good);
    assert_eq!(on.pods().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_is_bad_too_is_told() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    // Both databases fail: the new one, and the old one once it is started again.
    on.spoil("db:", "InvalidImageName");
    let told = deploy(&project, &on, &release("v1", "2")).await;
    let error = told.result.unwrap_err();
    assert!(matches!(error, DeployError::RollbackFailed { .. }), "{error}");
    let StageResult::RollbackFailed { error } = told.stage else { panic!("{:?}", told.stage) };
    assert!(error.contains("; roll back: statefulset/db: pod db-0: InvalidImageName"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_first_install_has_nothing_to_return_to() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    on.spoil("web:v1", "InvalidImageName");
    let told = deploy(&project, &on, &release("v1", "1")).await;
    let error = told.result.unwrap_err();
    assert!(matches!(error, DeployError::BadFirstInstall { .. }), "{error}");
    assert!(error.to_string().ends_with("nothing was there before, so there is nothing to roll back to"), "{error}");
    assert!(matches!(told.stage, StageResult::Failed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_object_takes_the_release_back() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let good = on.image("statefulsets", "db").await;
    // A Deployment's selector cannot change, and StatefulSets are applied before it.
    project.write("manifests/all.yaml", &MANIFESTS.replace("app: web}", "app: shop}"));
    let told = deploy(&project, &on, &release("v2", "2")).await;
    let error = told.result.unwrap_err();
    let DeployError::RolledBack { reason, restored } = &error else { panic!("{error}") };
    assert!(reason.starts_with("apply deployment/web: "), "{reason}");
    assert!(restored[0].starts_with("statefulset/db "), "{restored:?}");
    assert_eq!(on.image("statefulsets", "db").await, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_is_found_before_anything_is_written() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    let check = async |text: &str, expect: &str| {
        project.write("manifests/more.yaml", text);
        let error = deploy(&project, &on, &release("v1", "1")).await.result.unwrap_err().to_string();
        assert!(error.ends_with(expect), "{error}");
        assert_eq!(on.get("namespaces", "shop").await, None);
    };
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n";
    let expect = "more.yaml:1: gateway/g: the cluster does not serve Gateway of gateway.networking.k8s.io/v1";
    check(gateway, expect).await;
    let flavour = "apiVersion: v1\nkind: Flavour\nmetadata: {name: f}\n";
    check(flavour, "more.yaml:1: flavour/f: the cluster does not serve Flavour of v1").await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: 'nginx:1'}]}\n";
    let expect = "pod/p runs image `nginx`, and gate.toml builds none of that name; it builds db, web";
    check(pod, expect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_others_is_not_written_to() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    let staging = on.through("staging").await;
    let told = deploy_with(&project, &staging, &release("v1", "1"), "as-deployed").await;
    let error = told.result.unwrap_err();
    assert!(matches!(error, DeployError::Refused(_)), "{error}");
    assert_eq!(on.get("namespaces", "shop").await, None);

    let pin = format!("[clusters.staging]\ncontext = \"staging\"\nuid = \"{}\"\n", staging.facts.uid);
    project.write("gate.toml", &format!("{GATE}{pin}"));
    let told = deploy_with(&project, &staging, &release("v1", "1"), "as-deployed").await;
    let error = told.result.unwrap_err().to_string();
    assert!(error.contains("nobody allowed it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_deployment_says_so() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    // Never ready, and not bad either: it would be waited for.
    on.spoil("web:v1", "ContainerCreating");
    let cancel = CancellationToken::new();
    let mut results = Vec::new();
    let mut sink = |what| {
        if let What::StageFinished { result, .. } = what {
            results.push(result);
        }
    };
    let (config, release) = (project.config(), release("v1", "1"));
    let clock = RunClock::start();
    let options = DeployOptions { stage: "deploy", profile: "as-deployed", run: "run-1", clock };
    let deploying = pipeline::deploy(&config, &on.cluster, &release, options, &cancel, &mut sink);
    let stopping = async {
        while on.get("deployments", "web").await.is_none() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(deploying, stopping);
    assert!(matches!(result, Err(DeployError::Cancelled)));
    assert_eq!(results, [StageResult::Cancelled]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_returns_to_the_revision_before_or_the_one_asked_for() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    // The database is no part of the release: it has a version of its own.
    project.write("gate.toml", &GATE.replace("[secrets.token]", "version = \"host\"\n[secrets.token]"));
    let config = project.config();
    let cancel = CancellationToken::new();
    let roll_back = async |to| {
        let mut sink = |_| {};
        pipeline::rollback(&config, &on.cluster, to, RunClock::start(), &cancel, &mut sink).await
    };
    let error = roll_back(None).await.unwrap_err();
    assert_eq!(error.to_string(), "roll back deployment/web: it does not exist");

    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let error = roll_back(None).await.unwrap_err();
    assert_eq!(error.to_string(), "roll back deployment/web: it has no previous revision");

    deploy(&project, &on, &release("v2", "1")).await.result.unwrap();
    deploy(&project, &on, &release("v3", "1")).await.result.unwrap();
    let lines = roll_back(None).await.unwrap();
    assert!(on.image("deployments", "web").await.starts_with("web:v2@"), "{lines:?}");
    roll_back(Some(1)).await.unwrap();
    assert!(on.image("deployments", "web").await.starts_with("web:v1@"));
    let error = roll_back(Some(1)).await.unwrap_err();
    assert!(matches!(error, RollbackError::NoRevision { .. }), "{error}");
    let expect = "roll back deployment/web: revision 1 is not in its history, which has 3, 4, 5";
    assert_eq!(error.to_string(), expect);

    // Revisions are now v3 (3), v2 (4) and v1 (5), and v4 (6) is bad.
    on.spoil("web:v4", "CreateContainerConfigError");
    assert!(deploy(&project, &on, &release("v4", "1")).await.result.is_err());
    assert!(on.image("deployments", "web").await.starts_with("web:v1@"), "what served before");
    let lines = roll_back(None).await.unwrap();
    assert!(on.image("deployments", "web").await.starts_with("web:v2@"), "not to what was rolled back: {lines:?}");
    assert!(lines[0].starts_with("deployment/web: revision 6 was rolled back: deployment/web: pod web-"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_over_a_half_finished_one_returns_to_what_serves() {
    let (project, on) = (Project::new(), TestCluster::start().await);
    deploy(&project, &on, &release("v1", "1")).await.result.unwrap();
    let good = on.image("deployments", "web").await;
    // A deployment of v2 that was killed: its pods never become ready, and nobody looks.
    on.spoil("web:v2", "ContainerCreating");
    let cancel = CancellationToken::new();
    let (config, half) = (project.config(), release("v2", "1"));
    let options = DeployOptions { stage: "deploy", profile: "as-deployed", run: "run-1", clock: RunClock::start() };
    let mut sink = |_| {};
    let deploying = pipeline::deploy(&config, &on.cluster, &half, options, &cancel, &mut sink);
    let stopping = async {
        while on.pods().await.len() < 4 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(deploying, stopping);
    assert!(matches!(result, Err(DeployError::Cancelled)));

    on.spoil("web:v3", "InvalidImageName");
    let error = deploy(&project, &on, &release("v3", "1")).await.result.unwrap_err();
    assert!(matches!(error, DeployError::RolledBack { .. }), "{error}");
    assert_eq!(on.image("deployments", "web").await, good, "v2 never served");
}
