//! Which scenarios: read from their directory, chosen by suite, name and filter.

use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use crate::scenario::file::{self, Diagnostic};
use crate::scenario::plan::Plan;

/// What is chosen. Everything given must agree with a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// A scenario (`redis-lost`) or a variant of one (`redis-lost/killed`); empty chooses all.
    pub names: Vec<String>,
    /// Suites, of which a plan belongs to one; empty chooses all.
    pub suites: Vec<String>,
    /// A part of the variant's id.
    pub filter: Option<String>,
}

/// Scenarios could not be read or chosen.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The directory or a file in it.
    #[error("read scenarios in `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Files that are not valid scenarios.
    #[error("{}", list(.0))]
    Invalid(Vec<Diagnostic>),
    /// Two files describe the same variant.
    #[error("read scenarios: `{id}` stands in `{first}` and in `{second}`")]
    Twice {
        /// The id.
        id: String,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A name that is in no file.
    #[error("find scenario `{name}`: there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        known: String,
    },
}

/// Every plan of every `*.yaml` file in a directory, by file name.
///
/// # Errors
/// [`SelectError`]; every invalid file is reported, not only the first.
pub fn load(directory: &Path, root: &Path) -> Result<Vec<Plan>, SelectError> {
    let failed = |source| SelectError::Io { path: directory.to_owned(), source };
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let mut files =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    load_files(&files, root)
}

/// Every plan of these files, in this order. Paths in reports are relative to `root`.
///
/// # Errors
/// As [`load`].
pub fn load_files(files: &[PathBuf], root: &Path) -> Result<Vec<Plan>, SelectError> {
    let (mut plans, mut wrong) = (Vec::<Plan>::new(), Vec::new());
    for read in read_all(files, root) {
        match read? {
            Ok(found) => plans.extend(found),
            Err(diagnostics) => wrong.extend(diagnostics),
        }
    }
    if !wrong.is_empty() {
        return Err(SelectError::Invalid(wrong));
    }
    for (index, plan) in plans.iter().enumerate() {
        if let Some(first) = plans[..index].iter().find(|other| other.id == plan.id) {
            let (first, second) = (first.file.clone(), plan.file.clone());
            return Err(SelectError::Twice { id: plan.id.to_string(), first, second });
        }
    }
    Ok(plans)
}

/// The plans of one file, or all that is wrong in it.
type Read = Result<Result<Vec<Plan>, Vec<Diagnostic>>, SelectError>;

/// Reads the files, in this order, on as many threads as there are processors.
fn read_all(files: &[PathBuf], root: &Path) -> Vec<Read> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|source| SelectError::Io { path: path.clone(), source })?;
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        Ok(file::plans(&name, &text))
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let part = |files: &'_ [PathBuf]| files.iter().map(read).collect::<Vec<Read>>();
        let parts = files.chunks(files.len().div_ceil(threads).max(1));
        let parts: Vec<_> = parts.map(|files| scope.spawn(move || part(files))).collect();
        // A panic of a thread is a bug, and goes on here.
        let joined = parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}

/// The plans that the choice means, in their order.
///
/// # Errors
/// [`SelectError::Unknown`] for a name that means none. A choice that is merely empty is not
/// an error here: the caller says so with an exit code of its own.
pub fn choose(plans: Vec<Plan>, choice: &Choice) -> Result<Vec<Plan>, SelectError> {
    let means = |plan: &Plan, name: &str| {
        let id = &plan.id.0;
        id == name || id.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
    };
    for name in &choice.names {
        if !plans.iter().any(|plan| means(plan, name)) {
            let known: Vec<_> = plans.iter().map(|plan| format!("`{}`", plan.id)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(SelectError::Unknown { name: name.clone(), known });
        }
    }
    let chosen = plans.into_iter().filter(|plan| {
        (choice.names.is_empty() || choice.names.iter().any(|name| means(plan, name)))
            && (choice.suites.is_empty() || choice.suites.iter().any(|suite| plan.suites.contains(suite)))
            && choice.filter.as_ref().is_none_or(|part| plan.id.0.contains(part.as_str()))
    });
    Ok(chosen.collect())
}

fn list(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
