//! Manifests: read, overlaid by a profile, given the digests of a release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_saphyr::Spanned;

use super::BuiltRelease;
use crate::config::Config;
use crate::scenario::plan::{WorkloadKind, WorkloadRef};

mod lane;
pub mod overlay;

/// The profile that leaves the manifests alone.
pub const AS_DEPLOYED: &str = "as-deployed";

/// One object, and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The object.
    pub value: Value,
    /// Its file.
    pub file: String,
    /// Its first line, from 1.
    pub line: u64,
}

/// The manifests of the system under one profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifests {
    /// The objects, in the order of the files.
    pub objects: Vec<Manifest>,
    /// What the profile changed, one line a change.
    pub profile_changes: Vec<String>,
}

/// Manifests cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A file or directory cannot be read.
    #[error("read manifests `{path}`: {reason}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file says something that cannot be.
    #[error("{file}:{line}:{column}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong there.
        message: String,
    },
    /// `gate.toml` has no such profile.
    #[error("find profile `{name}`: gate.toml has {known}")]
    UnknownProfile {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Manifest {
    /// `deployment/backend`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind().to_lowercase(), self.name())
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// Its API version.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The workload it is, if it is one whose rollout can be followed.
    #[must_use]
    pub fn workload(&self) -> Option<WorkloadRef> {
        let kind = match self.kind() {
            "Deployment" => WorkloadKind::Deployment,
            "StatefulSet" => WorkloadKind::StatefulSet,
            _ => return None,
        };
        Some(WorkloadRef { kind, name: self.name().to_owned() })
    }

    /// Repositories of the images it runs.
    #[must_use]
    pub fn repositories(&self) -> Vec<&str> {
        let mut found = Vec::new();
        collect_repositories(&self.value, &mut found);
        found
    }

    fn invalid(&self, message: String) -> ManifestError {
        ManifestError::Invalid { file: self.file.clone(), line: self.line, column: 1, message }
    }
}

/// Reads the system's manifests and lays the profile's overlay over them. Contacts nothing.
///
/// # Errors
/// [`ManifestError`], with file, line and column.
pub fn load(config: &Config, profile: &str) -> Result<Manifests, ManifestError> {
    let mut objects = read_directory(&config.system.manifests)?;
    let mut profile_changes = Vec::new();
    if profile != AS_DEPLOYED {
        let known = || {
            let names: Vec<_> = config.profiles.keys().map(|name| format!("`{name}`")).collect();
            format!("{} and `{AS_DEPLOYED}`", names.join(", "))
        };
        let found = config.profiles.get(profile);
        let found = found.ok_or_else(|| ManifestError::UnknownProfile { name: profile.to_owned(), known: known() })?;
        profile_changes = lay_over(&mut objects, &found.overlay)?;
    }
    Ok(Manifests { objects, profile_changes })
}

/// Lays the partial manifests of a file over those that are there; one line a change.
fn lay_over(objects: &mut [Manifest], file: &Path) -> Result<Vec<String>, ManifestError> {
    let mut all = Vec::new();
    for part in read_file(file)? {
        let (kind, name) = (part.kind().to_owned(), part.name().to_owned());
        let target = objects.iter_mut().find(|object| object.kind() == kind && object.name() == name);
        let target =
            target.ok_or_else(|| part.invalid(format!("this overlays {}, which no manifest has", part.title())))?;
        let title = target.title();
        let changes = overlay::merge(&mut target.value, &part.value);
        all.extend(changes.into_iter().map(|change| format!("{title} {change}")));
    }
    Ok(all)
}

impl Manifests {
    /// Puts the digests of a release in the place of image repositories.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`] where `gate.toml` has no such image.
    pub fn with_images(mut self, release: &BuiltRelease) -> Result<Self, ManifestError> {
        let images = release.pinned();
        for object in &mut self.objects {
            let mut unknown = None;
            replace_images(&mut object.value, &images, &mut unknown);
            if let Some(repository) = unknown {
                let known = images.keys().copied().collect::<Vec<_>>().join(", ");
                return Err(object.invalid(format!(
                    "{} runs image `{repository}`, and gate.toml builds none of that name; it builds {known}",
                    object.title()
                )));
            }
        }
        Ok(self)
    }

    /// Lays the overlay of a release's bad build over them, where it has one.
    ///
    /// # Errors
    /// [`ManifestError`], with file, line and column.
    pub fn spoiled(mut self, config: &Config, release: &BuiltRelease) -> Result<Self, ManifestError> {
        let build = release.variant.flaw.as_ref().and_then(|flaw| config.builds.get(flaw));
        if let Some(overlay) = build.and_then(|build| build.overlay.as_ref()) {
            lay_over(&mut self.objects, overlay)?;
        }
        Ok(self)
    }
}

/// Every `image` of every container in an object, however deep its pod template lies.
fn replace_images(value: &mut Value, images: &BTreeMap<&str, String>, unknown: &mut Option<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("containers" | "initContainers", Value::Array(containers)) => {
                        for container in containers {
                            replace_image(container, images, unknown);
                        }
                    }
                    (_, field) => replace_images(field, images, unknown),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_images(item, images, unknown)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn collect_repositories<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("containers" | "initContainers", Value::Array(containers)) => {
                        let images = containers.iter().filter_map(|container| container["image"].as_str());
                        found.extend(images.map(repository_of));
                    }
                    (_, field) => collect_repositories(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_repositories(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn replace_image(container: &mut Value, images: &BTreeMap<&str, String>, unknown: &mut Option<String>) {
    let Some(image) = container.get_mut("image") else { return };
    let Some(repository) = image.as_str().map(repository_of) else { return };
    match images.get(repository) {
        Some(pinned) => *image = Value::String(pinned.clone()),
        None => *unknown = Some(repository.to_owned()),
    }
}

/// `repository` of `repository`, `repository:tag` and `repository:tag@sha256:…`.
fn repository_of(image: &str) -> &str {
    let named = image.split('@').next().unwrap_or(image);
    match named.rsplit_once(':') {
        // A colon before the last slash belongs to a registry's port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => named,
    }
}

fn read_directory(directory: &Path) -> Result<Vec<Manifest>, ManifestError> {
    let unreadable = |error: &dyn std::fmt::Display| ManifestError::Unreadable {
        path: directory.display().to_string(),
        reason: error.to_string(),
    };
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(&error))?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(|error| unreadable(&error))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        objects.extend(read_file(&file)?);
    }
    check_unique(&objects)?;
    if objects.is_empty() { Err(unreadable(&"it holds no objects")) } else { Ok(objects) }
}

fn read_file(file: &Path) -> Result<Vec<Manifest>, ManifestError> {
    let path = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| ManifestError::Unreadable { path: path.clone(), reason: error.to_string() })?;
    parse(&text, &path)
}

fn parse(text: &str, file: &str) -> Result<Vec<Manifest>, ManifestError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Spanned<Value>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| ManifestError::Invalid {
            file: file.to_owned(),
            line: error.location().map_or(1, |place| place.line()),
            column: error.location().map_or(1, |place| place.column()),
            message: without_place(&error.to_string()),
        })?;
    let manifests = documents.into_iter().map(|document| Manifest {
        line: document.referenced.line(),
        value: document.value,
        file: file.to_owned(),
    });
    manifests.map(checked).collect()
}

/// The place stands in front of the message already, and the parser's options are not the reader's.
fn without_place(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let first = first.split(" at line ").next().unwrap_or(first);
    first.split(", set DuplicateKeyPolicy").next().unwrap_or(first).to_owned()
}

fn checked(manifest: Manifest) -> Result<Manifest, ManifestError> {
    let missing =
        [("apiVersion", manifest.api_version()), ("kind", manifest.kind()), ("metadata.name", manifest.name())]
            .into_iter()
            .find_map(|(field, value)| value.is_empty().then_some(field));
    match missing {
        Some(field) => Err(manifest.invalid(format!("no object: it has no `{field}`"))),
        None => Ok(manifest),
    }
}

fn check_unique(objects: &[Manifest]) -> Result<(), ManifestError> {
    let mut seen = BTreeMap::new();
    for object in objects {
        if let Some(first) = seen.insert(object.title(), object) {
            let message = format!("{} stands already at {}:{}", object.title(), first.file, first.line);
            return Err(object.invalid(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_found_in_every_form_of_reference() {
        for (image, expect) in [
            ("redis", "redis"),
            ("redis:7", "redis"),
            ("redis:7@sha256:00", "redis"),
            ("redis@sha256:00", "redis"),
            ("localhost:5001/demo/web", "localhost:5001/demo/web"),
            ("localhost:5001/demo/web:v1", "localhost:5001/demo/web"),
        ] {
            assert_eq!(repository_of(image), expect);
        }
    }

    #[test]
    fn wrong_manifests_are_said_with_their_place() {
        let check = |text: &str, expect: &str| {
            assert_eq!(parse(text, "a.yaml").expect_err(text).to_string(), expect, "{text}");
        };
        let good = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";
        check(&format!("{good}---\nkind: ConfigMap\n"), "a.yaml:6:1: no object: it has no `apiVersion`");
        check("apiVersion: v1\nkind: ConfigMap\n", "a.yaml:1:1: no object: it has no `metadata.name`");
        check(&format!("{good}  name: b\n"), "a.yaml:5:3: duplicate mapping key: name");
        assert!(parse("a: [1\n", "a.yaml").unwrap_err().to_string().starts_with("a.yaml:"));
        let documents = parse(&format!("# comment\n---\n{good}---\n---\n{good}"), "a.yaml").unwrap();
        assert_eq!(documents.iter().map(|document| document.line).collect::<Vec<_>>(), [3, 9]);
    }

    #[test]
    fn no_object_may_stand_twice() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        let error = check_unique(&parse(text, "a.yaml").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "a.yaml:5:1: configmap/a stands already at a.yaml:1");
    }
}
