//! The programs of the system that a cluster needs.

use std::path::{Path, PathBuf};

use super::LaunchError;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Ip,
    Nft,
    Nsenter,
    Setpriv,
    Setsid,
    Unshare,
}

impl Tool {
    /// All of them, in the order in which `doctor` shows them.
    pub(crate) const ALL: [Self; 6] = [Self::Unshare, Self::Nsenter, Self::Setpriv, Self::Setsid, Self::Ip, Self::Nft];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Nft => "nft",
            Self::Nsenter => "nsenter",
            Self::Setpriv => "setpriv",
            Self::Setsid => "setsid",
            Self::Unshare => "unshare",
        }
    }

    /// The Debian package that has it.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Ip => "iproute2",
            Self::Nft => "nftables",
            Self::Nsenter | Self::Setpriv | Self::Setsid | Self::Unshare => "util-linux",
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// It is not installed; the hint names the package.
    pub(crate) fn path(self) -> Result<PathBuf, LaunchError> {
        // An ordinary user's PATH often lacks the directories of administration tools.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
        places.map(|place| place.join(self.name())).find(|file| is_program(file)).ok_or_else(|| {
            LaunchError::new(format!("find the program `{}`: it is not installed", self.name()))
                .hint(format!("apt-get install {}", self.package()))
        })
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// This program, for starting it again. A rebuild may replace the file while we run, and
/// then the kernel marks the old path.
pub(crate) fn program() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) => PathBuf::from(replaced),
        None => path,
    }
}
