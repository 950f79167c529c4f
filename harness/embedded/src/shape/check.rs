//! Validation: the rules of the table, and below `check/` those that look at several fields.

mod formats;
mod pod;
mod service;
mod update;
mod workload;

use std::fmt::Display;

use serde_json::Value;

use super::decode::join;
use super::fields::{self, Effect, Field, Rule, Shape, Type, Values};
use crate::kinds::Kind;
use crate::status::Cause;

pub(super) use update::check as update;

/// Everything wrong with an object.
pub(super) fn create(kind: &'static Kind, object: &Value) -> Vec<Cause> {
    let mut found = Found::default();
    metadata(kind, object, &mut found);
    found.object(fields::of_kind(kind), object, "");
    match kind.kind {
        "Pod" => pod::spec(&object["spec"], "spec", &mut found),
        "Deployment" | "ReplicaSet" | "StatefulSet" => workload::spec(kind, &object["spec"], &mut found),
        "Service" => service::spec(&object["spec"], &mut found),
        "PodDisruptionBudget" => workload::budget(&object["spec"], &mut found),
        "Ingress" => service::ingress(&object["spec"], &mut found),
        "PersistentVolumeClaim" if object["spec"]["resources"]["requests"]["storage"].is_null() => {
            found.required("spec.resources[storage]", "");
        }
        _ => {}
    }
    found.causes
}

/// Sentences for fields that are accepted and have no effect here (`limits.cpu`), sent as
/// `Warning` headers.
pub fn warnings(kind: &'static Kind, object: &Value) -> Vec<String> {
    let mut sentences = Vec::new();
    idle_fields(fields::of_kind(kind), object, "", &mut sentences);
    sentences
}

/// The causes found so far.
#[derive(Default)]
struct Found {
    causes: Vec<Cause>,
}

impl Found {
    fn add(&mut self, reason: &'static str, field: &str, message: String) {
        self.causes.push(Cause { reason, message, field: field.to_owned() });
    }

    fn invalid(&mut self, field: &str, value: impl Display, why: &str) {
        self.add("FieldValueInvalid", field, format!("Invalid value: {value}: {why}"));
    }

    fn required(&mut self, field: &str, why: &str) {
        let colon = if why.is_empty() { "" } else { ": " };
        self.add("FieldValueRequired", field, format!("Required value{colon}{why}"));
    }

    fn forbidden(&mut self, field: &str, why: &str) {
        self.add("FieldValueForbidden", field, format!("Forbidden: {why}"));
    }

    fn refused(&mut self, field: &str, because: &str) {
        self.forbidden(field, &format!("not supported by the embedded cluster: {because}"));
    }

    fn duplicate(&mut self, field: &str, value: impl Display) {
        self.add("FieldValueDuplicate", field, format!("Duplicate value: {value}"));
    }

    fn unsupported(&mut self, field: &str, value: impl Display, allowed: &[&str]) {
        let allowed: Vec<String> = allowed.iter().map(|one| format!("\"{one}\"")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        self.add("FieldValueNotSupported", field, message);
    }

    fn object(&mut self, kind: &Type, object: &Value, path: &str) {
        for field in kind.fields.iter().filter(|field| field.name != "metadata" || !path.is_empty()) {
            self.field(field, object.get(field.name).unwrap_or(&Value::Null), &join(path, field.name));
        }
    }

    fn field(&mut self, field: &Field, value: &Value, path: &str) {
        if let Effect::Refused { values, because } = &field.effect
            && is_given(values, value)
        {
            return self.refused(path, because);
        }
        for rule in &field.rules {
            if matches!(rule, Rule::Required) && is_empty(value) {
                return self.required(path, "");
            }
            if !value.is_null() {
                self.rule(rule, value, path);
            }
        }
        match (&field.shape, value) {
            (Shape::Object(name), Value::Object(_)) => self.object(fields::of(name), value, path),
            (Shape::List { item, .. }, Value::Array(items)) => {
                if let Shape::Object(name) = **item {
                    for (index, one) in items.iter().enumerate() {
                        self.object(fields::of(name), one, &format!("{path}[{index}]"));
                    }
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &Rule, value: &Value, path: &str) {
        match rule {
            Rule::Required => {}
            Rule::Min(least) if value.as_i64().is_some_and(|number| number < *least) => {
                self.invalid(path, value, &format!("must be greater than or equal to {least}"));
            }
            Rule::Min(_) => {}
            Rule::Port | Rule::PortName => match value {
                Value::String(name) => self.format("portname", name, path),
                _ if value.as_i64().is_none_or(|number| !(1..=65535).contains(&number)) => {
                    self.invalid(path, value, "must be between 1 and 65535, inclusive");
                }
                _ => {}
            },
            Rule::Amount => self.amount(value, path),
            Rule::Share => {
                self.amount(value, path);
                if formats::percentage(value).is_some_and(|percent| percent > 100) {
                    self.invalid(path, value, "must not be greater than 100%");
                }
            }
            Rule::OneOf(allowed) => {
                if value.as_str().is_some_and(|text| !allowed.contains(&text)) {
                    self.unsupported(path, value, allowed);
                }
            }
            Rule::Is(format) => match value {
                Value::String(text) => self.format(format, text, path),
                Value::Object(map) => {
                    map.keys().for_each(|key| self.format(format, key, &format!("{path}[{key}]")));
                }
                _ => {}
            },
            Rule::Unique(key) => self.unique(value, key, path),
            Rule::Labels => self.labels(value, path, true),
            Rule::Annotations => self.labels(value, path, false),
        }
    }

    fn format(&mut self, format: &str, text: &str, path: &str) {
        for why in formats::problems(format, text) {
            self.invalid(path, Value::from(text), why);
        }
    }

    fn amount(&mut self, value: &Value, path: &str) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(path, value, "must be greater than or equal to 0");
        } else if value.is_string() && formats::percentage(value).is_none() {
            self.invalid(path, value, formats::PERCENTAGE);
        }
    }

    fn unique(&mut self, list: &Value, key: &str, path: &str) {
        let mut seen = Vec::new();
        for (index, item) in list.as_array().into_iter().flatten().enumerate() {
            let value = &item[key];
            if seen.contains(&value) {
                self.duplicate(&format!("{path}[{index}].{key}"), value);
            } else if !is_empty(value) {
                seen.push(value);
            }
        }
    }

    fn labels(&mut self, map: &Value, path: &str, with_values: bool) {
        for (key, value) in map.as_object().into_iter().flatten() {
            self.format("qualified-name", key, path);
            if let (true, Some(text)) = (with_values, value.as_str()) {
                self.format("label-value", text, path);
            }
        }
    }
}

fn metadata(kind: &'static Kind, object: &Value, found: &mut Found) {
    let name = crate::object::name(object);
    if name.is_empty() {
        found.required("metadata.name", "name or generateName is required");
    }
    let format = match kind.kind {
        "Service" | "Namespace" | "StatefulSet" => "dns-label",
        _ => "dns-subdomain",
    };
    if !name.is_empty() {
        found.format(format, name, "metadata.name");
    }
    for (index, finalizer) in object["metadata"]["finalizers"].as_array().into_iter().flatten().enumerate() {
        let is_standard = ["orphan", "foregroundDeletion", "kubernetes"].iter().any(|name| finalizer == name);
        if !is_standard && finalizer.as_str().is_some_and(|name| !name.contains('/')) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            found.invalid(&format!("metadata.finalizers[{index}]"), finalizer, why);
        }
    }
    found.object(fields::of("ObjectMeta"), &object["metadata"], "metadata");
}

/// Whether the value says anything that the effect is about.
fn is_given(values: &Values, value: &Value) -> bool {
    match (values, value) {
        (_, Value::Null) => false,
        (Values::All, Value::Object(_)) => true,
        (Values::All, _) => !is_empty(value) && *value != Value::Bool(false),
        _ => values.mean(value),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) | Value::Object(_) => false,
    }
}

fn idle_fields(kind: &Type, object: &Value, path: &str, sentences: &mut Vec<String>) {
    for field in &kind.fields {
        let value = object.get(field.name).unwrap_or(&Value::Null);
        let path = join(path, field.name);
        if let Effect::None { values, because } = &field.effect
            && is_given(values, value)
            && !is_added_by_server(field.name, value)
        {
            sentences.push(format!("{path}: accepted without effect by the embedded cluster: {because}"));
            continue;
        }
        match (&field.shape, value) {
            (Shape::Object(name), Value::Object(_)) => idle_fields(fields::of(name), value, &path, sentences),
            (Shape::List { item, .. }, Value::Array(items)) => {
                if let Shape::Object(name) = **item {
                    for (index, one) in items.iter().enumerate() {
                        idle_fields(fields::of(name), one, &format!("{path}[{index}]"), sentences);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Tolerations that every pod gets are no wish of whoever wrote the pod.
fn is_added_by_server(name: &str, value: &Value) -> bool {
    let key = |one: &Value| one["key"].as_str().is_some_and(|key| key.starts_with("node.kubernetes.io/"));
    name == "tolerations" && value.as_array().is_some_and(|all| all.iter().all(key))
}
