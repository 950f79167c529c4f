//! Sets of field paths. A path is a row of elements as `fieldsV1` writes them: `f:name` for a
//! member, `k:{…}` for a list item by its keys, `v:…` for an item of a set.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::shape::fields::{self, Identity, Shape, Type};

/// One path, from the root of the object.
pub(super) type Path = Vec<String>;
/// A set of paths.
pub(super) type Paths = BTreeSet<Path>;

/// Every path that an intent claims.
pub(super) fn of_object(kind: &Type, object: &Value) -> Paths {
    let mut paths = Paths::new();
    members(kind, object, &Vec::new(), &mut paths);
    paths
}

/// What makes an object no valid intent: unknown members and repeated or unnamed list items.
pub(super) fn problems(kind: &Type, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    object_problems(kind, object, &Vec::new(), &mut found);
    found
}

/// The element of a list's item, or the key it lacks.
pub(super) fn element(item_shape: &Shape, identity: &Identity, item: &Value) -> Result<String, &'static str> {
    let Identity::Keys(keys) = identity else { return Ok(format!("v:{item}")) };
    let mut sorted: BTreeMap<&str, Value> = BTreeMap::new();
    for &key in keys {
        let default = match item_shape {
            Shape::Object(name) => fields::of(name).field(key).and_then(|field| field.default.clone()),
            _ => None,
        };
        let value = item.get(key).filter(|value| !value.is_null()).cloned();
        sorted.insert(key, value.or(default).ok_or(key)?);
    }
    let each: Vec<String> = sorted.iter().map(|(key, value)| format!("{}:{value}", Value::from(*key))).collect();
    Ok(format!("k:{{{}}}", each.join(",")))
}

/// `path` with one more element.
pub(super) fn with(path: &Path, element: impl Into<String>) -> Path {
    let mut longer = path.clone();
    longer.push(element.into());
    longer
}

/// Whether any path of the set lies below this one.
pub(super) fn has_below(paths: &Paths, path: &Path) -> bool {
    let after = (std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded);
    paths.range::<Path, _>(after).next().is_some_and(|next| next.starts_with(path))
}

/// The set with every declared member on the way to one of its paths.
pub(super) fn with_named_parents(kind: &Type, paths: &Paths) -> Paths {
    let mut all = paths.clone();
    for path in paths {
        let mut shape: Option<&Shape> = None;
        for (depth, element) in path.iter().enumerate().take(path.len().saturating_sub(1)) {
            let object = match shape {
                None => Some(kind),
                Some(Shape::Object(name)) => Some(fields::of(name)),
                Some(_) => None,
            };
            let field = object.zip(element.strip_prefix("f:")).and_then(|(object, name)| object.field(name));
            shape = match (field, shape) {
                (Some(field), _) => {
                    all.insert(path[..=depth].to_vec());
                    Some(&field.shape)
                }
                (None, Some(Shape::List { item, .. })) => Some(&**item),
                (None, _) => Some(&Shape::Any),
            };
        }
    }
    all
}

/// `.spec.containers[name="web"].image`.
pub(super) fn shown(path: &[String]) -> String {
    path.iter().map(|element| shown_element(element)).collect()
}

/// The set as `fieldsV1`.
pub(super) fn to_json(paths: &Paths) -> Value {
    let mut root = Map::new();
    for path in paths {
        // Shorter paths come first: what stands on the way is a member only if it came by itself.
        let mut node = &mut root;
        for (depth, element) in path.iter().enumerate() {
            let is_new = !node.contains_key(element);
            let child = node.entry(element.clone()).or_insert_with(|| json!({}));
            node = child.as_object_mut().expect("every node is an object");
            let is_member = depth + 1 == path.len();
            if !is_new && !is_member && node.is_empty() {
                node.insert(".".to_owned(), json!({}));
            }
        }
    }
    Value::Object(root)
}

/// A set from `fieldsV1`.
pub(super) fn from_json(fields: &Value) -> Paths {
    let mut paths = Paths::new();
    read_node(fields, &Vec::new(), &mut paths);
    paths
}

fn read_node(node: &Value, path: &Path, paths: &mut Paths) {
    let Some(children) = node.as_object() else { return };
    if (children.is_empty() || children.contains_key(".")) && !path.is_empty() {
        paths.insert(path.clone());
    }
    for (element, child) in children.iter().filter(|(element, _)| *element != ".") {
        read_node(child, &with(path, element), paths);
    }
}

fn members(kind: &Type, object: &Value, path: &Path, paths: &mut Paths) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = with(path, format!("f:{name}"));
        let Some(field) = kind.field(name) else { continue };
        if is_blank(value) {
            paths.insert(path.clone());
        }
        value_paths(&field.shape, value, &path, paths);
    }
}

fn value_paths(shape: &Shape, value: &Value, path: &Path, paths: &mut Paths) {
    if shape.is_atomic() {
        paths.insert(path.clone());
        return;
    }
    match (shape, value) {
        (Shape::Object(name), _) => members(fields::of(name), value, path, paths),
        (Shape::Map { .. }, Value::Object(map)) => paths.extend(map.keys().map(|key| with(path, format!("f:{key}")))),
        (Shape::List { item, identity }, Value::Array(items)) => {
            for one in items {
                let Ok(element) = element(item, identity, one) else { continue };
                let path = with(path, element);
                paths.insert(path.clone());
                value_paths(item, one, &path, paths);
            }
        }
        _ => {}
    }
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

fn object_problems(kind: &Type, object: &Value, path: &Path, found: &mut Vec<String>) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = with(path, format!("f:{name}"));
        match kind.field(name).map(|field| &field.shape) {
            None => found.push(format!("{}: field not declared in schema", shown(&path))),
            Some(Shape::Object(name)) => object_problems(fields::of(name), value, &path, found),
            Some(Shape::List { item, identity }) => list_problems(item, identity, value, &path, found),
            Some(_) => {}
        }
    }
}

fn list_problems(item: &Shape, identity: &Identity, list: &Value, path: &Path, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, one) in list.as_array().into_iter().flatten().enumerate() {
        let element = match identity {
            Identity::Atomic => index.to_string(),
            _ => match element(item, identity, one) {
                Ok(element) => element,
                Err(key) => {
                    let why = format!("omits key field \"{key}\" (and doesn't have default value)");
                    let list = format!("{}: element {index}", shown(path));
                    found.push(format!("{list}: associative list with keys has an element that {why}"));
                    continue;
                }
            },
        };
        if !seen.insert(element.clone()) {
            found.push(format!("{}: duplicate entries for key {}", shown(path), shown_element(&element)));
        }
        if let Shape::Object(name) = item {
            object_problems(fields::of(name), one, &with(path, element), found);
        }
    }
}

fn shown_element(element: &str) -> String {
    match (element.strip_prefix("f:"), element.strip_prefix("k:"), element.strip_prefix("v:")) {
        (Some(name), _, _) => format!(".{name}"),
        (_, Some(keys), _) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let each: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", each.join(","))
        }
        (_, _, Some(value)) => format!("[={value}]"),
        _ => format!("[{element}]"),
    }
}
