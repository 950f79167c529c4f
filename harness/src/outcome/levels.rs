//! Numbers that proof checks read: how they moved since the fault.

use crate::event::{Offset, Sample};

/// Which way a reading moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Fell,
    Rose,
}

/// What one metric check read on both sides of the fault.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Levels {
    /// The newest reading before the fault, and when it was sent.
    before: Option<(Offset, f64)>,
    /// Readings after the fault, and when each was there.
    after: Vec<(Offset, f64)>,
}

impl Levels {
    /// Takes in a reading; what is no number is none.
    pub(super) fn read(&mut self, sample: &Sample, fault: Option<Offset>) {
        let Some(value) = sample.value.as_ref().and_then(|value| value.parse::<f64>().ok()) else { return };
        match fault {
            Some(fault) if sample.sent >= fault => self.after.push((sample.done, value)),
            // An answer that came after the fault may already tell of it.
            Some(fault) if sample.done > fault => {}
            Some(_) | None => {
                if self.before.is_none_or(|(sent, _)| sent < sample.sent) {
                    self.before = Some((sample.sent, value));
                }
            }
        }
    }

    /// When it was first seen so much lower, or higher, than before.
    pub(super) fn moved(&self, way: Way, by: u32) -> Option<Offset> {
        let (_, before) = self.before?;
        let far = |value: f64| match way {
            Way::Fell => before - value >= f64::from(by),
            Way::Rose => value - before >= f64::from(by),
        };
        self.after.iter().filter(|(_, value)| far(*value)).map(|(at, _)| *at).min()
    }
}
