//! What scenarios need of their surroundings, and which of them have it.

use std::time::Duration;

use super::RunError;
use super::recorder::Shared;
use crate::cluster::Cluster;
use crate::double;
use crate::event::What;
use crate::scenario::needs::Need;
use crate::scenario::plan::Plan;
use crate::system::SystemError;

/// How often an API server that does not answer is asked.
const LOOKS_MAX: u32 = 40;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// The plans as they can be rehearsed here; those that cannot are recorded as skipped, by name.
///
/// # Errors
/// [`RunError::Needs`] where the cluster does not say what it has.
pub(super) async fn met(plans: &[Plan], cluster: &Cluster, recorder: &Shared) -> Result<Vec<Plan>, RunError> {
    let need = Need::LlmDouble;
    let is_needed = plans.iter().any(|plan| plan.without(need).as_ref() != Some(plan));
    if !is_needed || has(cluster, need).await.map_err(RunError::Needs)? {
        return Ok(plans.to_vec());
    }
    let mut met = Vec::new();
    for plan in plans {
        match plan.without(need) {
            Some(plan) => met.push(plan),
            None => {
                let why = format!("namespace `{}` has no {need}", cluster.namespace);
                recorder.emit(What::ScenarioSkipped { plan: Box::new(plan.clone()), why })?;
            }
        }
    }
    Ok(met)
}

/// Whether it is there; weather is waited out.
async fn has(cluster: &Cluster, need: Need) -> Result<bool, SystemError> {
    let mut looks = 1;
    loop {
        let looked = match need {
            Need::LlmDouble => double::is_there(cluster).await,
        };
        match looked {
            Err(error) if error.transient && looks < LOOKS_MAX => looks += 1,
            looked => return looked,
        }
        tokio::time::sleep(LOOK).await;
    }
}
