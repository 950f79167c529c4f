//! Laying one document over another, and telling every change.

use serde_json::{Map, Value};

/// Lays `overlay` over `base`: objects key by key, lists of named objects by `name`, all
/// else replaced; `null` removes. Returns one line a change: path, before, after.
///
/// Laying the same document over the result again changes nothing.
pub fn merge(base: &mut Value, overlay: &Value) -> Vec<String> {
    let mut changes = Vec::new();
    merge_at(base, overlay, "", &mut changes);
    changes
}

fn merge_at(base: &mut Value, overlay: &Value, path: &str, changes: &mut Vec<String>) {
    let told = changes.len();
    match overlay {
        Value::Object(fields) => {
            let made = make_room(base, Value::is_object, Value::Object(Map::new()), path, changes);
            if let Value::Object(there) = base {
                merge_fields(there, fields, path, changes);
            }
            if made && changes.len() == told {
                changes.push(format!("{path}: absent → {base}"));
            }
        }
        Value::Array(items) if is_named_list(items) => {
            make_room(base, Value::is_array, Value::Array(Vec::new()), path, changes);
            if let Value::Array(there) = base {
                merge_named(there, items, path, changes);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            if base != overlay {
                changes.push(format!("{path}: {} → {overlay}", before(base)));
                *base = overlay.clone();
            }
        }
    }
}

fn merge_fields(base: &mut Map<String, Value>, overlay: &Map<String, Value>, path: &str, changes: &mut Vec<String>) {
    for (key, value) in overlay {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if value.is_null() {
            if let Some(gone) = base.remove(key) {
                changes.push(format!("{path}: {} → removed", before(&gone)));
            }
        } else {
            merge_at(base.entry(key.clone()).or_insert(Value::Null), value, &path, changes);
        }
    }
}

fn merge_named(base: &mut Vec<Value>, overlay: &[Value], path: &str, changes: &mut Vec<String>) {
    for item in overlay {
        let name = &item["name"];
        let path = format!("{path}[{}]", name.as_str().unwrap_or_default());
        let place = base.iter().position(|there| there.get("name") == Some(name)).unwrap_or_else(|| {
            base.push(Value::Null);
            base.len() - 1
        });
        merge_at(&mut base[place], item, &path, changes);
    }
}

/// Makes room for an object or a list where something else, or nothing, stands.
fn make_room(base: &mut Value, fits: fn(&Value) -> bool, empty: Value, path: &str, changes: &mut Vec<String>) -> bool {
    if fits(base) {
        return false;
    }
    if !base.is_null() {
        changes.push(format!("{path}: {base} → replaced"));
    }
    *base = empty;
    true
}

fn is_named_list(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["name"].is_string())
}

fn before(value: &Value) -> String {
    if value.is_null() { "absent".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_laid_over_what() {
        let check = |base: Value, overlay: Value, expect: Value, lines: &[&str]| {
            let mut merged = base.clone();
            assert_eq!(merge(&mut merged, &overlay), lines, "{base} {overlay}");
            assert_eq!(merged, expect, "{base} {overlay}");
        };
        check(json!({"a": 1, "b": 2}), json!({"a": 3}), json!({"a": 3, "b": 2}), &["a: 1 → 3"]);
        check(json!({"a": 1}), json!({"a": 1}), json!({"a": 1}), &[]);
        check(json!({"a": {"x": 1}}), json!({"a": {"y": 2}}), json!({"a": {"x": 1, "y": 2}}), &["a.y: absent → 2"]);
        check(json!({"a": 1, "b": 2}), json!({"a": null, "z": null}), json!({"b": 2}), &["a: 1 → removed"]);
        check(json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]}), &["a: [1,2] → [3]"]);
        check(json!({"a": [1]}), json!({"a": []}), json!({"a": []}), &["a: [1] → []"]);
        check(
            json!({"c": [{"name": "x", "p": 1}, {"name": "y", "p": 1}]}),
            json!({"c": [{"name": "y", "p": 2}, {"name": "z", "p": 3}]}),
            json!({"c": [{"name": "x", "p": 1}, {"name": "y", "p": 2}, {"name": "z", "p": 3}]}),
            &["c[y].p: 1 → 2", "c[z].name: absent → \"z\"", "c[z].p: absent → 3"],
        );
        check(
            json!({"a": 1}),
            json!({"a": {"b": null, "c": 1}}),
            json!({"a": {"c": 1}}),
            &["a: 1 → replaced", "a.c: absent → 1"],
        );
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0..3).prop_map(Value::from), "[ab]".prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[ab]|name", inner.clone(), 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
                proptest::collection::btree_map("[xyz]", inner, 1..3).prop_map(|map| {
                    map.into_iter().map(|(name, value)| json!({"name": name, "v": value})).collect()
                }),
            ]
        })
    }

    proptest! {
        /// A profile can be applied to what it was applied to.
        #[test]
        fn merging_twice_is_merging_once(base in document(), overlay in document()) {
            let mut once = base.clone();
            let changes = merge(&mut once, &overlay);
            let mut twice = once.clone();
            prop_assert_eq!(merge(&mut twice, &overlay), Vec::<String>::new());
            prop_assert_eq!(&twice, &once);
            prop_assert_eq!(changes.is_empty(), once == base, "every change is told, and nothing else: {:?}", changes);
        }
    }
}
