//! By how much a counter of several pods has grown since it was first looked at: pure.

use std::collections::HashMap;

use crate::event::Offset;

/// What was read so far. Counters are those of processes: a new pod's begins with 0, and so does
/// the one of a container that started again.
#[derive(Debug, Default)]
pub(crate) struct Increase {
    counters: HashMap<String, Counter>,
    total: f64,
    begun: bool,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    /// When it was asked for; looks may overlap.
    asked: Offset,
    value: f64,
}

impl Increase {
    /// Takes in what the pods with these uids answered to a look, and says the growth until now.
    pub(super) fn read(&mut self, asked: Offset, readings: &[(&str, f64)]) -> f64 {
        for (uid, value) in readings.iter().copied() {
            let before = self.counters.get(uid).copied();
            if before.is_some_and(|before| before.asked > asked) {
                continue;
            }
            self.total += match before {
                Some(before) if value >= before.value => value - before.value,
                None if !self.begun => 0.0,
                Some(_) | None => value,
            };
            self.counters.insert(uid.to_owned(), Counter { asked, value });
        }
        self.begun |= !readings.is_empty();
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_every_counter_and_never_falls() {
        let mut increase = Increase::default();
        let mut check = |millis: u64, readings: &[(&str, f64)], expect: f64| {
            assert_eq!(increase.read(Offset::from_millis(millis), readings), expect, "{readings:?}");
        };
        check(0, &[], 0.0);
        // What was counted before the first look is no growth.
        check(10, &[("a", 7.0), ("b", 2.0)], 0.0);
        check(20, &[("a", 9.0), ("b", 2.0)], 2.0);
        // A pod that leaves takes nothing along; a new one begins with 0.
        check(30, &[("b", 3.0), ("c", 1.0)], 4.0);
        // A container that started again has counted this much since.
        check(40, &[("b", 1.0), ("c", 1.0)], 5.0);
        // A look that was overtaken says nothing new.
        check(35, &[("b", 3.0)], 5.0);
        check(50, &[("b", 1.0), ("c", 4.0)], 8.0);
    }
}
