//! Strategic merge, as Kubernetes' own library does it, order rules included.

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::shape::fields::{self, Field, Identity, Shape, Type};
use crate::status::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// Applies the patch, which is an object.
pub(super) fn apply(kind: &'static Kind, current: &Value, patch: &Value) -> Result<Value, Status> {
    let current = current.as_object().cloned().unwrap_or_default();
    let patch = patch.as_object().cloned().unwrap_or_default();
    merge_objects(Some(fields::of_kind(kind)), current, patch).map(Value::Object)
}

fn merge_objects(kind: Option<&Type>, mut original: Object, mut patch: Object) -> Result<Object, Status> {
    match patch.remove(DIRECTIVE).as_ref().map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => return Ok(patch),
        Some("delete") => return Ok(Object::new()),
        Some(other) => return Err(unknown_directive(other, &patch)),
    }
    if let Some(kept) = patch.remove(RETAIN) {
        let kept = kept.as_array().cloned().unwrap_or_default();
        original.retain(|name, _| kept.contains(&Value::String(name.clone())));
    }
    let orders: Vec<String> = patch.keys().filter_map(|key| key.strip_prefix(ORDER)).map(str::to_owned).collect();
    for name in orders {
        let order = list(patch.remove(&format!("{ORDER}{name}")));
        ordered_list(kind, &name, order, &mut original, &mut patch)?;
    }
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(DELETE) {
            let gone = list(Some(value));
            if let Some(Value::Array(items)) = original.get_mut(name) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        let field = kind.and_then(|kind| kind.field(&key));
        let merged = match (original.remove(&key), value) {
            (_, Value::Null) => None,
            (Some(Value::Object(old)), Value::Object(new)) => {
                Some(Value::Object(merge_objects(object_type(field), old, new)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) => Some(Value::Array(merge_lists(field, old, new)?)),
            (_, new) => without_directives(new),
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// Merges one list for which the patch says the order of its elements.
fn ordered_list(
    kind: Option<&Type>,
    name: &str,
    order: Vec<Value>,
    original: &mut Object,
    patch: &mut Object,
) -> Result<(), Status> {
    let field = kind.and_then(|kind| kind.field(name));
    let live = original.get(name).and_then(Value::as_array).cloned();
    let merged = match (live.clone(), patch.remove(name)) {
        (Some(old), Some(Value::Array(new))) => merge_lists(field, old, new)?,
        (Some(old), None) => old,
        (None, Some(new)) => list(without_directives(new)),
        (None, None) => return Ok(()),
        (Some(_), Some(other)) => {
            original.remove(name);
            if !other.is_null() {
                original.insert(name.to_owned(), other);
            }
            return Ok(());
        }
    };
    let key = merge_key(field);
    let sorted = arrange(merged, &order, live.as_deref().unwrap_or_default(), key);
    original.insert(name.to_owned(), Value::Array(sorted));
    Ok(())
}

fn merge_lists(field: Option<&Field>, original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, Status> {
    let Some(Field { shape: Shape::List { item, identity }, .. }) = field else { return Ok(patch) };
    match identity {
        Identity::Atomic => Ok(patch),
        Identity::Set => {
            let mut merged = original.clone();
            for value in &patch {
                if !merged.contains(value) {
                    merged.push(value.clone());
                }
            }
            Ok(arrange(merged, &patch, &original, None))
        }
        Identity::Keys(keys) => {
            let Shape::Object(name) = **item else { return Ok(patch) };
            merge_keyed(fields::of(name), keys[0], original, patch)
        }
    }
}

fn merge_keyed(item: &Type, key: &str, original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, Status> {
    let mut merged = original.clone();
    let mut changes = Vec::new();
    let mut is_replaced = false;
    for element in patch {
        let Value::Object(element) = element else { return Err(no_merge_key(&element, key)) };
        match element.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None => changes.push(element),
            Some("delete") => {
                let gone = element.get(key).ok_or_else(|| no_merge_key(&Value::Object(element.clone()), key))?;
                merged.retain(|one| one.get(key) != Some(gone));
            }
            Some("replace") => is_replaced = true,
            Some("merge") => {
                return Err(Status::new(500, "", "merging lists cannot yet be specified in the patch"));
            }
            Some(other) => return Err(unknown_directive(other, &element)),
        }
    }
    if is_replaced {
        return Ok(changes.into_iter().map(Value::Object).collect());
    }
    let order: Vec<Value> = changes.iter().cloned().map(Value::Object).collect();
    for change in changes {
        let identity = change.get(key).cloned().ok_or_else(|| no_merge_key(&Value::Object(change.clone()), key))?;
        match merged.iter_mut().find(|one| one.get(key) == Some(&identity)) {
            Some(one) => {
                let old = one.as_object().cloned().unwrap_or_default();
                *one = Value::Object(merge_objects(Some(item), old, change)?);
            }
            None => merged.extend(without_directives(Value::Object(change))),
        }
    }
    Ok(arrange(merged, &order, &original, Some(key)))
}

/// Puts what the patch names into the patch's order and weaves the rest in where the live
/// list has it: an element of the rest stands before the next named one if it did so there.
fn arrange(merged: Vec<Value>, order: &[Value], live: &[Value], key: Option<&str>) -> Vec<Value> {
    let position = |list: &[Value], item: &Value| {
        list.iter().position(|other| match key {
            Some(key) => other.get(key) == item.get(key),
            None => other == item,
        })
    };
    let (mut named, mut rest): (Vec<_>, Vec<_>) = merged.into_iter().partition(|item| position(order, item).is_some());
    named.sort_by_key(|item| position(order, item));
    rest.sort_by_key(|item| position(live, item).unwrap_or(usize::MAX));
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    let mut woven = Vec::new();
    loop {
        let takes_rest = match (rest.peek(), named.peek()) {
            (None, None) => return woven,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => {
                matches!((position(live, left), position(live, right)), (Some(left), Some(right)) if left < right)
            }
        };
        woven.extend(if takes_rest { rest.next() } else { named.next() });
    }
}

/// What stays of a value that is new to the object: no nulls, no directives, and nothing
/// where the patch asked for its removal.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(mut members) => {
            if members.remove(DIRECTIVE).is_some_and(|directive| directive == "delete") {
                return Some(Value::Object(Object::new()));
            }
            members.retain(|name, _| name != RETAIN && !name.starts_with(ORDER) && !name.starts_with(DELETE));
            let kept = members.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => {
            let real = items.into_iter().filter(|item| item.get(DIRECTIVE).is_none());
            Some(Value::Array(real.filter_map(without_directives).collect()))
        }
        scalar => Some(scalar),
    }
}

fn object_type(field: Option<&Field>) -> Option<&'static Type> {
    match field.map(|field| &field.shape) {
        Some(Shape::Object(name)) => Some(fields::of(name)),
        _ => None,
    }
}

fn merge_key(field: Option<&Field>) -> Option<&'static str> {
    match field.map(|field| &field.shape) {
        Some(Shape::List { identity: Identity::Keys(keys), .. }) => Some(keys[0]),
        _ => None,
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn no_merge_key(element: &Value, key: &str) -> Status {
    Status::new(500, "", format!("map: {} does not contain declared merge key: {key}", element))
}

fn unknown_directive(directive: &str, element: &Object) -> Status {
    let element = Value::Object(element.clone());
    Status::new(500, "", format!("unknown patch type: {directive} in map: {element}"))
}
