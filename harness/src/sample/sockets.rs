//! The check of the load's own sockets: it reads their table, and reaches nobody.

use std::sync::{Arc, Mutex, PoisonError};

use super::door::Failure;
use super::judge::Answer;
use crate::clock::RunClock;
use crate::event::Offset;
use crate::load::table::{SocketTable, Standing};

/// Looks at the load's sockets. The table knows every open and every end, so a look tells of
/// the whole time since the look before it: an outage between two looks is not missed.
pub(crate) struct SocketsLook {
    table: Arc<SocketTable>,
    clock: RunClock,
    last: Mutex<Offset>,
}

impl SocketsLook {
    pub(crate) fn new(table: Arc<SocketTable>, clock: RunClock) -> Self {
        Self { table, clock, last: Mutex::new(clock.now()) }
    }

    /// One look. Where all are open again, but were not all the time, the second value says
    /// until when that was so.
    pub(crate) fn look(&self) -> (Answer, Option<Offset>) {
        let now = self.clock.now();
        // Nothing that can panic runs while it is held.
        let before = std::mem::replace(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner), now);
        told(self.table.standing(), self.table.planned(), before)
    }
}

fn told(standing: Standing, planned: u32, before: Offset) -> (Answer, Option<Offset>) {
    match standing {
        Standing::Complete(since) if since > before => {
            let reason = format!("fewer than {planned} sockets open since the last look");
            (Err(Failure::Theirs(reason)), Some(since))
        }
        Standing::Complete(_) => (Ok(None), None),
        Standing::Missing { open, last_end } => {
            let newest = last_end.map_or_else(String::new, |end| format!("; the newest end: {end}"));
            (Err(Failure::Theirs(format!("{open} of {planned} sockets open{newest}"))), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SocketEnd;

    fn at(millis: u64) -> Offset {
        Offset::from_millis(millis)
    }

    #[test]
    fn a_look_tells_of_the_time_since_the_one_before() {
        let check = |standing: Standing, expect: Result<(), &str>, until: Option<Offset>| {
            let (answer, seen) = told(standing, 3, at(100));
            assert_eq!(answer, expect.map(|()| None).map_err(|reason| Failure::Theirs(reason.to_owned())));
            assert_eq!(seen, until);
        };
        check(Standing::Complete(at(100)), Ok(()), None);
        check(Standing::Complete(at(101)), Err("fewer than 3 sockets open since the last look"), Some(at(101)));
        check(Standing::Missing { open: 0, last_end: None }, Err("0 of 3 sockets open"), None);
        let missing = Standing::Missing { open: 2, last_end: Some(SocketEnd::Reset) };
        check(missing, Err("2 of 3 sockets open; the newest end: reset"), None);
    }
}
