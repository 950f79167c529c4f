//! The Role that `rbac` prints holds what a rehearsal does, and nothing beyond it.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::collections::BTreeSet;
use std::process::Command;

use gameday_tests::context::{CONTEXT, Rented, pinned};
use gameday_tests::recorded::{Call, Recorded};
use gameday_tests::{Ended, Place, alone, project};
use harness::cluster::{Cluster, Selection};
use serde_json::Value;

const NAMESPACE: &str = "hsc-jit";
/// What breaks and mends in different ways, where no node is needed.
const VARIANTS: [&str; 2] = ["redis-lost/deleted", "redis-lost/gone"];

/// What may be asked without being granted: where it is refused, another way is taken.
fn is_optional(call: &Call) -> bool {
    (call.resource.as_str(), call.verb.as_str()) == ("nodes", "list")
}

/// What stands in the Role.
struct Granted {
    group: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

impl Granted {
    fn of(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        let name = value["name"].as_str().map(str::to_owned);
        Self { group: text("group"), resource: text("resource"), name, verb: text("verb") }
    }

    fn covers(&self, call: &Call) -> bool {
        let same = (&self.group, &self.resource, &self.verb) == (&call.group, &call.resource, &call.verb);
        same && self.name.as_ref().is_none_or(|name| Some(name) == call.name.as_ref())
    }
}

#[test]
fn a_rehearsal_asks_for_what_it_is_granted_and_for_all_of_it() {
    let _alone = alone();
    let place = Place::new();
    let cluster = place.cluster();
    place.run(["gate", VARIANTS[0]]).expect_code(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let recorded = runtime.block_on(async {
        let selection =
            Selection::Context { kubeconfig: Some(cluster.kubeconfig()), context: "gameday-gameday".into() };
        Recorded::start(Cluster::connect(&selection, NAMESPACE).await.unwrap().api).await
    });
    let rented = runtime.block_on(Rented::recorded(&cluster, place.path(), NAMESPACE, &recorded));

    place.run([&["run", "--yes"], &VARIANTS[..], &rented.arguments()[..]].concat()).expect_code(0);
    // Where a scenario does not pass, more is read: the bundle.
    let no_bite = project().join("tests/scenarios/no-bite");
    let no_bite = ["run", "--yes", "no-bite/gone", "--scenarios", no_bite.to_str().unwrap()];
    place.run([&no_bite[..], &rented.arguments()[..]].concat()).expect_code(3);

    let printed = place.run([&["rbac", "--output", "json"], &VARIANTS[..]].concat()).expect_code(0).stdout;
    let granted: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let granted: Vec<Granted> = granted.iter().map(Granted::of).collect();
    let calls = recorded.calls();
    let missing: BTreeSet<&Call> =
        calls.iter().filter(|call| !is_optional(call) && !granted.iter().any(|granted| granted.covers(call))).collect();
    assert!(missing.is_empty(), "asked for, and not granted: {missing:#?}");
    let superfluous: Vec<String> = granted
        .iter()
        .filter(|granted| !calls.iter().any(|call| granted.covers(call)))
        .map(|granted| format!("{} {} {}", granted.verb, granted.resource, granted.name.clone().unwrap_or_default()))
        .collect();
    assert_eq!(superfluous, [""; 0], "granted, and never asked for");
}

/// Only where RBAC is enforced does a green run show that nothing is missing; the embedded cluster
/// has one token that may do everything.
#[test]
#[ignore = "needs a real cluster with the release on it: \
    GAMEDAY_ADMIN_KUBECONFIG=FILE cargo test -p gameday-tests --test rbac -- --ignored"]
fn a_run_under_exactly_that_role_is_green() {
    let _alone = alone();
    let place = Place::new();
    let admin = std::env::var("GAMEDAY_ADMIN_KUBECONFIG").expect("it names the kubeconfig of an administrator");
    let kubectl =
        |arguments: &[&str]| Ended::of(Command::new("kubectl").args(["--kubeconfig", &admin]).args(arguments));
    let manifest = place.path().join("rbac.yaml");
    std::fs::write(&manifest, place.run(["rbac", VARIANTS[0], VARIANTS[1]]).expect_code(0).stdout).unwrap();
    kubectl(&["apply", "-f", manifest.to_str().unwrap()]).expect_code(0);
    let token = kubectl(&["create", "token", "gameday", "-n", NAMESPACE]).expect_code(0).stdout;

    let shown = kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]).expect_code(0).stdout;
    let mut kubeconfig: Value = serde_json::from_str(&shown).unwrap();
    kubeconfig["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (config, file) = runtime.block_on(async {
        let read = kube::config::Kubeconfig::read_from(&admin).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(read, &options).await.unwrap();
        pinned(&kube::Client::try_from(config).unwrap(), place.path(), NAMESPACE, kubeconfig).await
    });
    let (config, file) = (config.to_str().unwrap(), file.to_str().unwrap());
    let there = ["--config", config, "--context", CONTEXT, "--kubeconfig", file];
    place.run([&["run", "--yes", VARIANTS[0], VARIANTS[1]], &there[..]].concat()).expect_code(0);

    for refused in [["delete", "deployments/backend"], ["list", "nodes"], ["get", "secrets/llm-api-key"]] {
        let asked =
            [&["auth", "can-i"], &refused[..], &["-n", NAMESPACE, "--as", "system:serviceaccount:hsc-jit:gameday"]];
        assert_eq!(kubectl(&asked.concat()).stdout.trim(), "no", "{refused:?}");
    }
}
