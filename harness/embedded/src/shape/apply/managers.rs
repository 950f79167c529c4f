//! Who owns which fields: `metadata.managedFields` as sets of paths.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compare::Comparison;
use super::paths::{self, Path, Paths};
use crate::kinds::Kind;
use crate::status::Status;

/// A field manager. An applier is the same one whatever API version it used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    operation: String,
    name: String,
    api_version: String,
    subresource: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    paths: Paths,
    api_version: String,
    time: Option<String>,
}

/// Every manager of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managers(BTreeMap<Manager, Owned>);

impl Manager {
    /// The one that applies under this name.
    pub(super) fn applier(name: &str) -> Self {
        Self {
            operation: "Apply".to_owned(),
            name: name.to_owned(),
            api_version: String::new(),
            subresource: String::new(),
        }
    }

    /// The one that updates under this name.
    pub(super) fn updater(name: &str, api_version: &str, subresource: Option<&str>) -> Self {
        Self {
            operation: "Update".to_owned(),
            name: name.to_owned(),
            api_version: api_version.to_owned(),
            subresource: subresource.unwrap_or_default().to_owned(),
        }
    }

    fn shown(&self) -> String {
        let name = format!("{:?}", self.name);
        let through = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", self.subresource)
        };
        let using = if self.operation == "Update" { format!(" using {}", self.api_version) } else { String::new() };
        format!("{name}{through}{using}")
    }
}

impl Managers {
    /// Reads `metadata.managedFields`; entries that make no sense are dropped.
    pub(super) fn read(entries: &Value) -> Self {
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let mut managers = BTreeMap::new();
        for entry in entries.as_array().into_iter().flatten() {
            let operation = text(entry, "operation");
            if !["Apply", "Update"].contains(&operation.as_str()) {
                continue;
            }
            let api_version = text(entry, "apiVersion");
            let manager = Manager {
                api_version: if operation == "Apply" { String::new() } else { api_version.clone() },
                operation,
                name: text(entry, "manager"),
                subresource: text(entry, "subresource"),
            };
            let paths = paths::from_json(&entry["fieldsV1"]);
            managers.insert(manager, Owned { paths, api_version, time: entry["time"].as_str().map(str::to_owned) });
        }
        Self(managers)
    }

    /// Writes `metadata.managedFields`: appliers first, then by time, then by name.
    pub(super) fn write(&self, object: &mut Value) {
        let mut entries: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        entries.sort_by_key(|(manager, owned)| {
            (&manager.operation, &owned.time, &manager.name, &owned.api_version, &manager.subresource)
        });
        let entries: Vec<Value> = entries.into_iter().map(|(manager, owned)| entry(manager, owned)).collect();
        if entries.is_empty() {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
        } else {
            object["metadata"]["managedFields"] = Value::Array(entries);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the same managers own the same fields.
    pub(super) fn same_fields(&self, other: &Self) -> bool {
        let fields = |managers: &Self| -> Vec<(Manager, Paths)> {
            managers.0.iter().map(|(manager, owned)| (manager.clone(), owned.paths.clone())).collect()
        };
        fields(self) == fields(other)
    }

    /// Sets what a manager owns; returns what it owned before.
    pub(super) fn set(&mut self, manager: &Manager, paths: Paths) -> Paths {
        match self.0.get_mut(manager) {
            Some(owned) => std::mem::replace(&mut owned.paths, paths),
            None => {
                self.0.insert(manager.clone(), Owned { paths, api_version: String::new(), time: None });
                Paths::new()
            }
        }
    }

    /// Adds to what a manager owns, at this time.
    pub(super) fn add(&mut self, manager: &Manager, paths: Paths, time: &str) {
        let api_version = manager.api_version.clone();
        let owned =
            self.0.entry(manager.clone()).or_insert_with(|| Owned { paths: Paths::new(), api_version, time: None });
        owned.paths.extend(paths);
        owned.time = Some(time.to_owned());
    }

    /// Everything that anyone owns.
    pub(super) fn union(&self) -> Paths {
        self.0.values().flat_map(|owned| owned.paths.iter().cloned()).collect()
    }

    /// What others own of the fields that an applier changes.
    pub(super) fn conflicts(&self, applier: &Manager, changes: &Comparison) -> Vec<(Manager, Path)> {
        let others = self.0.iter().filter(|(manager, _)| *manager != applier);
        let is_changed = |path: &&Path| changes.added.contains(*path) || changes.modified.contains(*path);
        let taken = others.flat_map(|(manager, owned)| {
            owned.paths.iter().filter(is_changed).map(move |path| (manager.clone(), path.clone()))
        });
        taken.collect()
    }

    /// Takes changed and removed fields from everyone but `writer`.
    pub(super) fn give_up(&mut self, writer: Option<&Manager>, changes: &Comparison) {
        for (_, owned) in self.0.iter_mut().filter(|(manager, _)| Some(*manager) != writer) {
            owned.paths.retain(|path| {
                ![&changes.added, &changes.modified, &changes.removed].into_iter().any(|set| set.contains(path))
            });
        }
        self.0.retain(|_, owned| !owned.paths.is_empty());
    }

    /// Drops paths that nobody can own.
    pub(super) fn strip(&mut self, is_unowned: impl Fn(&[String]) -> bool) {
        self.0.values_mut().for_each(|owned| owned.paths.retain(|path| !is_unowned(path)));
        self.0.retain(|_, owned| !owned.paths.is_empty());
    }

    /// Sets the time of an applier whose apply changed the object or what it owns.
    pub(super) fn stamp(&mut self, applier: &Manager, before: &Self, is_changed: bool, kind: &Kind, time: &str) {
        let previous = before.0.get(applier);
        let Some(owned) = self.0.get_mut(applier) else { return };
        owned.api_version = kind.api_version();
        if is_changed || previous.is_none_or(|previous| previous.paths != owned.paths) {
            owned.time = Some(time.to_owned());
        }
    }
}

/// 409 with one cause a field.
pub(super) fn conflict_error(conflicts: &[(Manager, Path)]) -> Status {
    let message = match conflicts {
        [(manager, path)] => {
            format!("Apply failed with 1 conflict: conflict with {}: {}", manager.shown(), paths::shown(path))
        }
        many => {
            let mut by_manager: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (manager, path) in many {
                by_manager.entry(manager.shown()).or_default().push(format!("- {}", paths::shown(path)));
            }
            let each: Vec<String> = by_manager
                .iter()
                .map(|(name, paths)| format!("conflicts with {name}:\n{}", paths.join("\n")))
                .collect();
            format!("Apply failed with {} conflicts: {}", many.len(), each.join("\n"))
        }
    };
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(manager, path)| {
            let message = format!("conflict with {}", manager.shown());
            json!({"reason": "FieldManagerConflict", "message": message, "field": paths::shown(path)})
        })
        .collect();
    let mut status = Status::new(409, "Conflict", message);
    status.details = json!({"causes": causes});
    status
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = json!({
        "manager": manager.name, "operation": manager.operation, "apiVersion": owned.api_version,
        "fieldsType": "FieldsV1", "fieldsV1": paths::to_json(&owned.paths),
    });
    if let Some(time) = &owned.time {
        entry["time"] = time.clone().into();
    }
    if !manager.subresource.is_empty() {
        entry["subresource"] = manager.subresource.clone().into();
    }
    entry
}
