//! Label selectors in the query language of the API server, with its error sentences.

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
    Above(i64),
    Below(i64),
}

impl Labels {
    pub(in crate::api) fn parse(text: &str) -> Result<Self, Status> {
        Parser { tokens: tokens(text), at: 0 }.selector().map(Self).map_err(Status::bad_request)
    }

    /// A `LabelSelector` object (`matchLabels`, `matchExpressions`). An empty one selects everything.
    pub(in crate::api) fn of_object(selector: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut all: Vec<Requirement> =
            labels.map(|(key, value)| Requirement { key: key.clone(), test: Test::In(vec![text(value)]) }).collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = expression["values"].as_array().into_iter().flatten().map(text).collect();
            let test = match expression["operator"].as_str() {
                Some("NotIn") => Test::NotIn(values),
                Some("Exists") => Test::Exists,
                Some("DoesNotExist") => Test::Absent,
                _ => Test::In(values),
            };
            all.push(Requirement { key: text(&expression["key"]), test });
        }
        Self(all)
    }

    pub(in crate::api) fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels[&requirement.key].as_str()))
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, Requirement { key, test }) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match test {
                Test::Exists => write!(f, "{key}")?,
                Test::Absent => write!(f, "!{key}")?,
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Above(bound) => write!(f, "{key}>{bound}")?,
                Test::Below(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Test::Above(bound) => number().is_some_and(|number| number > *bound),
            Test::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// Symbols stand alone, words are everything else between blanks.
fn tokens(text: &str) -> Vec<&str> {
    let special = |c: char| "()!,=<>".contains(c);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if ["==", "!="].iter().any(|pair| rest.starts_with(pair)) {
            2
        } else if special(first) {
            1
        } else {
            rest.find(|c: char| special(c) || c.is_whitespace()).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token, empty at the end.
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(mut self) -> Result<Vec<Requirement>, String> {
        let mut all = Vec::new();
        loop {
            match self.peek() {
                "" => return Ok(all),
                "!" => {}
                token if is_word(token) => {}
                token => return Err(format!("found '{token}', expected: !, identifier, or 'end of string'")),
            }
            let requirement = self.requirement();
            all.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
            match self.next() {
                "" => return Ok(all),
                "," if self.peek() == "!" || is_word(self.peek()) => {}
                "," => return Err(format!("found '{}', expected: identifier after ','", self.peek())),
                token => return Err(format!("found '{token}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == "!";
        if absent {
            self.next();
        }
        let key = self.word("identifier")?.to_owned();
        if absent {
            return Ok(Requirement { key, test: Test::Absent });
        }
        if matches!(self.peek(), "" | ",") {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let test = match self.next() {
            "in" => Test::In(self.values()?),
            "notin" => Test::NotIn(self.values()?),
            "=" | "==" => Test::In(vec![self.value()?]),
            "!=" => Test::NotIn(vec![self.value()?]),
            ">" => Test::Above(self.number()?),
            "<" => Test::Below(self.number()?),
            token => return Err(format!("found '{token}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        Ok(Requirement { key, test })
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), "" | ",") {
            return Ok(String::new());
        }
        self.word("identifier").map(str::to_owned)
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| {
            format!("values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            "(" => {}
            token => return Err(format!("found '{token}' expected: '('")),
        }
        let mut values = Vec::new();
        if self.peek() == ")" {
            self.next();
            return Ok(values);
        }
        loop {
            // An empty place between commas is an empty value.
            values.push(if matches!(self.peek(), "," | ")") {
                String::new()
            } else {
                self.word("',', ')' or identifier")?.to_owned()
            });
            match self.next() {
                ")" => return Ok(values),
                "," => {}
                token => return Err(format!("found '{token}', expected: ',' or ')'")),
            }
        }
    }

    fn word(&mut self, expected: &str) -> Result<&'a str, String> {
        match self.next() {
            token if is_word(token) => Ok(token),
            token => Err(format!("found '{token}', expected: {expected}")),
        }
    }
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !matches!(token, "(" | ")" | "!" | "," | "=" | "==" | "!=" | "<" | ">")
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
        check("app>1", &[]);
        check("n>6,n<8", &[4]);
        check("tier in ()", &[]);
        check(" app = a , tier ", &[0]);
    }

    #[test]
    fn errors_are_worded_as_recorded() {
        let check = |selector: &str, expected: &str| {
            assert_eq!(Labels::parse(selector).unwrap_err().message, expected, "{selector}");
        };
        check("app in (a", "unable to parse requirement: found '', expected: ',' or ')'");
        check("=a", "found '=', expected: !, identifier, or 'end of string'");
        check("app=a b", "found 'b', expected: ',' or 'end of string'");
        check("app=a,", "found '', expected: identifier after ','");
        check("app ~ b", "unable to parse requirement: found '~', expected: in, notin, =, ==, !=, gt, lt");
    }

    #[test]
    fn selector_objects_are_written_as_text() {
        let check = |object: Value, expected: &str| assert_eq!(Labels::of_object(&object).to_string(), expected);
        check(json!({"matchLabels": {"app": "d", "b": "c"}}), "app=d,b=c");
        check(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}), "a in (x,y)");
        check(json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), "!a");
    }
}
