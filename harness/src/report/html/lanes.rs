//! A scenario's timeline: a lane a series, the load below, and letters for what happened.

use maud::{Markup, html};

use super::marks::{self, Cluster, Mark};
use super::text;
use crate::event::{LoadSecond, Offset};
use crate::report::timeline::{COLUMNS, Row, Shade, Stretch, Timeline};
use crate::report::words;

/// Height of a lane, in its own units.
const HEIGHT: f64 = 10.0;

/// The picture; `zero` is where its axis counts from.
pub(super) fn figure(timeline: &Timeline, marks: &[Mark], zero: Offset, axis: &str) -> Markup {
    let lines = lines(marks, timeline);
    html! {
        figure.timeline {
            div.lanes {
                (letters(&marks::clusters(marks, timeline)))
                @for (place, row) in timeline.rows.iter().enumerate() {
                    @let is_first = place == 0 || timeline.rows[place - 1].subject != row.subject;
                    (lane(row, is_first, &lines))
                }
                (load(timeline, &lines))
                (logged(timeline, &lines))
                (axis_row(timeline, zero, axis))
            }
            @if timeline.rows_left_out > 0 {
                p.hint { (timeline.rows_left_out) " more series are in the journal." }
            }
        }
    }
}

/// What the shapes mean, once a page.
pub(super) fn key() -> Markup {
    let sample = |shade| {
        let stretch = Stretch { from: 100, until: 900, shade };
        html! { svg.lane viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" { (stretches(&[stretch])) } }
    };
    html! {
        ul.key {
            li { (sample(Shade::Good)) "good" }
            li { (sample(Shade::Bad)) "bad" }
            li { (sample(Shade::Missing)) "we could not look" }
            li { (sample(Shade::Leaving)) "pod terminating" }
        }
    }
}

fn letters(clusters: &[Cluster]) -> Markup {
    html! {
        div.label {}
        div.letters aria-hidden="true" {
            @for cluster in clusters {
                span class={ "cluster" @if cluster.is_at_the_end() { " end" } } style={ "left:" (percent(cluster.column)) "%" } {
                    @for letter in &cluster.letters { b { (letter) } }
                }
            }
        }
    }
}

/// The upright lines of all marks, for every lane.
fn lines(marks: &[Mark], timeline: &Timeline) -> String {
    let columns = marks.iter().filter_map(|mark| timeline.column(mark.at?));
    columns.map(|column| format!("M{column} 0v10")).collect()
}

fn lane(row: &Row, is_first: bool, lines: &str) -> Markup {
    let seen = match (row.bad, row.missing) {
        (0, 0) => String::new(),
        (bad, 0) => format!("{bad} bad"),
        (0, missing) => format!("{missing} missing"),
        (bad, missing) => format!("{bad} bad, {missing} missing"),
    };
    let says = format!("{}, {}: {}", row.subject, row.what, if seen.is_empty() { "no bad sample" } else { &seen });
    html! {
        div class={ "label" @if is_first { " first" } } {
            @if is_first { strong { (text(&row.subject)) } }
            span.what { (text(&row.what)) @if row.is_proof { " (proof)" } }
            span.seen { (seen) }
        }
        svg class={ "lane" @if is_first { " first" } } viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(text(&says)) {
            path.lines d=(lines) {}
            (stretches(&row.stretches))
        }
    }
}

/// One path a shade: good is a thin line, bad fills the lane.
fn stretches(stretches: &[Stretch]) -> Markup {
    let path = |shade, top: u16| {
        let height = 10 - 2 * top;
        let of_shade = stretches.iter().filter(|stretch| stretch.shade == shade);
        let pieces = of_shade.map(|stretch| {
            let width = stretch.until - stretch.from;
            format!("M{} {top}h{width}v{height}h-{width}z", stretch.from)
        });
        pieces.collect::<String>()
    };
    let paths = [
        ("good", path(Shade::Good, 4)),
        ("missing", path(Shade::Missing, 3)),
        ("leaving", path(Shade::Leaving, 3)),
        ("bad", path(Shade::Bad, 0)),
    ];
    html! {
        @for (class, path) in &paths {
            @if !path.is_empty() { path class=(class) d=(path) {} }
        }
    }
}

fn load(timeline: &Timeline, lines: &str) -> Markup {
    let seconds = &timeline.load;
    let lost: u64 = seconds.iter().map(|second| u64::from(second.requests_lost)).sum();
    let sent: u64 = seconds.iter().map(|second| u64::from(second.requests_good)).sum::<u64>() + lost;
    let sockets_lost: u64 = seconds.iter().map(|second| u64::from(second.sockets_lost)).sum();
    let sockets = seconds.iter().map(|second| second.sockets_open).max().unwrap_or(0);
    html! {
        @if sent > 0 {
            (load_lane("Load", "requests", &format!("{lost} of {sent} lost"), lines, html! {
                (bars(timeline, "good", |second| second.requests_good + second.requests_lost, most(seconds, |second| second.requests_good + second.requests_lost)))
                (bars(timeline, "bad", |second| second.requests_lost, most(seconds, |second| second.requests_good + second.requests_lost)))
            }))
        }
        @if sockets > 0 || sockets_lost > 0 {
            (load_lane(if sent > 0 { "" } else { "Load" }, "sockets", &format!("{sockets_lost} lost, {sockets} open"), lines, html! {
                (bars(timeline, "good", |second| second.sockets_open, sockets.max(1)))
                (bars(timeline, "bad", |second| second.sockets_lost, sockets.max(1)))
            }))
        }
    }
}

/// A stroke a line.
fn logged(timeline: &Timeline, lines: &str) -> Markup {
    let columns =
        timeline.logged.iter().filter_map(|line| timeline.column(line.at)).map(|column| column.min(COLUMNS - 2));
    let strokes: String = columns.map(|column| format!("M{column} 0h2v10h-2z")).collect();
    let says = words::count(timeline.logged.len(), "line", "lines");
    html! {
        @if !timeline.logged.is_empty() {
            (load_lane("Logs", "warnings, errors", &says, lines, html! { path.bad d=(strokes) {} }))
        }
    }
}

fn load_lane(subject: &str, what: &str, says: &str, lines: &str, drawn: Markup) -> Markup {
    let first = !subject.is_empty();
    html! {
        div class={ "label" @if first { " first" } } {
            @if first { strong { (subject) } }
            span.what { (what) }
            span.seen { (says) }
        }
        svg class={ "lane load" @if first { " first" } } viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label={ (what) ": " (says) } {
            path.lines d=(lines) {}
            (drawn)
        }
    }
}

fn most(seconds: &[LoadSecond], of: impl Fn(&LoadSecond) -> u32) -> u32 {
    seconds.iter().map(of).max().unwrap_or(0).max(1)
}

/// A bar a second, as high as its share of `most`; what is not zero is seen.
fn bars(timeline: &Timeline, class: &str, of: impl Fn(&LoadSecond) -> u32, most: u32) -> Markup {
    let mut path = String::new();
    for second in &timeline.load {
        let value = of(second);
        let from = timeline.column(second.from).unwrap_or(0);
        let until = timeline.column(second.from + std::time::Duration::from_secs(1)).unwrap_or(COLUMNS);
        if value == 0 || until <= from {
            continue;
        }
        let height = (f64::from(value) / f64::from(most) * HEIGHT).clamp(1.5, HEIGHT);
        let (width, top) = (until - from, (HEIGHT - height) * 100.0);
        path.push_str(&format!("M{from} {}h{width}V10h-{width}z", top.round() / 100.0));
    }
    html! { @if !path.is_empty() { path class=(class) d=(path) {} } }
}

fn axis_row(timeline: &Timeline, zero: Offset, axis: &str) -> Markup {
    html! {
        div.label.axis-label { (axis) }
        div.axis aria-hidden="true" {
            @for (column, label) in marks::ticks(timeline, zero) {
                span class=[(column > 940).then_some("end")] style={ "left:" (percent(column)) "%" } { (label) }
            }
        }
    }
}

fn percent(column: u16) -> String {
    format!("{}", f64::from(column) * 100.0 / f64::from(COLUMNS))
}

/// Lines about pods, and of their logs.
pub(super) fn told(timeline: &Timeline, zero: Offset) -> Markup {
    html! {
        @if !timeline.logged.is_empty() {
            details {
                summary { "Logs: " (words::count(timeline.logged.len(), "warning or error", "warnings and errors")) " after the fault" }
                ol.told {
                    @for line in &timeline.logged {
                        li { time { (marks::relative(line.at, zero)) } " " code { (text(&line.text)) } }
                    }
                }
            }
        }
        @if !timeline.told.is_empty() {
            details {
                summary { "Pods: " (words::count(timeline.told.len() + timeline.told_left_out, "event", "events")) }
                ol.told {
                    @for told in &timeline.told {
                        li { time { (marks::relative(told.at, zero)) } " " (text(&told.text)) }
                    }
                    @if timeline.told_left_out > 0 { li { (timeline.told_left_out) " more are in the journal" } }
                }
            }
        }
    }
}
