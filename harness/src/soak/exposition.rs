//! Prometheus' text format, as far as a soak reads it: names, labels, values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one pod told at one look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exposition {
    series: Vec<Series>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Which series are meant: of this name, with these labels. A value that ends in `*` means all
/// that begin so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Selector {
    /// The metric.
    pub name: String,
    /// Labels that a series must have; others do not matter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Selector {
    fn means(&self, series: &Series) -> bool {
        let has = |(label, wanted): (&String, &String)| {
            series.labels.get(label).is_some_and(|value| match wanted.strip_suffix('*') {
                Some(start) => value.starts_with(start),
                None => value == wanted,
            })
        };
        series.name == self.name && self.labels.iter().all(has)
    }
}

impl Exposition {
    /// Reads the text; lines that are none of ours are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { series: text.lines().filter_map(series).collect() }
    }

    /// How much the series that are meant grew since an earlier look at the same pod. A counter
    /// that fell began anew with its process. Nothing where there is no such series.
    #[must_use]
    pub fn increase(&self, before: &Self, meant: &Selector) -> Option<f64> {
        let grown = self.series.iter().filter(|series| meant.means(series)).map(|series| series.grown(before));
        grown.reduce(|sum, one| sum + one)
    }

    /// How much each bucket of a histogram grew, by its upper bound, which may be infinite.
    #[must_use]
    pub fn buckets(&self, before: &Self, histogram: &Selector) -> Vec<(f64, f64)> {
        let meant = Selector { name: format!("{}_bucket", histogram.name), labels: histogram.labels.clone() };
        let of_bucket = |series: &Series| {
            let bound = series.labels.get("le")?.parse().ok()?;
            Some((bound, series.grown(before)))
        };
        self.series.iter().filter(|series| meant.means(series)).filter_map(of_bucket).collect()
    }
}

impl Series {
    fn grown(&self, before: &Exposition) -> f64 {
        let is_it = |other: &&Self| other.name == self.name && other.labels == self.labels;
        let then = before.series.iter().find(is_it).map_or(0.0, |series| series.value);
        if self.value >= then { self.value - then } else { self.value }
    }
}

/// `name{label="value",…} 1.5`, perhaps with a time behind it.
fn series(line: &str) -> Option<Series> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|one: char| one == '{' || one.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then(|| Series { name: name.to_owned(), labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after;
    }
}

/// A label's value up to its closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# HELP http_requests_total HTTP requests\n\
        # TYPE http_requests_total counter\n\
        http_requests_total{method=\"GET\",endpoint=\"/a\",status=\"200\"} 90\n\
        http_requests_total{method=\"GET\",endpoint=\"/a\",status=\"503\"} 10 1700000000000\n\
        http_requests_total{endpoint=\"/b \\\"c\\\" \\\\ {d}\",status=\"500\",} 1e1\n\
        cache_hit_rate 0.5\n\
        rubbish\n\
        broken{a=\"b 3\n\
        t_bucket{le=\"0.1\"} 5\n\
        t_bucket{le=\"+Inf\"} 8\n";

    fn meant(name: &str, labels: &[(&str, &str)]) -> Selector {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        Selector { name: name.to_owned(), labels }
    }

    #[test]
    fn series_are_read_and_chosen() {
        let (now, nothing) = (Exposition::parse(TEXT), Exposition::default());
        let check = |selector: Selector, expect: Option<f64>| {
            assert_eq!(now.increase(&nothing, &selector), expect, "{selector:?}");
        };
        check(meant("http_requests_total", &[]), Some(110.0));
        check(meant("http_requests_total", &[("status", "5*")]), Some(20.0));
        check(meant("http_requests_total", &[("status", "200"), ("endpoint", "/a")]), Some(90.0));
        check(meant("http_requests_total", &[("endpoint", "/b \"c\" \\ {d}")]), Some(10.0));
        check(meant("http_requests_total", &[("status", "404")]), None);
        check(meant("cache_hit_rate", &[]), Some(0.5));
        check(meant("rubbish", &[]), None);
        check(meant("broken", &[]), None);
        assert_eq!(now.buckets(&nothing, &meant("t", &[])), [(0.1, 5.0), (f64::INFINITY, 8.0)]);
    }

    #[test]
    fn a_counter_that_fell_began_anew() {
        let at = |value: u32| Exposition::parse(&format!("a_total{{x=\"1\"}} {value}"));
        let check = |before: u32, now: u32, expect: f64| {
            assert_eq!(at(now).increase(&at(before), &meant("a_total", &[])), Some(expect), "{before} {now}");
        };
        check(5, 8, 3.0);
        check(5, 5, 0.0);
        check(5, 2, 2.0);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_crash(text in ".{0,200}") {
            let _ = Exposition::parse(&text);
        }

        #[test]
        fn any_label_is_read_back(value in "[^\\n]{0,20}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let read = Exposition::parse(&format!("m{{a=\"{quoted}\"}} 1"));
            // `*` at the end of a wanted value means a beginning, which every text has of itself.
            prop_assert_eq!(read.increase(&Exposition::default(), &meant("m", &[("a", &value)])), Some(1.0));
        }
    }
}
