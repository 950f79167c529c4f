//! What a plan is granted, and the manifest that says so.

use super::*;
use crate::engine::test_plan;
use crate::fault::{PodDelete, Scale};

fn grants(plans: &[Plan]) -> BTreeSet<String> {
    let told = |grant: &Grant| {
        let name = grant.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {}{name}", grant.verb, grant.resource)
    };
    Access::rehearsing(plans, "shop").grants().map(told).collect()
}

#[test]
fn a_plan_is_granted_what_it_breaks_and_mends_by_name() {
    let redis = WorkloadRef { kind: WorkloadKind::StatefulSet, name: "redis".to_owned() };
    let base = grants(&[]);
    assert!(base.contains("get namespaces shop") && base.contains("get namespaces kube-system"), "{base:?}");
    assert!(!base.contains("delete pods") && !base.contains("list nodes"), "{base:?}");
    let check = |fault: Fault, expect: &[&str]| {
        let plan = Plan { fault, ..test_plan(0) };
        let (with, without) = (grants(&[plan]), grants(&[Plan { fault: Fault::Traffic(trick()), ..test_plan(0) }]));
        let more: Vec<&str> = with.difference(&without).map(String::as_str).collect();
        assert_eq!(more, expect);
    };
    check(Fault::PodDelete(PodDelete { of: redis.clone() }), &["delete pods", "get statefulsets/scale redis"]);
    let scale = Fault::Scale(Scale { workload: redis, replicas: 0 });
    check(scale, &["get statefulsets/scale redis", "patch statefulsets/scale redis"]);
}

fn trick() -> crate::proxy::Trick {
    serde_json::from_value(serde_json::json!({ "refuse": { "for": "1s" } })).unwrap()
}

#[test]
fn what_is_granted_on_all_is_not_granted_by_name_again() {
    let mut access = Access::default();
    access.named(CORE, "secrets", "key", &["get", "patch"]);
    access.all(CORE, "secrets", &["get"]);
    let left: Vec<_> = access.without_what_is_wider().grants.into_iter().map(|one| (one.verb, one.name)).collect();
    assert_eq!(left, [("get", None), ("patch", Some("key".to_owned()))]);
}

#[test]
fn the_manifest_has_an_account_two_roles_and_their_bindings() {
    let text = Access::rehearsing(&[], "shop").manifest("shop");
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(kinds, ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]);
    let lease = "  - apiGroups: [\"coordination.k8s.io\"]\n    resources: [\"leases\"]\n    \
        resourceNames: [\"gameday\"]\n    verbs: [\"delete\", \"get\", \"patch\"]\n";
    assert!(text.contains(lease), "{text}");
    let namespaces = "    resourceNames: [\"kube-system\", \"shop\"]\n    verbs: [\"get\"]\n";
    assert!(text.contains(namespaces), "{text}");
}
