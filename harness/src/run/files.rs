//! The reports of a run as files.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::journal::{self, JournalError};
use crate::report::timeline::{Timeline, Timelines};
use crate::report::{Report, html, json, junit, markdown};

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write report `{path}`")]
pub struct FilesError {
    /// Which file or directory.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reads from a run's journal what the HTML report draws.
///
/// # Errors
/// [`JournalError`].
pub fn timelines(journal: &Path) -> Result<Vec<Timeline>, JournalError> {
    let mut timelines = Timelines::default();
    journal::each(journal, |event| timelines.apply(&event))?;
    Ok(timelines.drawn())
}

/// Writes `report.json`, `report.md`, `junit.xml` and `report.html` into the directory, which is
/// made where it is missing. Each file is replaced in one step: a reader never sees half of one.
///
/// # Errors
/// [`FilesError`] with the file that could not be written; those before it are in place.
pub fn write(report: &Report, timelines: &[Timeline], directory: &Path) -> Result<(), FilesError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FilesError { path, source }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let files = [
        ("report.json", json(report)),
        ("report.md", markdown(report)),
        ("junit.xml", junit(report)),
        ("report.html", html(report, timelines)),
    ];
    for (name, text) in files {
        let path = directory.join(name);
        replace(directory, &path, &text).map_err(failed(&path))?;
    }
    Ok(())
}

fn replace(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    // Readable for others as far as the umask lets it be: a CI job collects these files.
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".report-").permissions(permissions).tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
