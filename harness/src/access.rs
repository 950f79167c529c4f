//! What a rehearsal may do on a cluster: the Role that its plans need, and nothing more. Pure.
//!
//! Derived from the plans alone: what is sampled, broken, carried out, healed, and told in a bundle.
//! A test compares it with the calls that a rehearsal makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::double;
use crate::fault::Fault;
use crate::runbook::command::Action;
use crate::sample::{Check, ClusterCheck, Target};
use crate::scenario::needs::Need;
use crate::scenario::object::{ObjectKind, ObjectRef};
use crate::scenario::plan::{Plan, Through, WorkloadKind, WorkloadRef};

/// The name of the lease on a namespace.
pub const LEASE: &str = "gameday";
/// The name of the account and its roles.
pub const ACCOUNT: &str = "gameday";
const CORE: &str = "";
const APPS: &str = "apps";
const CHAOS: &str = "chaos-mesh.org";
const NETWORKING: &str = "networking.k8s.io";
/// What is asked for a tunnel: from 1.35 on, `create` in addition to the `get` of the request.
const TUNNEL: [&str; 2] = ["create", "get"];
const LOOK: [&str; 1] = ["get"];
/// What is read for a bundle where a scenario did not pass.
const BUNDLED: [(&str, &str); 7] = [
    (APPS, "deployments"),
    (APPS, "replicasets"),
    (APPS, "statefulsets"),
    (CORE, "configmaps"),
    (CORE, "events"),
    (CORE, "persistentvolumeclaims"),
    (CORE, "services"),
];

/// One thing that may be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grant {
    /// The namespace's objects, or the cluster's.
    pub scope: Scope,
    /// API group; empty for the core group.
    pub group: String,
    /// `pods`, `pods/proxy`…
    pub resource: String,
    /// Of which object; of all where absent.
    pub name: Option<String>,
    /// `get`, `list`…
    pub verb: &'static str,
}

/// Where a grant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// In the run's namespace: a Role.
    Namespace,
    /// For objects that are in none: a ClusterRole.
    Cluster,
}

/// Everything that may be done, without what a wider grant holds already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    grants: BTreeSet<Grant>,
}

impl Access {
    /// What rehearsing these plans needs where the system is installed, in a namespace of
    /// somebody else's cluster.
    #[must_use]
    pub fn rehearsing(plans: &[Plan], namespace: &str) -> Self {
        let mut access = Self::default();
        access.every_run(namespace);
        for plan in plans {
            access.plan(plan);
        }
        if plans.iter().any(|plan| plan.without(Need::LlmDouble).as_ref() != Some(plan)) {
            access.named(CORE, "services", double::NAME, &LOOK);
        }
        access.without_what_is_wider()
    }

    /// The grants, in order.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    fn every_run(&mut self, namespace: &str) {
        // Which cluster it is, and whether somebody allowed it.
        for name in ["kube-system", namespace] {
            self.add(Scope::Cluster, CORE, "namespaces", Some(name), &LOOK);
        }
        self.all(CORE, "pods", &["list", "watch"]);
        // So that nobody else rehearses there.
        self.all("coordination.k8s.io", "leases", &["create"]);
        self.named("coordination.k8s.io", "leases", LEASE, &["delete", "get", "patch"]);
        // The way to the Service, and the pods behind it.
        self.all("networking.k8s.io", "ingresses", &["list"]);
        self.all("discovery.k8s.io", "endpointslices", &["list", "watch"]);
        self.all(CORE, "pods/portforward", &TUNNEL);
        // Receipts, so that another machine can heal.
        self.all(CORE, "configmaps", &["create", "delete", "patch"]);
        // What pods said, and the values that must be taken out of it.
        self.all(CORE, "pods/log", &LOOK);
        self.all(CORE, "secrets", &["list"]);
        for (group, resource) in BUNDLED {
            self.all(group, resource, &["list"]);
        }
    }

    fn plan(&mut self, plan: &Plan) {
        self.named(CORE, "services", &plan.service, &LOOK);
        self.workload(&plan.workload, "", &LOOK);
        for planned in &plan.checks {
            self.check(&planned.check);
        }
        if let Through::Proxy(proxy) = &plan.through
            && let Some(ingress) = &proxy.ingress
        {
            self.named("networking.k8s.io", "ingresses", ingress, &LOOK);
            self.all("networking.k8s.io", "ingresses", &["list", "watch"]);
        }
        self.fault(&plan.fault);
        for step in &plan.remedy {
            self.action(&step.command.action);
        }
    }

    fn check(&mut self, check: &Check) {
        if check.target() == Some(Target::EachPod) && !matches!(check, Check::Environment(_)) {
            self.all(CORE, "pods/proxy", &LOOK);
        }
        match check {
            // Through the Service, or told above; or a table of our own.
            Check::Http(_) | Check::Websocket(_) | Check::Question(_) | Check::Survival(_) | Check::Sockets(_) => {}
            Check::Metric(_) => self.all(CORE, "pods/proxy", &LOOK),
            Check::Redis(_) => self.all(CORE, "pods/portforward", &TUNNEL),
            Check::Environment(_) => self.all(CORE, "pods/exec", &TUNNEL),
            Check::Log(_) => self.all(CORE, "pods/log", &LOOK),
            Check::LlmDouble(_) => self.double(&LOOK),
            Check::Cluster(ClusterCheck::NodesReady | ClusterCheck::NodesSchedulable) => {
                self.add(Scope::Cluster, CORE, "nodes", None, &["list"]);
            }
            // Whoever is known may ask whether it is ready; a registry is only a kind cluster's.
            Check::Cluster(ClusterCheck::ApiServer | ClusterCheck::Registry) => {}
        }
    }

    fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::PodSignal(fault) => {
                // Whether the process that was stopped is still there to go on.
                self.all(CORE, "pods", &LOOK);
                self.restored(&fault.of);
            }
            Fault::PodDelete(fault) => {
                self.all(CORE, "pods", &["delete"]);
                self.restored(&fault.of);
            }
            Fault::Scale(fault) => {
                self.workload(&fault.workload, "/scale", &["get", "patch"]);
                self.restored(&fault.workload);
            }
            Fault::RolloutRestart(fault) => {
                self.workload(&fault.workload, "", &["get", "patch"]);
                self.restored(&fault.workload);
            }
            Fault::Secret(fault) => {
                self.named(CORE, "secrets", &fault.name, &["get", "patch"]);
                // The original is kept in one whose name is known when it is kept.
                self.all(CORE, "secrets", &["create", "delete", "get", "list", "patch"]);
                self.all(CORE, "pods/exec", &TUNNEL);
                self.workload(&fault.restart, "", &["get", "patch"]);
                self.restored(&fault.restart);
            }
            Fault::LlmDouble(_) => {
                self.double(&["get", "update"]);
                self.restored(&double::workload());
            }
            Fault::Traffic(_) => {}
            Fault::Annotate(fault) => self.object(&fault.object, &["get", "patch"]),
            Fault::Leak(fault) => {
                self.all(CORE, "pods", &LOOK);
                // Its switches: whether there are any, on, and off.
                self.all(CORE, "pods/proxy", &["create", "delete", "get"]);
                self.restored(&fault.of);
            }
            Fault::NetworkCut(fault) => {
                self.all(NETWORKING, "networkpolicies", &["create", "delete", "get", "list", "patch"]);
                self.workload(&fault.from, "", &LOOK);
                self.workload(&fault.to, "", &LOOK);
            }
            Fault::Chaos(fault) => {
                let plural = fault.kind.to_string().to_lowercase();
                self.all(CHAOS, &plural, &["create", "delete", "get", "patch"]);
            }
            // Only on clusters that we made, where nobody needs a Role.
            Fault::Node(_) | Fault::Kubelet(_) | Fault::ApiServer(_) | Fault::Registry(_) => {}
        }
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::RolloutRestart(workload) => self.workload(workload, "", &["get", "patch"]),
            Action::RolloutUndo { workload, .. } => {
                self.workload(workload, "", &["get", "patch"]);
                let revisions = match workload.kind {
                    WorkloadKind::Deployment => "replicasets",
                    WorkloadKind::StatefulSet => "controllerrevisions",
                };
                self.all(APPS, revisions, &["list"]);
            }
            Action::Scale { workload, .. } => self.workload(workload, "/scale", &["patch"]),
            Action::Annotate { object, .. } => self.object(object, &["get", "patch"]),
            Action::DeletePod { .. } => self.all(CORE, "pods", &["delete"]),
            Action::ApplySecret { name, .. } => {
                self.all(CORE, "secrets", &["create", "list"]);
                self.named(CORE, "secrets", name, &["get", "patch"]);
            }
            Action::ProviderAnswersAgain => self.double(&["update"]),
            Action::NetworkIsWholeAgain => self.all(NETWORKING, "networkpolicies", &["deletecollection"]),
            // As above.
            Action::RegistryAnswersAgain => {}
        }
    }

    /// What healing looks at until the workload is whole again.
    fn restored(&mut self, workload: &WorkloadRef) {
        self.workload(workload, "/scale", &LOOK);
    }

    fn double(&mut self, verbs: &[&'static str]) {
        self.named(CORE, "services/proxy", &format!("{}:http", double::NAME), verbs);
    }

    fn workload(&mut self, workload: &WorkloadRef, subresource: &str, verbs: &[&'static str]) {
        let plural = match workload.kind {
            WorkloadKind::Deployment => "deployments",
            WorkloadKind::StatefulSet => "statefulsets",
        };
        self.named(APPS, &format!("{plural}{subresource}"), &workload.name, verbs);
    }

    fn object(&mut self, object: &ObjectRef, verbs: &[&'static str]) {
        let plural = match object.kind {
            ObjectKind::Deployment => "deployments",
            ObjectKind::Ingress => "ingresses",
            ObjectKind::Service => "services",
            ObjectKind::StatefulSet => "statefulsets",
        };
        self.named(object.kind.group(), plural, &object.name, verbs);
    }

    fn all(&mut self, group: &str, resource: &str, verbs: &[&'static str]) {
        self.add(Scope::Namespace, group, resource, None, verbs);
    }

    fn named(&mut self, group: &str, resource: &str, name: &str, verbs: &[&'static str]) {
        self.add(Scope::Namespace, group, resource, Some(name), verbs);
    }

    fn add(&mut self, scope: Scope, group: &str, resource: &str, name: Option<&str>, verbs: &[&'static str]) {
        let grant = |verb: &&'static str| Grant {
            scope,
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.map(str::to_owned),
            verb,
        };
        self.grants.extend(verbs.iter().map(grant));
    }

    fn without_what_is_wider(mut self) -> Self {
        let wide = self.grants.clone();
        self.grants.retain(|grant| grant.name.is_none() || !wide.contains(&Grant { name: None, ..grant.clone() }));
        self
    }

    /// The account, its roles and their bindings, as a manifest.
    #[must_use]
    pub fn manifest(&self, namespace: &str) -> String {
        let mut text =
            format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {ACCOUNT}\n  namespace: {namespace}\n");
        for scope in [Scope::Namespace, Scope::Cluster] {
            let rules = self.rules(scope);
            if !rules.is_empty() {
                text.push_str(&role(scope, namespace, &rules));
            }
        }
        text
    }

    /// Verbs by what they are granted on.
    fn rules(&self, scope: Scope) -> BTreeMap<Rule<'_>, BTreeSet<&str>> {
        let mut verbs: BTreeMap<(&str, &str, Option<&str>), Vec<&'static str>> = BTreeMap::new();
        for grant in self.grants.iter().filter(|grant| grant.scope == scope) {
            let on = (grant.group.as_str(), grant.resource.as_str(), grant.name.as_deref());
            verbs.entry(on).or_default().push(grant.verb);
        }
        let mut rules: BTreeMap<Rule<'_>, BTreeSet<&str>> = BTreeMap::new();
        for ((group, resource, name), verbs) in verbs {
            let rule = Rule { group, resource, is_named: name.is_some(), verbs };
            rules.entry(rule).or_default().extend(name);
        }
        rules
    }
}

/// What verbs are granted on; objects of several names share one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule<'a> {
    group: &'a str,
    resource: &'a str,
    is_named: bool,
    verbs: Vec<&'static str>,
}

fn role(scope: Scope, namespace: &str, rules: &BTreeMap<Rule<'_>, BTreeSet<&str>>) -> String {
    let group = "rbac.authorization.k8s.io";
    let (kind, name, metadata) = match scope {
        Scope::Namespace => ("Role", ACCOUNT.to_owned(), format!("  name: {ACCOUNT}\n  namespace: {namespace}\n")),
        // One for each namespace: it names the namespace.
        Scope::Cluster => ("ClusterRole", format!("{ACCOUNT}-{namespace}"), format!("  name: {ACCOUNT}-{namespace}\n")),
    };
    let mut text = format!("---\napiVersion: {group}/v1\nkind: {kind}\nmetadata:\n{metadata}rules:\n");
    for (Rule { group, resource, verbs, .. }, names) in rules {
        let quoted = |items: &mut dyn Iterator<Item = &str>| {
            items.map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
        };
        let mut line = |key: &str, items: String| {
            let start = if key == "apiGroups" { "  - " } else { "    " };
            writeln!(text, "{start}{key}: [{items}]").expect("a string can be written to");
        };
        line("apiGroups", format!("\"{group}\""));
        line("resources", format!("\"{resource}\""));
        if !names.is_empty() {
            line("resourceNames", quoted(&mut names.iter().copied()));
        }
        line("verbs", quoted(&mut verbs.iter().copied()));
    }
    let _ = write!(
        text,
        "---\napiVersion: {group}/v1\nkind: {kind}Binding\nmetadata:\n{metadata}roleRef:\n  apiGroup: {group}\n  \
         kind: {kind}\n  name: {name}\nsubjects:\n  - kind: ServiceAccount\n    name: {ACCOUNT}\n    namespace: {namespace}\n"
    );
    text
}

#[cfg(test)]
mod tests;
