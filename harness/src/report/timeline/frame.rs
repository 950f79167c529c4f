//! Moments as columns, and series as stretches of columns.

use std::time::Duration;

use super::{COLUMNS, Shade, Stretch};
use crate::event::Offset;

/// The time that is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) from: Offset,
    pub(super) until: Offset,
}

/// One timed look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) at: Offset,
    pub(super) shade: Shade,
}

impl Frame {
    /// The column of a moment; that of the nearest edge where it lies outside.
    pub(super) fn column(&self, at: Offset) -> u16 {
        let (whole, part) = (self.until.since(self.from).as_nanos().max(1), at.since(self.from).as_nanos());
        u16::try_from(part * u128::from(COLUMNS) / whole).map_or(COLUMNS, |column| column.min(COLUMNS))
    }

    pub(super) fn holds(&self, at: Offset) -> bool {
        at >= self.from && at < self.until
    }

    /// The looks of one series. Each stands for the time to the next, but for no longer than `gap`:
    /// beyond it, nobody looked.
    pub(super) fn of_looks(&self, looks: &[Look], gap: Duration) -> Vec<Stretch> {
        let mut sorted = looks.to_vec();
        sorted.sort_unstable();
        let mut canvas = Canvas::default();
        for (place, look) in sorted.iter().enumerate() {
            let next = sorted.get(place + 1).map_or(self.until, |next| next.at);
            self.paint(&mut canvas, look.at, next.min(look.at + gap), look.shade);
        }
        canvas.stretches()
    }

    /// States that each hold until the next; the last one until `end`.
    pub(super) fn of_states(&self, states: &[Look], end: Offset) -> Vec<Stretch> {
        let mut canvas = Canvas::default();
        for (place, state) in states.iter().enumerate() {
            let next = states.get(place + 1).map_or(end, |next| next.at);
            self.paint(&mut canvas, state.at, next, state.shade);
        }
        canvas.stretches()
    }

    /// However short, what lies in the frame takes one column.
    fn paint(&self, canvas: &mut Canvas, from: Offset, until: Offset, shade: Shade) {
        let outside = until <= self.from && from < self.from;
        if outside || from >= self.until {
            return;
        }
        let first = self.column(from).min(COLUMNS - 1);
        canvas.paint(first, self.column(until).max(first + 1), shade);
    }
}

/// One row of columns.
struct Canvas(Vec<Option<Shade>>);

impl Default for Canvas {
    fn default() -> Self {
        Self(vec![None; usize::from(COLUMNS)])
    }
}

impl Canvas {
    fn paint(&mut self, from: u16, until: u16, shade: Shade) {
        for column in &mut self.0[usize::from(from)..usize::from(until)] {
            *column = (*column).max(Some(shade));
        }
    }

    fn stretches(&self) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for (column, shade) in (0..COLUMNS).zip(&self.0) {
            let Some(shade) = *shade else { continue };
            match stretches.last_mut() {
                Some(last) if last.until == column && last.shade == shade => last.until += 1,
                _ => stretches.push(Stretch { from: column, until: column + 1, shade }),
            }
        }
        stretches
    }
}
