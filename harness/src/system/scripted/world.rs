//! What is so at a moment of the script: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use super::{Mode, Operation, Outage, PodFate, Script, Until, Whom};
use crate::double::{Answers, workload};
use crate::event::{Offset, PodFacts, Subject};
use crate::fault::{
    ApiServerReceipt, ChaosReceipt, DoubleReceipt, Fault, KubeletReceipt, LeakReceipt, NetworkCutReceipt, NodeReceipt,
    Receipt, RegistryReceipt, SecretReceipt,
};
use crate::scenario::plan::{Plan, WorkloadRef};

/// One call that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// When.
    pub at: Offset,
    /// Which.
    pub operation: Operation,
    /// With which receipt, where it takes one.
    pub receipt: Option<Receipt>,
}

/// The system, and what was done to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct World {
    pub(super) calls: Vec<Called>,
    pub(super) broken: BTreeSet<String>,
    pub(super) effect: Option<Offset>,
    pub(super) steps: Vec<Offset>,
    pub(super) healed: Option<Offset>,
    workload: WorkloadRef,
    /// Whose pod is broken; absent where none is.
    victim: Option<WorkloadRef>,
    pods: u32,
    outages: Vec<Outage>,
    fate: PodFate,
}

impl World {
    pub(super) fn new(plan: &Plan, script: &Script) -> Self {
        Self {
            calls: Vec::new(),
            broken: BTreeSet::new(),
            effect: None,
            steps: Vec::new(),
            healed: None,
            workload: plan.workload.clone(),
            victim: plan.fault.target().cloned(),
            pods: script.pods,
            outages: script.outages.clone(),
            fate: script.pod,
        }
    }

    /// When an outage begins; absent while the fault has no effect.
    fn begin(&self, outage: &Outage) -> Option<Offset> {
        Some(self.effect? + outage.from)
    }

    /// When an outage ends, where that is known.
    pub(super) fn end(&self, outage: &Outage) -> Option<Offset> {
        match outage.until {
            Until::After(after) => Some(self.effect? + after),
            Until::Step(step, after) => Some(*self.steps.get(step)? + after),
            Until::Healed(after) => Some(self.healed? + after),
        }
    }

    /// The outages that hold for someone at a time.
    fn outages(&self, who: Whom, at: Offset) -> impl Iterator<Item = &Outage> {
        self.outages.iter().filter(move |outage| {
            let hits = outage.of == who || (outage.of == Whom::Workload && who != Whom::Redis);
            let begun = self.begin(outage).is_some_and(|begin| begin <= at);
            hits && begun && self.end(outage).is_none_or(|end| at < end)
        })
    }

    /// Whether and how someone is down at a time.
    pub(super) fn down(&self, who: Whom, at: Offset) -> Option<Mode> {
        let modes: Vec<Mode> = self.outages(who, at).map(|outage| outage.mode).collect();
        // Who refuses does not hang.
        modes.iter().find(|mode| **mode == Mode::Refuses).or(modes.first()).copied()
    }

    /// When the next known end of an outage of someone is, after a time.
    pub(super) fn next_end(&self, who: Whom, at: Offset) -> Option<Offset> {
        self.outages(who, at).filter_map(|outage| self.end(outage)).min()
    }

    /// When the watch will show something new after a time.
    pub(super) fn next_sight(&self, after: Offset) -> Option<Offset> {
        self.fate_at().filter(|fate| *fate > after)
    }

    fn fate_at(&self) -> Option<Offset> {
        match self.fate {
            PodFate::Stays => None,
            PodFate::Restarts(after) | PodFate::IsReplaced(after) => Some(self.effect? + after),
        }
    }

    /// The pods as the API shows them at a time.
    pub(super) fn pods(&self, at: Offset) -> Vec<PodFacts> {
        let met = self.fate_at().is_some_and(|fate| fate <= at);
        let mut pods: Vec<PodFacts> = (0..self.pods).map(|place| pod(&self.workload, place, 0)).collect();
        let Some(victim) = &self.victim else { return pods };
        if *victim != self.workload {
            pods.push(pod(victim, 0, 0));
        }
        if let (true, Some(broken)) = (met, pods.iter_mut().find(|pod| pod.workload.as_ref() == Some(victim))) {
            match self.fate {
                PodFate::Stays => {}
                PodFate::Restarts(_) => {
                    broken.restarts += 1;
                    broken.container_ids = vec![format!("{}-again", broken.name)];
                }
                PodFate::IsReplaced(_) => *broken = pod(victim, 0, 1),
            }
        }
        pods
    }

    /// What the victim says who it is.
    pub(super) fn run_id(&self, at: Offset) -> String {
        let again = self.fate_at().is_some_and(|fate| fate <= at);
        format!("run-{}", u8::from(again))
    }
}

/// Who answers a look.
pub(super) fn whom(subject: &Subject) -> Whom {
    match subject {
        Subject::Service => Whom::Service,
        Subject::Pod { name, .. } => {
            Whom::Pod(name.rsplit('-').next().and_then(|place| place.parse().ok()).unwrap_or(0))
        }
    }
}

fn pod(workload: &WorkloadRef, place: u32, generation: u32) -> PodFacts {
    let name = format!("{}-{place}", workload.name);
    PodFacts {
        uid: format!("uid-{name}-{generation}"),
        workload: Some(workload.clone()),
        phase: "Running".to_owned(),
        ready: true,
        terminating: false,
        container_ids: vec![format!("{name}-{generation}")],
        restarts: 0,
        reason: None,
        ended: None,
        name,
    }
}

/// The only node of the script.
const NODE: &str = "node";

/// What preparing a fault finds.
pub(super) fn receipt(fault: &Fault) -> Receipt {
    let namespace = "scripted".to_owned();
    match fault {
        Fault::PodSignal(signal) => {
            let pod = pod(&signal.of, 0, 0);
            Receipt::PodSignal {
                namespace,
                pod: pod.name,
                uid: pod.uid,
                container: "main".to_owned(),
                container_id: pod.container_ids.concat(),
                signal: signal.signal,
                of: signal.of.clone(),
            }
        }
        Fault::PodDelete(delete) => {
            let pod = pod(&delete.of, 0, 0);
            Receipt::PodDelete { namespace, pod: pod.name, uid: pod.uid, of: delete.of.clone() }
        }
        Fault::RolloutRestart(restart) => Receipt::RolloutRestart { namespace, workload: restart.workload.clone() },
        Fault::Scale(scale) => Receipt::Scale {
            namespace,
            workload: scale.workload.clone(),
            replicas_before: 1,
            replicas_fault: scale.replicas,
        },
        Fault::Secret(secret) => Receipt::Secret(SecretReceipt {
            namespace,
            name: secret.name.clone(),
            key: secret.key.clone(),
            value: secret.value,
            seed: 0,
            salt: "salt".to_owned(),
            hash_before: "before".to_owned(),
            hash_fault: "fault".to_owned(),
            kept: "kept".to_owned(),
            restart: secret.restart.clone(),
        }),
        Fault::LlmDouble(double) => {
            Receipt::LlmDouble(DoubleReceipt { namespace, before: Answers::Ok, fault: double.answers, of: workload() })
        }
        Fault::Traffic(trick) => Receipt::Traffic {
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            proxy: "scripted".to_owned(),
            trick: trick.clone(),
        },
        Fault::Annotate(annotate) => Receipt::Annotate {
            namespace,
            object: annotate.object.clone(),
            key: annotate.key.clone(),
            value_before: None,
            value_fault: annotate.value.clone(),
        },
        Fault::Leak(leak) => {
            let pod = pod(&leak.of, 0, 0);
            let container_id = pod.container_ids.concat();
            Receipt::Leak(LeakReceipt { namespace, pod: pod.name, container_id, port: leak.port, of: leak.of.clone() })
        }
        Fault::Node(node) => Receipt::Node(NodeReceipt {
            node: NODE.to_owned(),
            container: NODE.to_owned(),
            does: node.does,
            was_unschedulable: false,
            namespace,
            workloads: Vec::new(),
        }),
        Fault::Kubelet(_) => Receipt::Kubelet(KubeletReceipt {
            node: NODE.to_owned(),
            container: NODE.to_owned(),
            namespace,
            workloads: Vec::new(),
        }),
        Fault::ApiServer(away) => Receipt::ApiServer(ApiServerReceipt {
            nodes: vec![(NODE.to_owned(), NODE.to_owned())],
            aside: "aside".to_owned(),
            lasts: away.lasts,
        }),
        Fault::Registry(registry) => Receipt::Registry(RegistryReceipt {
            address: "localhost:5001".to_owned(),
            container: "registry".to_owned(),
            namespace,
            during: registry.during.clone(),
            policies: Vec::new(),
        }),
        Fault::NetworkCut(cut) => Receipt::NetworkCut(NetworkCutReceipt {
            namespace,
            policy: "cut".to_owned(),
            from: cut.from.clone(),
            from_labels: BTreeMap::new(),
            to: cut.to.clone(),
            to_labels: BTreeMap::new(),
        }),
        Fault::Chaos(chaos) => Receipt::Chaos(ChaosReceipt {
            namespace,
            kind: chaos.kind,
            name: "chaos".to_owned(),
            spec: chaos.spec.clone(),
        }),
    }
}
