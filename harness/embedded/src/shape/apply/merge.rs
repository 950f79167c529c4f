//! Merging an intent into the live object, and taking out what nobody claims any more.

use serde_json::{Map, Value};

use super::paths::{self, Path, Paths};
use crate::shape::fields::{self, Identity, Shape, Type};

/// The live object with the intent laid over it.
pub(super) fn objects(kind: &Type, live: &Value, intent: &Value) -> Value {
    let mut merged = live.as_object().cloned().unwrap_or_default();
    for (name, value) in intent.as_object().into_iter().flatten() {
        let new = match (kind.field(name), merged.get(name)) {
            (Some(field), Some(old)) => values(&field.shape, old, value),
            _ => value.clone(),
        };
        merged.insert(name.clone(), new);
    }
    Value::Object(merged)
}

/// `merged` without what the manager claimed by `last` and neither it nor anyone else claims
/// now (`claimed`, which holds its new claims too).
pub(super) fn prune(kind: &Type, merged: Value, last: &Paths, claimed: &Paths) -> Value {
    if last.is_empty() {
        return merged;
    }
    let last = paths::with_named_parents(kind, last);
    let claimed = paths::with_named_parents(kind, claimed);
    let all = |object: &Value| paths::with_named_parents(kind, &paths::of_object(kind, object));
    let minus = |from: &Paths, what: &Paths| -> Paths { from.difference(what).cloned().collect() };
    let present = all(&merged);

    let without_last = remove(kind, &merged, &last);
    let kept: Paths = all(&without_last).union(&claimed).cloned().collect();
    let without_unclaimed = remove(kind, &merged, &minus(&present, &kept));
    // What was never this manager's stays, even if nobody claims it.
    let gone = minus(&present, &all(&without_unclaimed));
    remove(kind, &merged, &gone.intersection(&last).cloned().collect())
}

fn values(shape: &Shape, live: &Value, intent: &Value) -> Value {
    if shape.is_atomic() {
        return intent.clone();
    }
    match (shape, live, intent) {
        (Shape::Object(name), Value::Object(_), Value::Object(_)) => objects(fields::of(name), live, intent),
        (Shape::Map { .. }, Value::Object(old), Value::Object(new)) => {
            let mut merged = old.clone();
            merged.extend(new.clone());
            Value::Object(merged)
        }
        (Shape::List { item, identity }, Value::Array(old), Value::Array(new)) => {
            Value::Array(lists(item, identity, old, new))
        }
        _ => intent.clone(),
    }
}

/// Both orders are kept where they agree; where they do not, the intent's wins.
fn lists(item: &Shape, identity: &Identity, live: &[Value], intent: &[Value]) -> Vec<Value> {
    let name = |one: &Value| paths::element(item, identity, one).unwrap_or_default();
    let (old, new): (Vec<String>, Vec<String>) = (live.iter().map(name).collect(), intent.iter().map(name).collect());
    let merged_item = |index: usize| match old.iter().position(|one| *one == new[index]) {
        Some(at) => values(item, &live[at], &intent[index]),
        None => intent[index].clone(),
    };
    let mut shared = new.iter().filter(|name| old.contains(name)).peekable();
    let mut taken: Vec<&String> = Vec::new();
    let (mut left, mut right) = (0, 0);
    let mut merged = Vec::new();
    while left < old.len() || right < new.len() {
        let is_shared = left < old.len() && new.contains(&old[left]);
        if left < old.len() && !is_shared {
            merged.push(live[left].clone());
            left += 1;
        } else if is_shared && (taken.contains(&&old[left]) || right < new.len() && shared.peek() != Some(&&old[left]))
        {
            // It stands where the intent has it.
            left += 1;
        } else if right < new.len() {
            merged.push(merged_item(right));
            taken.push(&new[right]);
            if left < old.len() && old[left] == new[right] {
                left += 1;
            }
            if shared.peek() == Some(&&new[right]) {
                shared.next();
            }
            right += 1;
        } else {
            left += 1;
        }
    }
    merged
}

fn remove(kind: &Type, object: &Value, gone: &Paths) -> Value {
    Value::Object(members(|name| kind.field(name).map(|field| &field.shape), object, gone, &Vec::new()))
}

fn members<'s>(
    shape_of: impl Fn(&str) -> Option<&'s Shape>,
    object: &Value,
    gone: &Paths,
    path: &Path,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = paths::with(path, format!("f:{name}"));
        if gone.contains(&path) {
            continue;
        }
        let value = match shape_of(name) {
            Some(shape) if paths::has_below(gone, &path) => below(shape, value, gone, &path),
            _ => Some(value.clone()),
        };
        kept.extend(value.map(|value| (name.clone(), value)));
    }
    kept
}

/// The value without what is gone; `None` where nothing is left.
fn below(shape: &Shape, value: &Value, gone: &Paths, path: &Path) -> Option<Value> {
    let is_empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if shape.is_atomic() || is_empty(value) {
        return Some(value.clone());
    }
    let left = match (shape, value) {
        (Shape::Object(name), _) => {
            let kind = fields::of(name);
            Value::Object(members(|name| kind.field(name).map(|field| &field.shape), value, gone, path))
        }
        (Shape::Map { .. }, _) => Value::Object(members(|_| None, value, gone, path)),
        (Shape::List { item, identity }, Value::Array(items)) => {
            let kept = items.iter().filter_map(|one| {
                let path = paths::with(path, paths::element(item, identity, one).unwrap_or_default());
                if gone.contains(&path) {
                    None
                } else if paths::has_below(gone, &path) {
                    below(item, one, gone, &path)
                } else {
                    Some(one.clone())
                }
            });
            Value::Array(kept.collect())
        }
        _ => value.clone(),
    };
    (!is_empty(&left)).then_some(left)
}
