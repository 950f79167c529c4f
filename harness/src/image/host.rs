//! Installed programs as content of images.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ImageError;
use super::layer::{EXECUTABLE, Entry, Layer, READABLE};

/// Where programs are looked for after `PATH`: an ordinary user's `PATH` has no `sbin`.
const MORE_DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds an installed program.
///
/// # Errors
/// [`ImageError::MissingProgram`] with the Debian package to install.
pub fn find(program: &str) -> Result<PathBuf, ImageError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| ImageError::MissingProgram { program: program.to_owned(), package: package_of(program) })
}

/// The Debian package that installs a program this project uses.
#[must_use]
pub fn package_of(program: &str) -> Option<&'static str> {
    match program {
        "redis-server" => Some("redis-server"),
        "redis-cli" => Some("redis-tools"),
        "busybox" => Some("busybox-static"),
        "ip" => Some("iproute2"),
        "nft" => Some("nftables"),
        "unshare" | "nsenter" => Some("util-linux"),
        "mount" | "umount" => Some("mount"),
        "ldd" => Some("libc-bin"),
        _ => None,
    }
}

/// The layer below others: busybox under all its names, and the few files that programs
/// expect to find.
///
/// # Errors
/// [`ImageError::MissingProgram`] where busybox-static is not installed,
/// [`ImageError::Libraries`] where the installed busybox needs libraries.
pub fn base_layer() -> Result<Layer, ImageError> {
    let busybox = find("busybox")?;
    if !libraries(&busybox)?.is_empty() {
        let reason = "it is not static; hint: apt-get install busybox-static".to_owned();
        return Err(ImageError::Libraries { program: busybox, reason });
    }
    let list = Command::new(&busybox).arg("--list").output().map_err(ImageError::io("run", &busybox))?;
    let mut layer = Layer::default();
    for applet in applets(&String::from_utf8_lossy(&list.stdout)) {
        layer.put(&format!("/bin/{applet}"), Entry::Link { to: "busybox".to_owned() })?;
    }
    layer.put("/bin/busybox", Entry::File { from: busybox, mode: EXECUTABLE })?;
    let text = |content: &str| Entry::Text { content: content.to_owned(), mode: READABLE };
    layer.put("/etc/passwd", text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))?;
    layer.put("/etc/group", text("root:x:0:\nnogroup:x:65534:\n"))?;
    layer.put("/root", Entry::Directory { mode: 0o700 })?;
    layer.put("/tmp", Entry::Directory { mode: 0o1777 })?;
    Ok(layer)
}

/// A layer of installed programs, each at the path where it is installed, with every
/// library they need and the loader that finds those.
///
/// # Errors
/// [`ImageError::MissingProgram`], [`ImageError::Libraries`].
pub fn programs_layer(programs: &[String]) -> Result<Layer, ImageError> {
    let mut layer = Layer::default();
    for program in programs {
        let path = find(program)?;
        let to = path.display().to_string();
        add_program(&mut layer, &path, &to)?;
    }
    Ok(layer)
}

/// Adds one program at a path of the image, with its libraries where it has any.
///
/// # Errors
/// [`ImageError::Libraries`].
pub fn add_program(layer: &mut Layer, from: &Path, to: &str) -> Result<(), ImageError> {
    for library in libraries(from)? {
        let at = library.display().to_string();
        layer.put(&at, Entry::File { from: library, mode: EXECUTABLE })?;
    }
    layer.put(to, Entry::File { from: from.to_owned(), mode: EXECUTABLE })
}

/// The libraries and the loader of a program, as the loader itself finds them. Empty for a
/// static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let ldd = find("ldd")?;
    let output = Command::new(&ldd).arg(program).env("LC_ALL", "C").output().map_err(ImageError::io("run", &ldd))?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    parse_ldd(&said, output.status.success())
        .map_err(|reason| ImageError::Libraries { program: program.to_owned(), reason })
}

fn parse_ldd(said: &str, succeeded: bool) -> Result<Vec<PathBuf>, String> {
    if said.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !succeeded {
        return Err(said.trim().to_owned());
    }
    let mut libraries = Vec::new();
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let found = line.split_once(" => ").map_or(line, |(_, found)| found);
        if found.starts_with("not found") {
            return Err(line.to_owned());
        }
        // The kernel's own object has no path: `linux-vdso.so.1 (0x…)`.
        if found.starts_with('/') {
            libraries.push(PathBuf::from(found.split(" (").next().unwrap_or(found)));
        }
    }
    Ok(libraries)
}

/// Names that busybox goes by, without itself.
fn applets(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|name| !name.is_empty() && *name != "busybox" && !name.contains('/'))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says() {
        let check = |said: &str, succeeded: bool, expect: Result<&[&str], &str>| {
            let expect = expect.map(|paths| paths.iter().map(PathBuf::from).collect()).map_err(str::to_owned);
            assert_eq!(parse_ldd(said, succeeded), expect, "{said}");
        };
        let redis = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                     \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        check(redis, true, Ok(&["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]));
        check("\tnot a dynamic executable\n", false, Ok(&[]));
        check("\tstatically linked\n", true, Ok(&[]));
        check("\tliblzf.so.1 => not found\n", true, Err("liblzf.so.1 => not found"));
        check("ldd: ./x: No such file or directory\n", false, Err("ldd: ./x: No such file or directory"));
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = ImageError::MissingProgram { program: "redis-cli".into(), package: package_of("redis-cli") };
        let expected = "find `redis-cli`: not installed; hint: apt-get install redis-tools";
        assert_eq!(error.to_string(), expected);
        let error = find("no-such-program-anywhere").unwrap_err();
        assert_eq!(error.to_string(), "find `no-such-program-anywhere`: not installed");
    }

    #[test]
    fn busybox_itself_is_no_applet() {
        assert_eq!(applets("[\nash\nbusybox\n\nsh\n").collect::<Vec<_>>(), ["[", "ash", "sh"]);
    }
}
