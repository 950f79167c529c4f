//! The HTML page: whole, closed to the outside, and saying what the other forms say.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::event::{Event, Seen, StageResult, What};
use harness::report::timeline::Timelines;
use harness::report::{self, Judged, Report};
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event as Xml;

use crate::runs::{Run, plan};

/// Elements that have no end.
const VOID: [&str; 4] = ["br", "hr", "link", "meta"];

/// Elements that a page is made of.
const KNOWN: [&str; 44] = [
    "a",
    "b",
    "body",
    "code",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "figure",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "li",
    "main",
    "meta",
    "ol",
    "p",
    "path",
    "pre",
    "q",
    "rect",
    "section",
    "span",
    "strong",
    "style",
    "summary",
    "svg",
    "time",
    "title",
    "ul",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "em",
    "small",
    "caption",
    "figcaption",
];

/// A page taken apart.
#[derive(Debug, Default)]
pub(crate) struct Page {
    elements: BTreeSet<String>,
    /// Element, name and value.
    attributes: Vec<(String, String, String)>,
    /// Without the style sheet.
    pub(crate) text: String,
}

pub(crate) fn page(events: &[Event]) -> String {
    let mut timelines = Timelines::default();
    events.iter().for_each(|event| timelines.apply(event));
    report::html(&Report::of(events), &timelines.drawn())
}

/// Panics where an element is not closed in its place.
pub(crate) fn parse(page: &str) -> Page {
    let mut reader = Reader::from_str(page);
    reader.config_mut().check_end_names = false;
    let (mut parsed, mut open) = (Page::default(), Vec::<String>::new());
    loop {
        match reader.read_event().unwrap() {
            Xml::Start(start) | Xml::Empty(start) => {
                let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
                for attribute in start.html_attributes() {
                    let attribute = attribute.unwrap();
                    let key = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
                    let value = quick_xml::escape::unescape(std::str::from_utf8(&attribute.value).unwrap()).unwrap();
                    parsed.attributes.push((name.clone(), key, value.into_owned()));
                }
                if !VOID.contains(&name.as_str()) {
                    open.push(name.clone());
                }
                parsed.elements.insert(name);
            }
            Xml::End(end) => {
                let name = String::from_utf8(end.name().as_ref().to_vec()).unwrap();
                assert_eq!(open.pop().as_ref(), Some(&name), "closed in its place");
                if ["li", "p", "h1", "h2", "h3", "dd", "dt", "summary", "div"].contains(&name.as_str()) {
                    parsed.text.push('\n');
                }
            }
            Xml::Text(text) if open.last().is_none_or(|open| open != "style") => {
                parsed.text.push_str(std::str::from_utf8(&text).unwrap());
            }
            Xml::GeneralRef(reference) => {
                let name = std::str::from_utf8(&reference).unwrap();
                parsed.text.push_str(match name {
                    "lt" => "<",
                    "gt" => ">",
                    "amp" => "&",
                    "quot" => "\"",
                    other => panic!("`&{other};` is no reference of ours"),
                });
            }
            Xml::Text(_) | Xml::DocType(_) => {}
            Xml::Eof => break,
            other => panic!("{other:?} has no place in a page"),
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    parsed
}

impl Page {
    fn of<'a>(&'a self, attribute: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(_, name, _)| name == attribute).map(|(_, _, value)| value.as_str())
    }
}

#[test]
fn a_page_is_whole_and_closed_to_the_outside() {
    for (name, events) in crate::all() {
        let text = page(&events);
        let parsed = parse(&text);
        let unknown: Vec<_> = parsed.elements.iter().filter(|element| !KNOWN.contains(&element.as_str())).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        for from_elsewhere in ["<script", "<link", "<iframe", "<img", " src=", "url(", "@import", "javascript:"] {
            assert!(!text.contains(from_elsewhere), "{name}: {from_elsewhere}");
        }
        let ids: Vec<&str> = parsed.of("id").collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{name}: an id stands twice in {ids:?}");
        for link in parsed.of("href") {
            let id = link.strip_prefix('#').unwrap_or_else(|| panic!("{name}: `{link}` leads out of the page"));
            assert!(ids.contains(&id), "{name}: `{link}` leads nowhere");
        }
        assert!(parsed.attributes.iter().all(|(_, key, _)| !key.starts_with("on")), "{name}: a handler");
    }
}

#[test]
fn a_page_says_what_the_other_forms_say() {
    for (name, events) in crate::all() {
        let report = Report::of(&events);
        let text = parse(&page(&events)).text;
        let terminal = report::terminal(&report);
        let mut wanted = vec![report.rehearsed_or_measured.clone()];
        wanted.extend(report.reproduce.clone());
        for scenario in &report.scenarios {
            let word = match scenario.verdict.verdict {
                Judged::Pass => "✓ pass",
                Judged::Inconclusive => "? inconclusive",
                Judged::Fail => "✗ fail",
            };
            wanted.extend([word.to_owned(), scenario.id.0.clone(), scenario.promise.says.clone()]);
            wanted.extend(scenario.remedy.iter().map(|step| step.command.clone()));
            wanted.extend(scenario.proof.iter().map(|proof| proof.rule.clone()));
        }
        for stage in &report.stages {
            wanted.push(stage.stage.clone());
            wanted.extend(stage.facts.clone());
        }
        wanted.extend(report.rollouts.iter().map(|rollout| rollout.id.clone()));
        wanted.extend(
            report.repeats.iter().map(|repeat| format!("{} of {} rounds", repeat.rounds.len(), repeat.rounds_wanted)),
        );
        wanted.extend(report.soak.iter().flat_map(|soak| &soak.metrics).map(|metric| metric.name.clone()));
        wanted.extend(report.reference.iter().flat_map(|reference| &reference.growth).map(|one| one.says.clone()));
        if let Some(run) = &report.run {
            wanted.extend(run.profile_changes.clone());
        }
        // The very words in which the terminal tells measured against budget.
        let measured = terminal.lines().filter_map(|line| line.trim_start().strip_prefix("measured "));
        wanted.extend(measured.map(|measured| measured.trim().to_owned()));
        for wanted in wanted {
            // Backticks become code.
            let wanted = wanted.replace('`', "");
            assert!(text.contains(&wanted), "{name}: `{wanted}` is not in\n{text}");
        }
    }
}

#[test]
fn a_page_reads_from_the_verdict_on() {
    insta::assert_snapshot!("mixed-html-text", parse(&page(&crate::mixed())).text);
    insta::assert_snapshot!("rolled-back-html-text", parse(&page(&crate::rolled_back())).text);
}

#[test]
fn forty_scenarios_stay_small() {
    let text = page(&forty());
    assert!(text.len() < 400_000, "{} bytes", text.len());
    parse(&text);
}

/// Ten of each kind.
fn forty() -> Vec<Event> {
    let mut run = Run::deployed();
    for round in 0..10 {
        let start = 1_000 + round * 70_000;
        run.pass(start).fail(start + 10_000).unproven(start + 30_000).hung(start + 50_000);
    }
    run.over(720_000, true)
}

fn all_red() -> Vec<Event> {
    let mut run = Run::deployed();
    run.stage(
        "smoke",
        900,
        1_000,
        StageResult::Failed { error: "3 of 9 checks wrong".to_owned() },
        &["GET /ready: 503"],
    );
    for round in 0..6 {
        run.fail(1_000 + round * 20_000);
    }
    run.over(150_000, false)
}

fn one() -> Vec<Event> {
    let mut run = Run::deployed();
    run.pass(1_000);
    run.over(6_000, true)
}

#[test]
#[ignore = "writes pages to look at: cargo test -p harness --test report -- --ignored pages_to_look_at"]
fn pages_to_look_at() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&directory).unwrap();
    let runs = [("forty", forty()), ("all-red", all_red()), ("one", one()), ("hostile", crate::hostile::hostile())];
    for (name, events) in crate::all().into_iter().chain(runs) {
        std::fs::write(directory.join(format!("{name}.html")), page(&events)).unwrap();
    }
    println!("{}", directory.display());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn text_of_others_stays_text(theirs in "(?s).{0,40}|<[a-z/!-]{0,8}[ \"'>]{0,3}|&[a-z#0-9]{0,5};|\\]\\]>|--><script>") {
        let mut run = Run::deployed();
        run.stage(&theirs, 1_000, 1_100, StageResult::Failed { error: theirs.clone() }, &[&theirs]);
        let mut plan = plan(&theirs);
        plan.title.clone_from(&theirs);
        plan.promise.says.clone_from(&theirs);
        plan.promise.section.clone_from(&theirs);
        plan.budget.source.clone_from(&theirs);
        run.broken(2_000, &plan).proven(3_000).both(3_000, 3_500, &Seen::Bad { reason: theirs.clone() });
        run.put(4_000, What::Note { text: theirs.clone() });
        run.put(4_000, What::FaultFailed { error: theirs.clone() });
        let events = run.over(5_000, true);
        let parsed = parse(&page(&events));
        prop_assert!(parsed.elements.iter().all(|element| KNOWN.contains(&element.as_str())), "{:?}", parsed.elements);
        let shown: String = theirs.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
        // Backticks become code, where they come in pairs.
        let (text, shown) = (parsed.text.replace('`', ""), shown.replace('`', " "));
        prop_assert!(text.contains(shown.split_whitespace().next().unwrap_or_default()), "{shown:?}");
        prop_assert!(!parsed.text.contains(|one: char| one.is_control() && one != '\n'));
    }

    #[test]
    fn a_page_is_made_of_any_record(cut in 0_usize..400) {
        let events = crate::mixed();
        parse(&page(&events[..cut.min(events.len())]));
    }
}

#[test]
fn a_scenario_without_a_timeline_is_told_all_the_same() {
    let report = Report::of(&one());
    let text = parse(&report::html(&report, &[])).text;
    assert!(text.contains("redis-lost/killed"), "{text}");
    assert!(report.took_ms.duration() > Duration::ZERO);
}
