//! What Go's decoder does before anything else looks at an object: type errors, unknown
//! fields, and the plain form of values (no nulls, no zero values, canonical quantities).

use serde_json::{Map, Value};

use super::fields::{self, Field, Scalar, Shape, Type};
use super::quantity::Quantity;
use crate::kinds::Kind;

/// What is wrong with the first value of a wrong type, as Go's decoder words it and as
/// [`super::patched_error`] takes it.
pub fn type_error(kind: &Kind, object: &Value) -> Option<String> {
    object_error(fields::of_kind(kind), object, "")
}

/// Paths of fields that the kind does not have (`spec.template.spec.foo`), those of inner
/// objects first.
pub fn unknown_fields(kind: &Kind, object: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    collect_unknown(fields::of_kind(kind), object, "", &mut unknown);
    unknown
}

/// Drops unknown fields, nulls and zero values, adds what is always written, and writes
/// quantities in canonical form. Values of a wrong type stay as they are.
pub(super) fn normalize(kind: &Kind, object: &mut Value) {
    normalize_object(fields::of_kind(kind), object);
}

/// Canonical scalars, and nothing dropped but nulls: an apply's intent keeps `{}`.
pub(super) fn canonical(kind: &Kind, object: &mut Value) {
    canonical_object(fields::of_kind(kind), object);
}

/// `parent.name`, or `name` at the top.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn object_error(kind: &Type, object: &Value, path: &str) -> Option<String> {
    let members = object.as_object()?;
    kind.fields.iter().find_map(|field| {
        let value = members.get(field.name).filter(|value| !value.is_null())?;
        value_error(&format!("{}.{}", kind.name, join(path, field.name)), &join(path, field.name), &field.shape, value)
    })
}

fn value_error(place: &str, path: &str, shape: &Shape, value: &Value) -> Option<String> {
    let mismatch = || {
        let found = match value {
            Value::Null => return None,
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if matches!(shape, Shape::Scalar(Scalar::Int32 | Scalar::Int64)) => {
                format!("number {number}")
            }
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        Some(format!("json: cannot unmarshal {found} into Go struct field {place} of type {}", go_type(shape)))
    };
    match (shape, value) {
        (Shape::Any, _) => None,
        (Shape::Scalar(scalar), _) => match scalar_error(*scalar, value) {
            Ok(()) => None,
            Err(Some(text)) => Some(text),
            Err(None) => mismatch(),
        },
        (Shape::Object(name), Value::Object(_)) => object_error(fields::of(name), value, path),
        (Shape::List { item, .. }, Value::Array(items)) => {
            items.iter().find_map(|one| value_error(place, path, item, one))
        }
        (Shape::Map { value: scalar, .. }, Value::Object(map)) => {
            map.values().find_map(|one| value_error(place, path, &Shape::Scalar(*scalar), one))
        }
        _ => mismatch(),
    }
}

fn scalar_error(scalar: Scalar, value: &Value) -> Result<(), Option<String>> {
    let fits = match (scalar, value) {
        (_, Value::Null) => true,
        (Scalar::Int32, Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        (Scalar::Int64, Value::Number(number)) => number.as_i64().is_some(),
        (Scalar::IntOrString, Value::Number(number)) => number.as_i64().is_some(),
        (Scalar::Quantity, Value::Number(_)) => true,
        (Scalar::String | Scalar::IntOrString, Value::String(_)) => true,
        (Scalar::Bool, Value::Bool(_)) => true,
        (Scalar::Quantity, Value::String(text)) if Quantity::parse(text).is_none() => {
            let pattern = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";
            return Err(Some(format!("quantities must match the regular expression '{pattern}'")));
        }
        (Scalar::Time, Value::String(text)) if text.parse::<jiff::Timestamp>().is_err() => {
            return Err(Some(format!("parsing time \"{text}\" as RFC 3339 failed")));
        }
        (Scalar::Bytes, Value::String(_)) => match serde_json::from_value::<k8s_openapi::ByteString>(value.clone()) {
            Ok(_) => true,
            Err(_) => return Err(Some("illegal base64 data".to_owned())),
        },
        (Scalar::Quantity | Scalar::Time, Value::String(_)) => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(None) }
}

fn go_type(shape: &Shape) -> String {
    let scalar_name = |scalar: &Scalar| match scalar {
        Scalar::String => "string",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Bool => "bool",
        Scalar::Quantity => "resource.Quantity",
        Scalar::IntOrString => "intstr.IntOrString",
        Scalar::Time => "v1.Time",
        Scalar::Bytes => "[]uint8",
    };
    match shape {
        Shape::Scalar(scalar) => scalar_name(scalar).to_owned(),
        Shape::Object(name) => format!("v1.{name}"),
        Shape::List { item, .. } => format!("[]{}", go_type(item)),
        // Go names the value's type for a wrong value, and so do we for a wrong map.
        Shape::Map { value, .. } => format!("map[string]{}", scalar_name(value)),
        Shape::Any => "interface {}".to_owned(),
    }
}

fn collect_unknown(kind: &Type, object: &Value, path: &str, unknown: &mut Vec<String>) {
    let Some(members) = object.as_object() else { return };
    for field in &kind.fields {
        let Some(value) = members.get(field.name) else { continue };
        let path = join(path, field.name);
        match &field.shape {
            Shape::Object(name) => collect_unknown(fields::of(name), value, &path, unknown),
            Shape::List { item, .. } => {
                if let Shape::Object(name) = &**item {
                    for (index, one) in value.as_array().into_iter().flatten().enumerate() {
                        collect_unknown(fields::of(name), one, &format!("{path}[{index}]"), unknown);
                    }
                }
            }
            Shape::Scalar(_) | Shape::Map { .. } | Shape::Any => {}
        }
    }
    unknown.extend(members.keys().filter(|name| kind.field(name).is_none()).map(|name| join(path, name)));
}

fn normalize_object(kind: &Type, object: &mut Value) {
    let Some(members) = object.as_object_mut() else { return };
    members.retain(|name, _| kind.field(name).is_some());
    for field in &kind.fields {
        if let Some(value) = members.get_mut(field.name) {
            each_object(&field.shape, value, normalize_object);
            canonical_scalar(&field.shape, value);
        }
        let is_left_out = members.get(field.name).is_some_and(|value| is_left_out(field, value));
        if is_left_out {
            members.remove(field.name);
        }
        if field.is_never_absent() && !members.contains_key(field.name) {
            let mut zero = field.shape.zero();
            each_object(&field.shape, &mut zero, normalize_object);
            members.insert(field.name.to_owned(), zero);
        }
    }
}

fn canonical_object(kind: &Type, object: &mut Value) {
    let Some(members) = object.as_object_mut() else { return };
    members.retain(|_, value| !value.is_null());
    for field in &kind.fields {
        if let Some(value) = members.get_mut(field.name) {
            each_object(&field.shape, value, canonical_object);
            canonical_scalar(&field.shape, value);
        }
    }
}

/// Whether Go leaves this value out when it writes the object.
fn is_left_out(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        _ if field.always => false,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && matches!(field.shape, Shape::Map { .. }),
        _ => {
            !field.pointer && !matches!(field.shape, Shape::Scalar(Scalar::IntOrString)) && *value == field.shape.zero()
        }
    }
}

fn canonical_scalar(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Scalar(Scalar::Quantity), value) => canonical_quantity(value),
        (Shape::Map { value: Scalar::Quantity, .. }, Value::Object(map)) => {
            map.values_mut().for_each(canonical_quantity);
        }
        (Shape::Map { value: Scalar::String, .. }, Value::Object(map)) => {
            map.values_mut().filter(|one| one.is_null()).for_each(|one| *one = "".into());
        }
        _ => {}
    }
}

fn canonical_quantity(value: &mut Value) {
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if let Some(quantity) = Quantity::parse(&text) {
        *value = quantity.canonical().into();
    }
}

/// Calls for the object, or for each object of the list.
pub(super) fn each_object(shape: &Shape, value: &mut Value, mut visit: impl FnMut(&'static Type, &mut Value)) {
    match (shape, value) {
        (Shape::Object(name), value) => visit(fields::of(name), value),
        (Shape::List { item, .. }, Value::Array(items)) => {
            if let Shape::Object(name) = **item {
                items.iter_mut().for_each(|one| visit(fields::of(name), one));
            }
        }
        _ => {}
    }
}

/// Go's zero object of a kind: what the API server compares a new object with.
pub(super) fn zero_object(kind: &Kind) -> Value {
    let mut object = Value::Object(Map::new());
    normalize(kind, &mut object);
    object
}
