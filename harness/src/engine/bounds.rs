//! Every bound of the engine, by name.

use std::time::Duration;

use super::patience::Patience;
use crate::fault::Receipt;

/// Reading pods, preparing a fault, keeping a receipt.
pub const CALL: Patience = Patience { each: Duration::from_secs(10), within: Duration::from_secs(20) };
/// Sending a fault.
pub const INJECT: Patience = Patience { each: Duration::from_secs(10), within: Duration::from_secs(15) };
/// Sending one that somebody else carries out: an engine, a disruption budget, Chaos Mesh.
pub const INJECT_BY_OTHERS: Patience = Patience { each: Duration::from_secs(60), within: Duration::from_secs(75) };
/// Carrying out a remedy step.
pub const STEP: Patience = Patience { each: Duration::from_secs(15), within: Duration::from_secs(30) };
/// Healing; one try waits up to a minute until the workload is ready again.
pub const HEAL: Patience = Patience { each: Duration::from_secs(75), within: Duration::from_secs(150) };
/// Healing what was broken below the API: a node starts as a machine does, and then what runs on it.
pub const HEAL_BELOW: Patience = Patience { each: Duration::from_secs(260), within: Duration::from_secs(400) };
/// A fault whose sending went wrong may still arrive within this time: healing waits for it,
/// and heals again.
pub const LATE_ARRIVAL: Duration = Duration::from_secs(2);
/// The steady state must hold at least this long.
pub const SETTLE_WINDOW_MIN: Duration = Duration::from_secs(1);
/// The steady state must hold for as many samples of the slowest series.
pub const SETTLE_SAMPLES: u32 = 4;
/// The steady state need not hold longer than this right before the fault: `hold` is made to
/// outlast crash loops, which the settling and the baseline before it would have shown.
pub const STEADY_WINDOW_MAX: Duration = Duration::from_secs(3);
/// Proof and symptom are waited for this long before the first remedy step.
pub const FELT_WITHIN: Duration = Duration::from_secs(20);
/// A fault without proof and symptom is watched this long where nobody acts.
pub const PROOF_WITHIN: Duration = Duration::from_secs(30);
/// How long after `hold` the last samples of a streak may take to come in.
pub const HOLD_MARGIN: Duration = Duration::from_secs(2);
/// How long a healed system may take until it is steady; the next scenario waits again.
pub const SUBSIDE_WITHIN: Duration = Duration::from_secs(20);
/// How long observing may take to end once it was told to.
pub const OBSERVING_ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Observations that may wait for the engine, which may be waiting for a disk.
pub const OBSERVATIONS_MAX: usize = 16_384;
/// Observations taken in before anything is decided.
pub const BATCH_MAX: usize = 256;
/// A check whose right answers take this long in the median is costly: it keeps a server
/// busy, or waits behind one that is.
pub const COSTLY_ABOVE: Duration = Duration::from_millis(50);
/// Answers of a check before its cost is judged.
pub const COSTLY_ANSWERS_MIN: usize = 5;

/// How long sending a fault may take.
#[must_use]
pub fn inject(receipt: &Receipt) -> Patience {
    if receipt.is_below() || matches!(receipt, Receipt::Chaos(_)) { INJECT_BY_OTHERS } else { INJECT }
}

/// How long healing may take.
#[must_use]
pub fn heal(receipt: &Receipt) -> Patience {
    if receipt.is_below() { HEAL_BELOW } else { HEAL }
}
