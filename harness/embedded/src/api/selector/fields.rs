//! Field selectors: which fields of which kinds can be asked for.

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::Status;

/// All requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::api) struct Fields(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    path: String,
    value: String,
    equal: bool,
}

impl Fields {
    pub(in crate::api) fn parse(kind: &Kind, text: &str) -> Result<Self, Status> {
        let terms = text.split(',').filter(|term| !term.is_empty());
        terms.map(|term| Requirement::parse(kind, term)).collect::<Result<_, _>>().map(Self)
    }

    pub(in crate::api) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|one| (field(object, &one.path) == one.value) == one.equal)
    }
}

impl Requirement {
    fn parse(kind: &Kind, term: &str) -> Result<Self, Status> {
        let operators = [("!=", false), ("==", true), ("=", true)];
        let found = operators.iter().find_map(|(operator, equal)| Some((term.split_once(operator)?, *equal)));
        let Some(((path, value), equal)) = found else {
            return Err(Status::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'")));
        };
        if !["metadata.name", "metadata.namespace"].contains(&path) && !supported(kind).contains(&path) {
            return Err(Status::bad_request(if kind.group.is_empty() && !supported(kind).is_empty() {
                format!("field label not supported: {path}")
            } else {
                format!("\"{path}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            }));
        }
        Ok(Self { path: path.to_owned(), value: value.to_owned(), equal })
    }
}

/// Fields beside name and namespace.
fn supported(kind: &Kind) -> &'static [&'static str] {
    match kind.kind {
        "Pod" => &["spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.fieldPath",
            "reason",
            "type",
        ],
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        _ => &[],
    }
}

fn field(object: &Value, path: &str) -> String {
    match path.split('.').fold(object, |value, name| &value[name]) {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    #[test]
    fn fields_select() {
        let pod = json!({"metadata": {"name": "p1", "namespace": "a"}, "spec": {"nodeName": "n"},
            "status": {"phase": "Running"}});
        let event = json!({"metadata": {"name": "e"}, "reason": "Started", "involvedObject": {"kind": "Pod"}});
        let check = |kind: &Kind, object: &Value, selector: &str, expected: bool| {
            assert_eq!(Fields::parse(kind, selector).unwrap().matches(object), expected, "{selector}");
        };
        for (selector, expected) in [
            ("metadata.name=p1", true),
            ("metadata.name!=p1", false),
            ("metadata.name==p1,status.phase=Running", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=n", true),
            ("spec.nodeName=", false),
            ("metadata.namespace=b", false),
            ("", true),
        ] {
            check(&kinds::POD, &pod, selector, expected);
        }
        check(&kinds::EVENT, &event, "involvedObject.kind=Pod,reason=Started", true);
        check(&kinds::EVENT, &event, "type=Normal", false);
    }

    #[test]
    fn other_fields_are_refused_as_recorded() {
        let check = |kind: &Kind, selector: &str, expected: &str| {
            let refused = Fields::parse(kind, selector).unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (400, expected));
        };
        check(&kinds::POD, "spec.containers[0].image=x", "field label not supported: spec.containers[0].image");
        check(&kinds::EVENT, "message=x", "field label not supported: message");
        check(
            &kinds::DEPLOYMENT,
            "status.replicas=1",
            "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        );
    }
}
