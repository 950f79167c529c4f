//! What differs between two objects, as sets of paths.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::paths::{self, Path, Paths};
use crate::shape::fields::{self, Identity, Scalar, Shape, Type};

/// The differences from one object to another.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: Paths,
    pub(super) modified: Paths,
    pub(super) removed: Paths,
}

/// Compares two objects of a kind.
pub(super) fn objects(kind: &Type, before: &Value, after: &Value) -> Comparison {
    let mut found = Comparison::default();
    let (old, new) = (members(Some(before)), members(Some(after)));
    found.members(|name| kind.field(name).map(|field| &field.shape), old, new, &Vec::new());
    found
}

impl Comparison {
    fn value(&mut self, shape: &Shape, before: Option<&Value>, after: Option<&Value>, path: &Path) {
        let (old, new) = (before, after);
        let is_blank = |value: Option<&Value>| match value {
            None | Some(Value::Null) => true,
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(_) => false,
        };
        if shape.is_atomic() || is_blank(old) && is_blank(new) {
            return self.leaf(old, new, path);
        }
        match shape {
            Shape::Object(name) => {
                let kind = fields::of(name);
                self.members(|name| kind.field(name).map(|field| &field.shape), members(old), members(new), path);
            }
            Shape::Map { .. } => {
                // Values of maps are compared as they stand, whatever their type.
                self.members(|_| Some(&Shape::Scalar(Scalar::String)), members(old), members(new), path);
            }
            Shape::List { item, identity } => self.items(item, identity, old, new, path),
            Shape::Scalar(_) | Shape::Any => {}
        }
        if before.is_none() {
            self.added.insert(path.clone());
        } else if after.is_none() {
            self.removed.insert(path.clone());
        }
    }

    fn leaf(&mut self, before: Option<&Value>, after: Option<&Value>, path: &Path) {
        let set = match (before, after) {
            (None, Some(_)) => &mut self.added,
            (Some(_), None) => &mut self.removed,
            (Some(old), Some(new)) if old != new => &mut self.modified,
            _ => return,
        };
        set.insert(path.clone());
    }

    fn members<'s>(
        &mut self,
        shape_of: impl Fn(&str) -> Option<&'s Shape>,
        before: Option<&Map<String, Value>>,
        after: Option<&Map<String, Value>>,
        path: &Path,
    ) {
        let mut pairs: BTreeMap<&str, (Option<&Value>, Option<&Value>)> = BTreeMap::new();
        before.into_iter().flatten().for_each(|(name, value)| pairs.entry(name).or_default().0 = Some(value));
        after.into_iter().flatten().for_each(|(name, value)| pairs.entry(name).or_default().1 = Some(value));
        for (name, (old, new)) in pairs {
            self.value(shape_of(name).unwrap_or(&Shape::Any), old, new, &paths::with(path, format!("f:{name}")));
        }
    }

    fn items(&mut self, item: &Shape, identity: &Identity, before: Option<&Value>, after: Option<&Value>, path: &Path) {
        let mut pairs: BTreeMap<String, (Option<&Value>, Option<&Value>)> = BTreeMap::new();
        let named = |list: Option<&'_ Value>| -> Vec<String> {
            let items = list.and_then(Value::as_array).into_iter().flatten();
            items.map(|one| paths::element(item, identity, one).unwrap_or_default()).collect()
        };
        // Of items with the same keys the first one counts.
        for (name, one) in named(before).into_iter().zip(before.and_then(Value::as_array).into_iter().flatten()) {
            pairs.entry(name).or_default().0.get_or_insert(one);
        }
        for (name, one) in named(after).into_iter().zip(after.and_then(Value::as_array).into_iter().flatten()) {
            pairs.entry(name).or_default().1.get_or_insert(one);
        }
        for (element, (old, new)) in pairs.into_iter().filter(|(element, _)| !element.is_empty()) {
            self.value(item, old, new, &paths::with(path, element));
        }
    }
}

fn members(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}
