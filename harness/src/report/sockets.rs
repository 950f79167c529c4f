//! The load's WebSockets, as a report tells of them.

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::event::{Offset, SocketEnd};
use crate::outcome::Sockets;

/// The load's WebSockets from the fault on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SocketsReport {
    /// Those that count: they come back every 100 ms.
    pub held: usize,
    /// More of them, which come back with the recommended back-off.
    pub backing_off: usize,
    /// Of those that count, the ones open at the end of the record.
    pub open_at_end: u32,
    /// How those that count ended, the most frequent way first.
    pub ends: Vec<SocketEndReport>,
    /// Ends before the fault.
    pub ended_before: u64,
    /// Of those that count, the lost ones: by their end, or because they were not back in time.
    pub lost: u64,
    /// Without a connection, of those that count; absent where none came back.
    pub away: Option<AwayReport>,
    /// Without a connection, of those that back off: what users see.
    pub away_backing_off: Option<AwayReport>,
    /// Time, and how many that count were open from then on, at a grain of 100 ms.
    pub open: Vec<(Millis, u32)>,
}

/// One way in which sockets ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SocketEndReport {
    /// Kind, code and reason.
    pub end: SocketEnd,
    /// How many.
    pub count: u64,
    /// Of them, those whose answer was cut.
    pub cut: u64,
    /// Of them, those that count as lost.
    pub lost: u64,
}

/// Times without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AwayReport {
    /// Half of them were shorter.
    pub median_ms: Millis,
    /// The longest.
    pub max_ms: Millis,
}

/// From what is known to what is told; nothing where the load held no socket.
pub(super) fn of(known: &Sockets) -> Option<SocketsReport> {
    let (held, backing_off) = known.held();
    let away = |backing_off| {
        let (median, longest) = known.away(backing_off)?;
        Some(AwayReport { median_ms: Millis::ceil(median), max_ms: Millis::ceil(longest) })
    };
    let end = |(end, count): (&SocketEnd, crate::outcome::EndCount)| SocketEndReport {
        end: end.clone(),
        count: count.count,
        cut: count.cut,
        lost: count.lost,
    };
    let level = |(at, open): &(Offset, u32)| (Millis::floor(at.since(Offset::ZERO)), *open);
    (held + backing_off > 0).then(|| SocketsReport {
        held,
        backing_off,
        open_at_end: known.open(),
        ends: known.ends().into_iter().map(end).collect(),
        ended_before: known.ended_before(),
        lost: known.lost(),
        away: away(false),
        away_backing_off: away(true),
        open: known.levels().iter().map(level).collect(),
    })
}

/// One line: `200 held: 67 closed by 1001 (server is going away); 0 lost; away for …`.
pub(super) fn line(sockets: &SocketsReport) -> String {
    let end = |one: &SocketEndReport| match one.cut {
        0 => format!("{} {}", one.count, one.end),
        cut => format!("{} {}, {cut} of them in mid-answer", one.count, one.end),
    };
    let ends: Vec<String> = sockets.ends.iter().map(end).collect();
    let ends = if ends.is_empty() { "none ended".to_owned() } else { ends.join(", ") };
    let mut text =
        format!("{} held: {ends}; {} lost; {} open at the end", sockets.held, sockets.lost, sockets.open_at_end);
    let away = |away: AwayReport| format!("away for {} (median) to {} (longest)", away.median_ms, away.max_ms);
    if let Some(times) = sockets.away {
        text.push_str(&format!("; {}", away(times)));
    }
    if let Some(times) = sockets.away_backing_off {
        let back_off = "with the recommended back-off (1 s to 30 s, full jitter)";
        text.push_str(&format!("; {back_off} {} more were {}", sockets.backing_off, away(times)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_line_says_how_many_ended_how() {
        let closed = SocketEnd::Closed { code: 1001, reason: "server is going away".to_owned() };
        let away = |millis: u64| {
            let time = Millis::ceil(Duration::from_millis(millis));
            Some(AwayReport { median_ms: time, max_ms: time })
        };
        let report = SocketsReport {
            held: 200,
            backing_off: 20,
            open_at_end: 200,
            ends: vec![
                SocketEndReport { end: closed, count: 67, cut: 0, lost: 0 },
                SocketEndReport { end: SocketEnd::Reset, count: 12, cut: 3, lost: 12 },
            ],
            ended_before: 0,
            lost: 12,
            away: away(104),
            away_backing_off: away(1900),
            open: Vec::new(),
        };
        assert_eq!(
            line(&report),
            "200 held: 67 closed by 1001 (server is going away), 12 reset, 3 of them in mid-answer; 12 lost; 200 open \
             at the end; away for 104 ms (median) to 104 ms (longest); with the recommended back-off (1 s to 30 s, full \
             jitter) 20 more were away for 1.9 s (median) to 1.9 s (longest)"
        );
        let calm = SocketsReport { ends: Vec::new(), lost: 0, away: None, away_backing_off: None, ..report };
        assert_eq!(line(&calm), "200 held: none ended; 0 lost; 200 open at the end");
    }
}
