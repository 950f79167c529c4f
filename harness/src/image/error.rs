//! What can go wrong while an image is made.

use std::path::{Path, PathBuf};

/// An image cannot be made or stored.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program that goes into an image is not installed.
    #[error("find `{program}`: not installed{}", install_hint(*package))]
    MissingProgram {
        /// The program.
        program: String,
        /// The Debian package that has it, where known.
        package: Option<&'static str>,
    },
    /// A program's libraries cannot be told.
    #[error("find the libraries of `{}`: {reason}", program.display())]
    Libraries {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// Two inputs want different things at one path of an image.
    #[error("lay out `/{path}` in an image: it is wanted twice, with different content")]
    Clash {
        /// The path, without its leading slash.
        path: String,
    },
    /// Another process is writing to the same layout.
    #[error("lock `{}`: another process held it for {seconds} s", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// A layout on disk says something that cannot be.
    #[error("read `{}`: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("{action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said. It stands in the text.
        source: std::io::Error,
    },
}

impl ImageError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

fn install_hint(package: Option<&str>) -> String {
    package.map_or_else(String::new, |package| format!("; hint: apt-get install {package}"))
}
