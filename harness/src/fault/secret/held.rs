//! Pods that started while a Secret was bad hold the bad value for as long as they run.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::SecretReceipt;
use crate::cluster::{Cluster, pods};
use crate::fault::workload;
use crate::salted;
use crate::sample::door::{Door, Failure};
use crate::sample::exec::exec;
use crate::system::SystemError;

/// How long the workload may take until no pod holds the bad value.
const RELEASED_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks: each asks every pod.
const LOOK: Duration = Duration::from_millis(500);

/// What one pod holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    /// Another value, or none: it does not read the key.
    Other,
    /// It cannot be asked yet.
    Unknown,
    /// The bad value.
    Bad,
}

/// Restarts the workload if pods of its newest template hold the bad value, and waits until
/// none does. Returns what it did.
pub(super) async fn release(receipt: &SecretReceipt, cluster: &Cluster) -> Result<Vec<String>, SystemError> {
    let door = Door::api(&cluster.api).map_err(|message| SystemError { message, transient: false })?;
    let mut done = Vec::new();
    let mut last = "nothing".to_owned();
    let releasing = async {
        loop {
            match look(receipt, cluster, &door).await? {
                Seen::Released => return Ok(()),
                Seen::NotYet(not_yet) => last = not_yet,
                Seen::Restart => {
                    workload::restart(cluster, &receipt.restart).await?;
                    done.push(format!("{} restarted, whose pods held the bad value", receipt.restart));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(RELEASED_WITHIN, releasing).await {
        Ok(released) => released.map(|()| done),
        Err(_) => Err(SystemError {
            message: format!("see {} without the bad value; last seen: {last}", receipt.restart),
            transient: true,
        }),
    }
}

enum Seen {
    Released,
    NotYet(String),
    Restart,
}

async fn look(receipt: &SecretReceipt, cluster: &Cluster, door: &Door) -> Result<Seen, SystemError> {
    let newest = workload::restarted_at(cluster, &receipt.restart).await?;
    let mut worst = Holds::Other;
    let mut not_yet = String::new();
    for pod in workload::pods_of(cluster, &receipt.restart).await? {
        let facts = pods::facts(&pod);
        // One on its way out takes its value with it.
        if facts.terminating {
            continue;
        }
        let holds = holds(receipt, door, &pod).await?;
        // Pods of an older template are being replaced already.
        if holds == Holds::Bad && workload::restarted_annotation(pod.metadata.annotations.as_ref()) == newest {
            return Ok(Seen::Restart);
        }
        if holds > worst {
            worst = holds;
            not_yet = format!("pod {}, {holds:?}", facts.name);
        }
    }
    Ok(if worst == Holds::Other { Seen::Released } else { Seen::NotYet(not_yet) })
}

async fn holds(receipt: &SecretReceipt, door: &Door, pod: &Pod) -> Result<Holds, SystemError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let Some(variable) = containers.into_iter().find_map(|container| variable(receipt, container)) else {
        return Ok(Holds::Other);
    };
    match exec(door, &receipt.namespace, name, &salted::of_variable(&receipt.salt, &variable)).await {
        Ok(output) => match salted::printed(&output) {
            Some(hash) if hash == receipt.hash_fault => Ok(Holds::Bad),
            Some(_) => Ok(Holds::Other),
            None => Err(SystemError {
                message: format!("read `{variable}` in pod `{name}`: the container has no `sha256sum`"),
                transient: false,
            }),
        },
        // It starts, or it is on its way out.
        Err(Failure::Theirs(_)) => Ok(Holds::Unknown),
        Err(Failure::Ours(reason)) => {
            Err(SystemError { message: format!("read `{variable}` in pod `{name}`: {reason}"), transient: true })
        }
    }
}

/// The variable in which a container has the key, where it has it in one.
fn variable(receipt: &SecretReceipt, container: &Container) -> Option<String> {
    let named = container.env.iter().flatten().find_map(|one| {
        let from = one.value_from.as_ref()?.secret_key_ref.as_ref()?;
        (from.name == receipt.name && from.key == receipt.key).then(|| one.name.clone())
    });
    let whole = || {
        container.env_from.iter().flatten().find_map(|from| {
            from.secret_ref.as_ref().filter(|of| of.name == receipt.name)?;
            Some(format!("{}{}", from.prefix.as_deref().unwrap_or_default(), receipt.key))
        })
    };
    named.or_else(whole).filter(|name| salted::is_variable(name))
}
