//! Starting and ending clusters, and what is left of them: nothing.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without, it fails without")]

#[expect(unreachable_pub, reason = "shared with the tests of the node agent")]
#[path = "../node/support.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use embedded_cluster::launch::{self, LaunchError, Lifetime, Options, Running};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Cluster, DEADLINE};

fn options(name: &str, images: &Path) -> Options {
    let (name, images) = (name.to_owned(), images.to_owned());
    Options { program: support::program(), name, images, port: None, seed: 1, lifetime: Lifetime::UntilStopped }
}

fn start(options: &Options) -> Result<Running, LaunchError> {
    let images = support::images();
    launch::start(&Options { images: images.path().to_owned(), ..options.clone() })
}

/// Stops a cluster also where its test fails.
struct StopAtEnd<'a>(&'a str);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        let _ = launch::stop(self.0);
    }
}

/// Every living process of the session that the cluster's outer process leads, itself included.
fn processes(session: u32) -> BTreeSet<i32> {
    let living = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, session_of) = (fields.next()?, fields.nth(2)?);
        (state != "Z" && session_of == session.to_string()).then_some(pid)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| living(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Waits until nothing of a cluster is left but what `stop` would remove.
fn assert_nothing_left(running: &Running) {
    let began = Instant::now();
    while !processes(running.pid).is_empty() {
        assert!(began.elapsed() < DEADLINE, "left: {:?}", processes(running.pid));
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let dir = running.kubeconfig.parent().unwrap().to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir), "{mounts}");
    for link in fs::read_dir("/sys/class/net").unwrap() {
        let name = link.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with("pod"), "{name} is left");
    }
    assert_eq!(launch::find(&running.name), None);
}

#[test]
fn a_cluster_is_found_listed_and_stopped() {
    let options = options(&support::name(), Path::new(""));
    let _stop = StopAtEnd(&options.name);
    assert_eq!(launch::find(&options.name), None);
    let running = start(&options).unwrap();
    assert_eq!(launch::find(&options.name), Some(running.clone()));
    assert_eq!(running.kubeconfig.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let dir = running.kubeconfig.parent().unwrap();
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let text = fs::read_to_string(&running.kubeconfig).unwrap();
    assert!(text.contains(&format!("\"current-context\": \"gameday-{}\"", options.name)), "the context has its name");
    assert!(text.contains(&running.server), "the server is the one that was told");

    assert_eq!(launch::stop(&options.name), Ok(true));
    assert!(!dir.exists());
    assert_nothing_left(&running);
    assert_eq!(launch::stop(&options.name), Ok(false));
}

#[test]
fn what_stands_in_the_way_is_named() {
    let first = options(&support::name(), Path::new(""));
    let _stop = StopAtEnd(&first.name);
    let running = start(&first).unwrap();
    let port: u16 = running.server.rsplit(':').next().unwrap().parse().unwrap();
    let failed = |options: &Options| start(options).unwrap_err();
    let error = failed(&first);
    assert_eq!(error.message, format!("start cluster `{}`: it runs already", first.name));
    let other = Options { port: Some(port), ..options(&support::name(), Path::new("")) };
    let _stop_other = StopAtEnd(&other.name);
    let error = failed(&other);
    assert!(error.message.starts_with(&format!("listen on port {port} of 127.0.0.1: ")), "{error}");
    assert!(error.hint.is_some());
    for name in ["", "UPPER", "a/b", "..", "-x"] {
        let error = failed(&options(name, Path::new("")));
        assert_eq!(error.message, format!("use `{name}` as the name of a cluster"));
    }
    let error = failed(&Options { program: PathBuf::from("/nonexistent"), ..options(&support::name(), Path::new("")) });
    assert!(error.message.contains("/nonexistent"), "{error}");
    assert_eq!(launch::stop(&first.name), Ok(true));
    // What failed left no cluster, and no other start's way is blocked.
    assert_eq!(launch::find(&other.name), None);
    start(&other).unwrap();
    assert_eq!(launch::stop(&other.name), Ok(true));
}

#[test]
fn this_machine_can_run_a_cluster() {
    for finding in launch::preflight() {
        assert!(finding.ok, "{finding:?}");
        assert_eq!(finding.hint, None);
    }
}

// The random moments differ from run to run; the seed is in the message.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_by_any_signal_it_leaves_nothing() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let images = support::images();
    for round in 0..12 {
        let options = options(&support::name(), images.path());
        let _stop = StopAtEnd(&options.name);
        let running = launch::start(&options).unwrap();
        let client = support::client(&running.kubeconfig).await;
        let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::namespaced(client, "default");
        for name in ["a", "b"] {
            let container =
                json!({"name": "c", "image": support::IMAGE, "command": ["/bin/sh", "-c", "sleep 1000 & sleep 1000"]});
            let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}});
            pods.create(&kube::api::PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        }
        // From before the sandboxes until well after the containers have started.
        tokio::time::sleep(Duration::from_millis(random.u64(0..400))).await;
        let chain: Vec<i32> = processes(running.pid).into_iter().take(4).collect();
        let outermost = i32::try_from(running.pid).unwrap();
        let (pid, signal) = match round % 4 {
            0 => (outermost, Signal::KILL),
            1 => (outermost, Signal::TERM),
            2 => (outermost, Signal::INT),
            // Any of the processes between us and the pods.
            _ => (chain[random.usize(..chain.len())], Signal::KILL),
        };
        println!("seed {seed}, round {round}: {signal:?} to process {pid} of {chain:?}");
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        let check = running.clone();
        tokio::task::spawn_blocking(move || assert_nothing_left(&check)).await.unwrap();
        // The same name starts again, whatever the last one left.
        let again = launch::start(&options).unwrap();
        assert_eq!(launch::stop(&options.name), Ok(true));
        assert_nothing_left(&again);
    }
}

/// This test program again, to run one of its ignored tests as a process of its own.
fn child_test(name: &str, cluster: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env("TEST_CLUSTER", cluster);
    command
}

#[test]
fn a_cluster_ends_with_its_caller() {
    let name = support::name();
    let _stop = StopAtEnd(&name);
    let mut caller = child_test("child_that_holds_a_cluster", &name);
    let mut caller = caller.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let running = loop {
        if let Some(running) = launch::find(&name) {
            break running;
        }
        assert!(began.elapsed() < DEADLINE, "the caller started no cluster");
        std::thread::park_timeout(Duration::from_millis(10));
    };
    caller.kill().unwrap();
    caller.wait().unwrap();
    assert_nothing_left(&running);
    assert_eq!(launch::stop(&name), Ok(false));
}

#[test]
#[ignore = "needs a parent that kills it: run by `a_cluster_ends_with_its_caller`"]
fn child_that_holds_a_cluster() {
    let name = std::env::var("TEST_CLUSTER").unwrap();
    start(&Options { lifetime: Lifetime::Caller, ..options(&name, Path::new("")) }).unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn an_ordinary_user_can_run_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    // What the user needs, where the user can read it.
    let copy = |from: &Path, name: &str| {
        let to = dir.path().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let test = copy(&std::env::current_exe().unwrap(), "test");
    let program = copy(&support::program(), "program");
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    for path in [dir.path(), home.as_path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]).arg(test);
        command
    } else {
        Command::new(test)
    };
    command.args(["--exact", "child_that_runs_a_pod", "--ignored", "--nocapture"]);
    command.env("HOME", &home).env("TMPDIR", &home).env("TEST_PROGRAM", program);
    command.env_remove("XDG_STATE_HOME").env_remove("XDG_CACHE_HOME").current_dir(&home);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "needs to be an ordinary user: run by `an_ordinary_user_can_run_a_cluster`"]
async fn child_that_runs_a_pod() {
    assert!(!rustix::process::geteuid().is_root());
    let cluster = Cluster::start().await;
    for (name, user) in [("root", 0), ("redis", 999)] {
        let extra = json!({"securityContext": {"runAsUser": user}, "volumes": [{"name": "v", "emptyDir": {}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        cluster.pod(name, "touch /v/x; httpd -f -p 80 -h /v", extra).await;
        let pod = cluster.ready(name).await;
        let address = pod["status"]["podIP"].as_str().unwrap();
        let seen = cluster.exec(name, &format!("id -u; wget -q -O - http://{address}/x && ls /v")).await;
        assert_eq!(seen, format!("{user}\nx\n"));
    }
}
