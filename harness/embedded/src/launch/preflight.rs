//! What a machine must have before a cluster can start.

use std::path::Path;
use std::process::Command;

use super::Tool;

/// How to allow namespaces where they are refused.
pub(super) const NAMESPACES_HINT: &str = "allow user namespaces: `sysctl -w kernel.unprivileged_userns_clone=1` \
(Debian), `sysctl -w user.max_user_namespaces=10000`, `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu 24.04), or for a container \
`--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`";

/// Free space below which a cluster is likely to fail, in bytes.
const DISK_BYTES_MIN: u64 = 1 << 30;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What: a program, a kernel feature, a resource.
    pub name: String,
    /// Whether a cluster can start as far as this is concerned.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do where it is not ok.
    pub hint: Option<String>,
}

/// Checks everything a cluster needs, by trying it where that is possible. Takes a fraction
/// of a second and changes nothing.
#[must_use]
pub fn preflight() -> Vec<Finding> {
    let mut findings: Vec<Finding> = Tool::ALL.into_iter().map(program).collect();
    let namespaces = in_namespaces("namespaces", "ip link set lo up && echo allowed", NAMESPACES_HINT);
    let allowed = namespaces.ok;
    findings.push(namespaces);
    if allowed {
        findings.push(in_namespaces(
            "overlayfs",
            "d=$(mktemp -d) && mount -t tmpfs none $d && cd $d && mkdir l u w m && \
             mount -t overlay none -o lowerdir=l,upperdir=u,workdir=w,userxattr m && cd / && umount -l $d && \
             rmdir $d && echo mounted",
            "load the module `overlay`; a kernel of 5.11 or newer is needed",
        ));
        findings.push(in_namespaces(
            "nftables",
            "nft 'add table ip t; add chain ip t c { type nat hook output priority -100; }; \
             add rule ip t c ip daddr 10.96.0.1 dnat to numgen random mod 1 map { 0 : 10.244.0.1 }' && echo accepted",
            "load the modules `nf_tables` and `nft_chain_nat`",
        ));
    }
    findings.push(disk());
    findings
}

fn program(tool: Tool) -> Finding {
    let name = format!("program `{}`", tool.name());
    match tool.path() {
        Ok(path) => Finding { name, ok: true, detail: path.display().to_string(), hint: None },
        Err(error) => Finding { name, ok: false, detail: "not installed".to_owned(), hint: error.hint },
    }
}

/// Runs a line of shell in the namespaces that a cluster uses.
fn in_namespaces(name: &str, script: &str, hint: &str) -> Finding {
    let not_ok = |detail: String| Finding { name: name.to_owned(), ok: false, detail, hint: Some(hint.to_owned()) };
    let unshare = match Tool::Unshare.path() {
        Ok(path) => path,
        Err(error) => return not_ok(error.to_string()),
    };
    let output = Command::new(unshare)
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--uts", "--ipc"])
        .args(["--fork", "--kill-child=SIGKILL", "--mount-proc", "sh", "-c"])
        .arg(format!("PATH=$PATH:/usr/sbin:/sbin; {script}"))
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let detail = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Finding { name: name.to_owned(), ok: true, detail, hint: None }
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            not_ok(text.lines().next().unwrap_or("refused without a message").to_owned())
        }
        Err(error) => not_ok(error.to_string()),
    }
}

fn disk() -> Finding {
    let name = "disk space".to_owned();
    let home = std::env::var("XDG_STATE_HOME").or_else(|_| std::env::var("HOME")).unwrap_or_else(|_| "/".to_owned());
    // What does not exist yet will be made on the file system of its parent.
    let parents = Path::new(&home).ancestors().map(|place| (place, rustix::fs::statvfs(place)));
    let mut known = parents.filter(|(_, space)| !matches!(space, Err(rustix::io::Errno::NOENT)));
    match known.next() {
        Some((_, Ok(space))) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let ok = free >= DISK_BYTES_MIN;
            let detail = format!("{} MiB free for {home}", free >> 20);
            let hint = (!ok).then(|| "free at least 1 GiB, or set XDG_STATE_HOME and XDG_CACHE_HOME".to_owned());
            Finding { name, ok, detail, hint }
        }
        Some((place, Err(error))) => {
            Finding { name, ok: false, detail: format!("{}: {error}", place.display()), hint: None }
        }
        None => {
            let hint = Some("set XDG_STATE_HOME to an absolute path".to_owned());
            Finding { name, ok: false, detail: format!("{home} is no path of this machine"), hint }
        }
    }
}
