//! Errors of the API while a rollout is followed: weather, until it does not clear.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Offset;

/// How long a watch may see nothing but errors. A restart of an API server takes less.
const BLIND_AFTER: Duration = Duration::from_secs(60);
/// Errors further apart than this are not one spell: a watch tries again within 30 s and
/// its jitter, so it saw no error in between.
const SPELL_GAP: Duration = Duration::from_secs(45);

/// The spell of errors that each watch is in.
#[derive(Debug, Default)]
pub(super) struct Weather {
    spells: BTreeMap<&'static str, Spell>,
}

#[derive(Debug)]
struct Spell {
    since: Offset,
    last: Offset,
}

impl Weather {
    /// A watch showed something.
    pub(super) fn clear(&mut self, watch: &'static str) {
        self.spells.remove(watch);
    }

    /// A watch failed; whether that has gone on for too long.
    pub(super) fn error(&mut self, watch: &'static str, now: Offset) -> bool {
        let spell = self.spells.entry(watch).or_insert(Spell { since: now, last: now });
        if now.since(spell.last) > SPELL_GAP {
            spell.since = now;
        }
        spell.last = now;
        now.since(spell.since) >= BLIND_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_spell_of_errors_on_one_watch_blinds() {
        let at = |seconds: u64| Offset::from_millis(seconds * 1000);
        let mut weather = Weather::default();
        assert!(!weather.error("Pod", at(0)));
        assert!(!weather.error("Pod", at(30)));
        assert!(!weather.error("Deployment", at(59)), "another watch has a spell of its own");
        assert!(weather.error("Pod", at(60)));
        weather.clear("Pod");
        assert!(!weather.error("Pod", at(61)), "it had cleared");
        assert!(!weather.error("Pod", at(200)), "an error now and then is no spell");
    }
}
