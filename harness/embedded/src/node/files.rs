//! File trees that change under the eyes of running containers, and what the file system
//! below them can carry.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};

pub(super) use crate::launch::remove_tree;

/// Whether an overlay can have its upper directory here, found by trying. Where the state
/// directory itself is on an overlay (inside a container) it cannot.
#[must_use]
pub(super) fn carries_overlay(dir: &Path) -> bool {
    let place = dir.join("overlay-check");
    let tried = (|| -> io::Result<()> {
        for part in ["lower", "upper", "work", "root"] {
            fs::create_dir_all(place.join(part))?;
        }
        let at = place.display();
        let options = CString::new(format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work,userxattr"))?;
        let root = place.join("root");
        rustix::mount::mount("overlay", &root, "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
        let written = fs::write(root.join("file"), "x");
        rustix::mount::unmount(&root, UnmountFlags::DETACH)?;
        written
    })();
    remove_tree(&place);
    tried.is_ok()
}

/// Files by relative path, each with its permissions.
pub(super) type Payload = BTreeMap<String, (Vec<u8>, u32)>;

/// Makes `dir` show exactly this payload, all of it at once: files stand in a directory of
/// their own that `..data` links to, as the kubelet does it. Returns whether it changed.
///
/// # Errors
/// What writing returned; the old content then stays.
pub(super) fn show(dir: &Path, payload: &Payload, stamp: &str) -> io::Result<bool> {
    let data = dir.join("..data");
    let old = fs::read_link(&data).ok();
    if old.is_some() && read(&data)? == *payload {
        return Ok(false);
    }
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    let name = format!("..{stamp}");
    let fresh = dir.join(&name);
    fs::create_dir(&fresh)?;
    for (path, (content, mode)) in payload {
        let file = fresh.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode))?;
    }
    let next = dir.join("..data_tmp");
    let _ = fs::remove_file(&next);
    symlink(&name, &next)?;
    fs::rename(&next, &data)?;
    link_entries(dir, payload)?;
    if let Some(old) = old {
        remove_tree(&dir.join(old));
    }
    Ok(true)
}

fn link_entries(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: Vec<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        if !dir.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), dir.join(name))?;
        }
    }
    Ok(())
}

fn read(data: &Path) -> io::Result<Payload> {
    let mut payload = Payload::new();
    let mut rest = vec![data.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                rest.push(path);
                continue;
            }
            let mode = path.metadata()?.permissions().mode() & 0o777;
            let relative = path.strip_prefix(data).unwrap_or(&path).to_string_lossy().into_owned();
            payload.insert(relative, (fs::read(&path)?, mode));
        }
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(rows: &[(&str, &str, u32)]) -> Payload {
        rows.iter().map(|(path, text, mode)| ((*path).to_owned(), (text.as_bytes().to_vec(), *mode))).collect()
    }

    #[test]
    fn content_changes_as_a_whole_and_keeps_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let first = payload(&[("a.txt", "one", 0o644), ("b/c", "x", 0o600)]);
        assert!(show(dir.path(), &first, "1").unwrap());
        assert!(!show(dir.path(), &first, "2").unwrap(), "the same content is not written again");
        assert_eq!(fs::read_link(dir.path().join("..data")).unwrap(), Path::new("..1"));
        assert_eq!(fs::read_link(dir.path().join("b")).unwrap(), Path::new("..data/b"));
        assert_eq!(read(&dir.path().join("..data")).unwrap(), first);

        let second = payload(&[("a.txt", "two", 0o644)]);
        assert!(show(dir.path(), &second, "3").unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a.txt")).unwrap(), "two");
        let mut names: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["..3", "..data", "a.txt"]);
    }
}
