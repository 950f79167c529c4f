//! Since when: what a single look cannot tell.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{RolloutView, TroubleKind};
use crate::event::Offset;

/// Since when the troubles of one rollout last, and since when it has not progressed.
#[derive(Debug, Default)]
pub(super) struct Ages {
    troubles: BTreeMap<(String, TroubleKind), Offset>,
    progress: Option<(Standing, Offset)>,
}

/// What counts as progress: any change of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    observed: bool,
    available: u32,
    new: usize,
    ready: usize,
    old: usize,
}

impl Ages {
    /// Takes in a look at `now`: fills in how long its troubles last, and returns for how
    /// long it has not progressed.
    pub(super) fn take(&mut self, view: &mut RolloutView, now: Offset) -> Duration {
        let mut troubles = BTreeMap::new();
        for pod in &mut view.pods {
            if let Some(trouble) = &mut pod.trouble {
                let key = (pod.uid.clone(), trouble.kind);
                let since = self.troubles.get(&key).copied().unwrap_or(now);
                trouble.lasts = now.since(since);
                troubles.insert(key, since);
            }
        }
        self.troubles = troubles;

        let standing = standing(view);
        let since = match self.progress {
            Some((before, since)) if before == standing => since,
            _ => now,
        };
        self.progress = Some((standing, since));
        now.since(since)
    }
}

fn standing(view: &RolloutView) -> Standing {
    Standing {
        observed: view.observed,
        available: view.available,
        new: view.pods.iter().filter(|pod| pod.new).count(),
        ready: view.pods.iter().filter(|pod| pod.new && pod.ready).count(),
        old: view.pods.iter().filter(|pod| !pod.new || pod.terminating).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PodView, Trouble};
    use super::*;

    fn look(ages: &mut Ages, trouble: Option<TroubleKind>, ready: bool, at: u64) -> (Option<u64>, u64) {
        let trouble = trouble.map(|kind| Trouble { kind, says: String::new(), lasts: Duration::ZERO });
        let pod =
            PodView { name: "p".into(), uid: "u".into(), new: true, ready, terminating: false, restarts: 0, trouble };
        let mut view = RolloutView {
            workload: "deployment/web".parse().unwrap(),
            observed: true,
            paused: false,
            wanted: 1,
            available: 0,
            own_deadline: None,
            deadline_exceeded: None,
            pods: vec![pod],
        };
        let unchanged = ages.take(&mut view, Offset::from_millis(at * 1000));
        (view.pods[0].trouble.as_ref().map(|trouble| trouble.lasts.as_secs()), unchanged.as_secs())
    }

    #[test]
    fn troubles_last_from_their_first_look_and_progress_starts_anew() {
        let mut ages = Ages::default();
        assert_eq!(look(&mut ages, Some(TroubleKind::Pull), false, 0), (Some(0), 0));
        assert_eq!(look(&mut ages, Some(TroubleKind::Pull), false, 7), (Some(7), 7));
        assert_eq!(look(&mut ages, Some(TroubleKind::CrashLoop), false, 9), (Some(0), 9), "another sort of trouble");
        assert_eq!(look(&mut ages, None, false, 10), (None, 10));
        assert_eq!(look(&mut ages, Some(TroubleKind::CrashLoop), false, 12), (Some(0), 12), "it went away meanwhile");
        assert_eq!(look(&mut ages, None, true, 13), (None, 0), "a pod became ready");
        assert_eq!(look(&mut ages, None, true, 15), (None, 2));
    }
}
