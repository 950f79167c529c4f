//! JUnit XML as the JUnit plugin of Jenkins reads it: elements, attributes and sums.
//!
//! Its reader takes a `testcase` as failed where it has a `failure` or an `error`, as skipped
//! where it has a `skipped`, and as passed otherwise: what nobody can tell must have one of them.

use std::collections::BTreeMap;

use harness::report::{self, Judged, Report};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event as Xml};

/// An element with its attributes and its elements.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
}

impl Element {
    fn new(start: &BytesStart<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let attributes = start.attributes().map(|attribute| {
            let attribute = attribute.unwrap();
            let value = text(&attribute.value);
            (text(attribute.key.as_ref()), quick_xml::escape::unescape(&value).unwrap().into_owned())
        });
        Self { name: text(start.name().as_ref()), attributes: attributes.collect(), children: Vec::new() }
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    #[track_caller]
    fn number(&self, attribute: &str) -> usize {
        self.attributes[attribute].parse().unwrap()
    }
}

fn parse(xml: &str) -> Element {
    let mut reader = Reader::from_str(xml);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().unwrap() {
            Xml::Start(start) => open.push(Element::new(&start)),
            Xml::Empty(start) => open.last_mut().unwrap().children.push(Element::new(&start)),
            Xml::End(_) => {
                let ended = open.pop().unwrap();
                open.last_mut().unwrap().children.push(ended);
            }
            Xml::Eof => break,
            _ => {}
        }
    }
    let mut document = open.pop().unwrap();
    assert!(open.is_empty() && document.children.len() == 1, "one root element");
    document.children.remove(0)
}

fn check_case(case: &Element) {
    let known = ["properties", "skipped", "error", "failure", "system-out", "system-err"];
    assert!(case.children.iter().all(|child| known.contains(&child.name.as_str())), "{case:?}");
    assert!(!case.attributes["name"].is_empty() && !case.attributes["classname"].is_empty(), "{case:?}");
    assert!(case.attributes.get("time").is_none_or(|time| time.parse::<f64>().is_ok()), "{case:?}");
    let outcomes: Vec<_> = case.children.iter().filter(|child| known[1..4].contains(&child.name.as_str())).collect();
    assert!(outcomes.len() <= 1, "{case:?}");
    assert!(outcomes.iter().all(|outcome| !outcome.attributes["message"].is_empty()), "{case:?}");
}

fn check_suite(suite: &Element) {
    let cases: Vec<_> = suite.named("testcase").collect();
    assert_eq!(suite.number("tests"), cases.len());
    for (attribute, element) in [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")] {
        let found = cases.iter().filter(|case| case.named(element).next().is_some()).count();
        assert_eq!(suite.number(attribute), found, "{attribute}");
    }
    assert_eq!(suite.children[0].name, "properties", "properties come first");
    for property in suite.named("properties").flat_map(|all| all.named("property")) {
        assert!(property.attributes.contains_key("name") && property.attributes.contains_key("value"), "{property:?}");
    }
    cases.into_iter().for_each(check_case);
}

#[test]
fn every_run_is_read() {
    for (name, events) in crate::all().into_iter().chain([("hostile", crate::hostile::hostile())]) {
        let report = Report::of(&events);
        let root = parse(&report::junit(&report));
        assert_eq!(root.name, "testsuites", "{name}");
        let suites: Vec<_> = root.named("testsuite").collect();
        assert_eq!(suites.len(), root.children.len(), "{name}: nothing else is in it");
        suites.iter().for_each(|suite| check_suite(suite));
        let sum: usize = suites.iter().map(|suite| suite.number("tests")).sum();
        assert_eq!(root.number("tests"), sum, "{name}");
    }
}

#[test]
fn only_what_passed_is_green() {
    let report = Report::of(&crate::mixed());
    let root = parse(&report::junit(&report));
    let cases: Vec<_> = root.named("testsuite").flat_map(|suite| suite.named("testcase")).collect();
    for scenario in &report.scenarios {
        let case = cases.iter().find(|case| case.attributes["name"] == scenario.id.0).unwrap();
        let outcome = case.children.iter().map(|child| child.name.as_str()).find(|name| *name != "system-out");
        let expect = match scenario.verdict.verdict {
            Judged::Pass => None,
            Judged::Inconclusive => Some("error"),
            Judged::Fail => Some("failure"),
        };
        assert_eq!(outcome, expect, "{}", scenario.id);
    }
    let verdicts: Vec<_> = report.scenarios.iter().map(|scenario| scenario.verdict.verdict).collect();
    for judged in [Judged::Pass, Judged::Inconclusive, Judged::Fail] {
        assert!(verdicts.contains(&judged), "the run has one of each");
    }
}
