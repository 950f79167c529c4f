//! The reference as a file of the repository.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::ReferenceConfig;
use crate::reference::{Comparand, Reference};

/// A reference file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It cannot be read.
    #[error("read reference `{path}`")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no reference.
    #[error("read reference `{path}`: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// It cannot be written.
    #[error("write reference `{path}`")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads a reference; nothing where the file is not there.
///
/// # Errors
/// [`ReferenceError`].
pub fn read(path: &Path) -> Result<Option<Reference>, ReferenceError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReferenceError::Unreadable { path: path.to_owned(), source }),
    };
    let invalid = |reason| ReferenceError::Invalid { path: path.to_owned(), reason };
    Reference::parse(&text).map(Some).map_err(invalid)
}

/// What the gate compares with by itself; nothing where the file is not there.
///
/// # Errors
/// [`ReferenceError`].
pub fn comparand(config: &ReferenceConfig, root: &Path) -> Result<Option<Comparand>, ReferenceError> {
    let source = config.file.strip_prefix(root).unwrap_or(&config.file).display().to_string();
    let of = |reference| Comparand { source, reference, warn_above: config.warn_above };
    Ok(read(&config.file)?.map(of))
}

/// Takes newer recoveries into the file, in one step; those of other scenarios and grounds stay.
///
/// # Errors
/// [`ReferenceError`]; the file is then as it was.
pub fn renew(path: &Path, newer: Reference) -> Result<(), ReferenceError> {
    let mut reference = read(path)?.unwrap_or_default();
    reference.renew(newer);
    replace(path, &reference.text()).map_err(|source| ReferenceError::Unwritable { path: path.to_owned(), source })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    let permissions = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".reference-").permissions(permissions).tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
