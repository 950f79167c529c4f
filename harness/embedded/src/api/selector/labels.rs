//! Label selectors in the query language of the API server.

use serde_json::Value;

use crate::status::Status;

/// All requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::api) struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Labels {
    /// Reads `a=b, c!=d, e in (f, g), h notin (i), j, !k`.
    pub(in crate::api) fn parse(text: &str) -> Result<Self, Status> {
        let mut depth = 0_usize;
        let terms = text.split(|c| {
            depth = (depth + usize::from(c == '(')).saturating_sub(usize::from(c == ')'));
            c == ',' && depth == 0
        });
        let terms = terms.map(str::trim).filter(|term| !text.trim().is_empty() || !term.is_empty());
        let parse = |term: &str| {
            Requirement::parse(term)
                .ok_or_else(|| Status::bad_request(format!("unable to parse requirement: '{term}' in '{text}'")))
        };
        terms.map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(in crate::api) fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels[&requirement.key].as_str()))
    }
}

impl Requirement {
    fn parse(term: &str) -> Option<Self> {
        let new = |key: &str, test| is_word(key.trim()).then(|| Self { key: key.trim().to_owned(), test });
        let value = |value: &str| value.trim().is_empty() || is_word(value.trim());
        if let Some(key) = term.strip_prefix('!') {
            return new(key, Test::Absent);
        }
        if let Some((key, unwanted)) = term.split_once("!=") {
            return new(key, Test::NotIn(vec![unwanted.trim().to_owned()])).filter(|_| value(unwanted));
        }
        if let Some((key, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
            return new(key, Test::In(vec![wanted.trim().to_owned()])).filter(|_| value(wanted));
        }
        let Some((key, set)) = term.split_once(char::is_whitespace) else { return new(term, Test::Exists) };
        let (operator, list) = set.trim().split_once('(')?;
        let list = list.trim().strip_suffix(')')?;
        let values = list.split(',').map(str::trim).filter(|_| !list.trim().is_empty());
        let values = values.map(|one| value(one).then(|| one.to_owned())).collect::<Option<Vec<_>>>()?;
        match operator.trim() {
            "in" => new(key, Test::In(values)),
            "notin" => new(key, Test::NotIn(values)),
            _ => None,
        }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "()!,=<>".contains(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select() {
        let objects = [
            json!({"app": "a", "tier": "x"}),
            json!({"app": "b", "tier": "x"}),
            json!({"app": "a"}),
            Value::Null,
            json!({"n": "7"}),
        ];
        let check = |selector: &str, expected: &[usize]| {
            let labels = Labels::parse(selector).unwrap();
            let hits: Vec<usize> = (0..objects.len()).filter(|&index| labels.matches(&objects[index])).collect();
            assert_eq!(hits, expected, "{selector}");
        };
        check("", &[0, 1, 2, 3, 4]);
        check("app=a", &[0, 2]);
        check("app==a", &[0, 2]);
        check("app!=a", &[1, 3, 4]);
        check("app in (a,b)", &[0, 1, 2]);
        check("app notin (a)", &[1, 3, 4]);
        check("tier", &[0, 1]);
        check("!tier", &[2, 3, 4]);
        check("app=a,tier=x", &[0]);
        check("app=a,!tier", &[2]);
        check("app=", &[]);
        check("tier in ()", &[]);
        check(" app = a , tier ", &[0]);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["app in (a", "=a", "app=a b", "app=a,", "app ~ b", "app>1", "app in a", "!", "a in (b c)"] {
            let refused = Labels::parse(text).unwrap_err();
            assert!(refused.code == 400 && refused.message.starts_with("unable to parse requirement"), "{text}");
        }
    }
}
