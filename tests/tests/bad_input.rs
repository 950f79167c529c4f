//! Bad input and bad machines: one clear error, the place, the next step, the right exit
//! code, and nothing left behind.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gameday_tests::{Ended, Place, eventually, program, project};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

/// What a bad row must end with.
struct Expected<'a> {
    code: i32,
    /// Parts of the line that starts with `error:`.
    error: &'a [&'a str],
    /// A part of the line that starts with `hint:`.
    hint: &'a str,
}

/// Asserts that a command ended as it should, with one error and one hint.
#[track_caller]
fn ended_badly(what: &str, ended: &Ended, expected: &Expected<'_>) {
    let Ended { code, stderr, .. } = ended;
    assert_eq!(*code, expected.code, "{what}: {ended:#?}");
    let errors: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    let hints: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix(" hint: ")).collect();
    let ([error], [hint]) = (&errors[..], &hints[..]) else { panic!("{what}: one error and one hint, not\n{stderr}") };
    for part in expected.error {
        assert!(error.contains(part), "{what}: no `{part}` in\n{error}");
    }
    assert!(hint.contains(expected.hint), "{what}: no `{}` in\n{hint}", expected.hint);
}

/// Asserts that no file, run or process of this place is left.
#[track_caller]
fn left_nothing(what: &str, place: &Place) {
    let files = files_under(place.path());
    let left: Vec<_> = files.iter().filter(|file| file.starts_with("state") || file.starts_with("runs")).collect();
    assert!(left.is_empty(), "{what} left {left:?}");
    // Who told of a failure may still be on its way out.
    eventually(Duration::from_secs(5), || match &processes_of(place)[..] {
        [] => Ok(()),
        running => Err(format!("{what} left running: {running:?}")),
    });
}

/// Files, not directories, relative to the root.
fn files_under(root: &Path) -> Vec<PathBuf> {
    let (mut open, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => files.push(entry.path().strip_prefix(root).unwrap().to_owned()),
            }
        }
    }
    files
}

/// Command lines of processes that were started with this place's directories.
fn processes_of(place: &Place) -> Vec<String> {
    let mine = place.path().to_str().unwrap().as_bytes();
    let of = |pid: PathBuf| {
        let environment = std::fs::read(pid.join("environ")).ok()?;
        environment.windows(mine.len()).any(|part| part == mine).then(|| std::fs::read_to_string(pid.join("cmdline")))
    };
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    entries.filter_map(of).filter_map(Result::ok).filter(|line| !line.is_empty()).collect()
}

/// A file of the project with one change.
fn changed(file: &str, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(project().join(file)).unwrap();
    assert!(text.contains(from), "{file} has no `{from}` to change");
    text.replacen(from, to, 1)
}

/// A small project in this place: `gate.toml`, scenarios and, where wanted, manifests.
fn small_project(place: &Place, manifests: bool) -> PathBuf {
    let root = place.path().join("project");
    let mut wanted = vec!["gate.toml", "scenarios/redis-lost.yaml", "kind-config/profiles/rehearsal.yaml"];
    if manifests {
        wanted.push("kind-config/manifests/20-redis.yaml");
    }
    for file in wanted {
        let to = root.join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(project().join(file), to).unwrap();
    }
    root
}

#[test]
fn scenario_files_are_told_by_line_and_column() {
    const SCENARIO: &str = "scenarios/redis-lost.yaml";
    let rows = [
        ("wrong YAML", "name: redis-lost", "name: [redis-lost", &["bad.yaml:8:"][..]),
        (
            "an unknown key",
            "service: backend",
            "servise: backend",
            &["bad.yaml:20:1", "unknown field `servise`", "service"],
        ),
        ("a budget of nothing", "max: 60s", "max: 0s", &["bad.yaml:50:12", "above zero"]),
        ("a budget of words", "max: 60s", "max: soon", &["bad.yaml:50:12", "invalid duration `soon`", "`60s`"]),
        ("a budget without a source", "source: \"", "sauce: \"", &["bad.yaml:52", "unknown field `sauce`"]),
        (
            "an unknown fault",
            "pod-signal:",
            "pod-burn:",
            &["bad.yaml:45:7", "unknown variant `pod-burn`", "pod-delete"],
        ),
        ("an unknown signal", "signal: SIGKILL", "signal: SIGBOO", &["bad.yaml:45", "SIGBOO"]),
        ("an unknown check in a proof", "check-failed: redis-ping", "check-failed: pong", &["bad.yaml:47:7", "`pong`"]),
    ];
    for (what, from, to, error) in rows {
        let place = Place::new();
        let directory = place.path().join("scenarios");
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("bad.yaml");
        std::fs::write(&file, changed(SCENARIO, from, to)).unwrap();
        let (file, directory) = (file.to_str().unwrap(), directory.to_str().unwrap());
        for command in
            [vec!["lint", file], vec!["gate", "--scenarios", directory], vec!["run", "--scenarios", directory]]
        {
            let ended = place.run(&command);
            ended_badly(what, &ended, &Expected { code: 2, error, hint: "cargo xtask schema" });
            left_nothing(what, &place);
        }
    }
}

#[test]
fn names_that_mean_nothing_are_told_with_what_there_is() {
    let rows: [(&[&str], Expected<'_>); 14] = [
        (
            &["gate", "redis-found"],
            Expected { code: 2, error: &["`redis-found`", "`redis-lost/killed`"], hint: "xtask list" },
        ),
        (&["plan", "redis-found"], Expected { code: 2, error: &["`redis-found`"], hint: "xtask list" }),
        (&["gate", "--filter", "zzz"], Expected { code: 4, error: &["no scenario is chosen"], hint: "xtask list" }),
        (&["run", "--suite", "none"], Expected { code: 4, error: &["no scenario is chosen"], hint: "xtask list" }),
        (
            &["lint", "no/such.yaml"],
            Expected { code: 2, error: &["`no/such.yaml`", "No such file"], hint: "scenarios" },
        ),
        (
            &["gate", "--scenarios", "no/such"],
            Expected { code: 2, error: &["`no/such`", "No such file"], hint: "--scenarios" },
        ),
        (&["gate", "--build", "none"], Expected { code: 2, error: &["`none`", "never-reconnects"], hint: "--build" }),
        (&["build", "--build", "none"], Expected { code: 2, error: &["`none`", "never-reconnects"], hint: "--build" }),
        (&["gate", "--profile", "none"], Expected { code: 2, error: &["`none`", "`rehearsal`"], hint: "--profile" }),
        (&["deploy", "--profile", "none"], Expected { code: 2, error: &["`none`", "`rehearsal`"], hint: "--profile" }),
        (
            &["report", "19700101-000000"],
            Expected { code: 2, error: &["`19700101-000000`", "journal.ndjson"], hint: "run id" },
        ),
        (
            &["gate", "--lanes", "2", "--context", "staging"],
            Expected {
                code: 2,
                error: &["2 lanes", "`staging`", "clusters that this program made"],
                hint: "--lanes 1",
            },
        ),
        (
            &["run", "redis-lost", "--lanes", "2"],
            Expected { code: 2, error: &["2 lanes", "without a release"], hint: "--lanes 1" },
        ),
        (
            &["gate", "--config", "no.toml"],
            Expected { code: 2, error: &["`no.toml`", "No such file"], hint: "--config" },
        ),
    ];
    for (command, expected) in rows {
        let (place, what) = (Place::new(), command.join(" "));
        ended_badly(&what, &place.run(command), &expected);
        left_nothing(&what, &place);
    }
}

#[test]
fn gate_toml_is_told_by_line_and_column() {
    let rows = [
        ("version = \"v3.3.1\"", "version = 3", &["gate.toml:10:11", "expected a string"][..]),
        ("namespace =", "namespase =", &["gate.toml:5:1", "unknown field `namespase`", "`namespace`"]),
        ("[system]", "[system", &["gate.toml:3:"]),
        ("pull-grace = \"30s\"", "pull-grace = \"soon\"", &["gate.toml:", "soon"]),
        ("cargo = { package", "cargoo = { package", &["gate.toml:", "cargoo"]),
        ("\nquick = true", "\nquick = 1", &["gate.toml:", "expected a boolean"]),
    ];
    for (from, to, error) in rows {
        let place = Place::new();
        let file = place.path().join("gate.toml");
        std::fs::write(&file, changed("gate.toml", from, to)).unwrap();
        for command in ["list", "gate", "build"] {
            let ended = place.run([command, "--config", file.to_str().unwrap()]);
            ended_badly(to, &ended, &Expected { code: 2, error, hint: "correct it" });
        }
        left_nothing(to, &place);
    }
}

#[test]
fn manifests_are_told_by_file_line_and_column() {
    let rows = [
        ("missing", None, "manifests", "No such file", "gate.toml says where they are"),
        ("no YAML", Some("a: [b\n"), "20-redis.yaml:1:", "unclosed bracket", "correct it"),
        ("no object", Some("kind: Deployment\n"), "20-redis.yaml:1:1", "it has no `apiVersion`", "correct it"),
    ];
    for (what, content, file, error, hint) in rows {
        let place = Place::new();
        let root = small_project(&place, content.is_some());
        if let Some(content) = content {
            std::fs::write(root.join("kind-config/manifests/20-redis.yaml"), content).unwrap();
        }
        let config = root.join("gate.toml");
        for command in ["gate", "run", "deploy"] {
            let ended = place.run([command, "--config", config.to_str().unwrap()]);
            ended_badly(what, &ended, &Expected { code: 2, error: &[file, error], hint });
        }
        left_nothing(what, &place);
    }
}

/// `xtask` after a shell has made the machine worse, in namespaces of its own.
fn worse_machine(place: &Place, worse: &str, arguments: &[&str]) -> Command {
    let xtask = place.xtask(arguments);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", &format!("{worse}; exec \"$@\""), "sh"]);
    command.arg(program()).args(arguments).current_dir(project()).stdin(Stdio::null());
    for (name, value) in xtask.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs it to its end.
fn on_a_worse_machine(place: &Place, worse: &str, arguments: &[&str]) -> Ended {
    Ended::of(&mut worse_machine(place, worse, arguments))
}

#[test]
fn missing_programs_are_told_with_the_package_that_has_them() {
    let rows: [(&str, &[&str], &str); 5] = [
        ("nft", &["cluster", "up"], "apt-get install nftables"),
        ("nft", &["gate"], "apt-get install nftables"),
        ("unshare", &["cluster", "up"], "apt-get install util-linux"),
        ("unshare", &["gate"], "apt-get install util-linux"),
        ("redis-server", &["build"], "apt-get install redis-server"),
    ];
    for (tool, command, hint) in rows {
        let place = Place::new();
        // What is no regular file is no program.
        let hide = format!("mount --bind /dev/null \"$(PATH=$PATH:/usr/sbin command -v {tool})\"");
        let what = format!("{command:?} without {tool}");
        let ended = on_a_worse_machine(&place, &hide, command);
        ended_badly(&what, &ended, &Expected { code: 6, error: &[&format!("`{tool}`"), "not installed"], hint });
        left_nothing(&what, &place);
    }
}

#[test]
fn a_gate_without_redis_says_so_in_its_report_and_judges_nothing() {
    let place = Place::new();
    let ended = on_a_worse_machine(&place, "mount --bind /dev/null \"$(command -v redis-server)\"", &["gate"]);
    assert_eq!(ended.code, 6, "{ended:#?}");
    for part in ["find `redis-server`: not installed", "hint: apt-get install redis-server"] {
        assert!(ended.stdout.contains(part), "no `{part}` in {ended:#?}");
    }
    assert_eq!(place.report()["scenarios"].as_array().map(Vec::len), Some(0));
}

#[test]
fn refused_namespaces_are_told_with_the_setting_that_allows_them() {
    for command in [&["cluster", "up"][..], &["gate"]] {
        let place = Place::new();
        let ended = on_a_worse_machine(&place, "echo 0 > /proc/sys/user/max_user_namespaces", command);
        let expected = Expected { code: 6, error: &["unshare"], hint: "user.max_user_namespaces" };
        ended_badly(&command.join(" "), &ended, &expected);
        left_nothing(&command.join(" "), &place);
    }
}

#[test]
fn a_port_in_use_is_told() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = place.run(["cluster", "up", "--port", &port]);
    let error = format!("port {port} of 127.0.0.1");
    ended_badly("port", &ended, &Expected { code: 6, error: &[&error, "in use"], hint: "leave the port out" });
    left_nothing("port", &place);
}

#[test]
fn commands_that_need_a_cluster_say_how_to_start_one() {
    for command in [&["smoke"][..], &["rollback"], &["deploy"], &["run"], &["cluster", "status"]] {
        let place = Place::new();
        let expected = Expected { code: 6, error: &["embedded cluster `gameday`", "does not run"], hint: "cluster up" };
        ended_badly(&command.join(" "), &place.run(command), &expected);
        left_nothing(&command.join(" "), &place);
    }
    assert_eq!(Place::new().run(["cluster", "down"]).expect_code(0).stdout, "embedded cluster `gameday` did not run\n");
}

/// A kubeconfig with one context, `there`.
fn kubeconfig(place: &Place, server: &str) -> String {
    let path = place.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: there\n\
         clusters: [{{name: there, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: there, user: {{token: secret-of-this-test}}}}]\n\
         contexts: [{{name: there, context: {{cluster: there, user: there}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_kubeconfig_that_leads_nowhere_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("https://{closed}");
    let rows = [
        ("nobody listens", Some(&nowhere[..]), "there", &["`there`", &nowhere, "refused"][..], "kubectl"),
        (
            "no such host",
            Some("https://nowhere.invalid"),
            "there",
            &["https://nowhere.invalid", "resolved"],
            "--kubeconfig",
        ),
        ("unknown context", Some(&nowhere), "elsewhere", &["`elsewhere`", "it has `there`"], "--context"),
        ("no file", None, "there", &["absent-kubeconfig", "No such file"], "--kubeconfig"),
    ];
    for (what, server, context, error, hint) in rows {
        for command in ["gate", "run", "deploy", "rollback", "smoke"] {
            let place = Place::new();
            let absent = place.path().join("absent-kubeconfig").to_str().unwrap().to_owned();
            let file = server.map_or(absent, |server| kubeconfig(&place, server));
            let ended = place.run([command, "--context", context, "--kubeconfig", &file]);
            ended_badly(&format!("{command}, {what}"), &ended, &Expected { code: 6, error, hint });
            assert!(!ended.stderr.contains("secret-of-this-test"), "{what}: a token is shown");
            left_nothing(&format!("{command}, {what}"), &place);
        }
    }
    let place = Place::new();
    let mut command = place.xtask(["smoke", "--context", "there"]);
    let ended = Ended::of(command.env("KUBECONFIG", "/no/such/kubeconfig"));
    ended_badly("KUBECONFIG", &ended, &Expected { code: 6, error: &["`/no/such/kubeconfig`"], hint: "KUBECONFIG" });
    let mut command = place.xtask(["smoke", "--context", "there"]);
    let ended = Ended::of(command.env("HOME", place.path()));
    ended_badly("HOME", &ended, &Expected { code: 6, error: &["`~/.kube/config`"], hint: "KUBECONFIG" });
}

#[test]
fn a_cluster_that_nobody_allowed_is_refused_before_the_first_write() {
    let place = Place::new();
    let cluster = place.cluster();
    let kubeconfig = cluster.kubeconfig();
    // As a context, the cluster is one of somebody else.
    let there = |command: &str| {
        let at = ["--context", "gameday-gameday", "--kubeconfig", kubeconfig.to_str().unwrap()];
        place.run([&[command], &at[..]].concat())
    };
    for command in ["gate", "run", "deploy", "rollback", "smoke"] {
        let expected =
            Expected { code: 6, error: &["`gameday-gameday`", "gate.toml does not list it"], hint: "[clusters." };
        ended_badly(command, &there(command), &expected);
        assert!(!place.runs().join("latest").exists(), "{command}: a run that did not begin has no report");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let namespace = runtime.block_on(async { Api::<Namespace>::all(cluster.client().await).get_opt("hsc-jit").await });
    assert_eq!(namespace.unwrap(), None, "something was written");
}

#[test]
fn a_full_disk_is_told_with_the_place() {
    let rows: [(&str, &[&str], &str); 3] = [
        ("GAMEDAY_RUNS", &["gate"], "--runs"),
        ("XDG_STATE_HOME", &["gate"], "xtask doctor"),
        ("XDG_STATE_HOME", &["cluster", "up"], "xtask doctor"),
    ];
    for (variable, command, hint) in rows {
        let place = Place::new();
        let full = place.path().join("full");
        std::fs::create_dir(&full).unwrap();
        let full = full.to_str().unwrap();
        let worse = format!(
            "mount -t tmpfs -o size=4k none {full}; head -c 4k /dev/zero > {full}/filler || true; export {variable}={full}"
        );
        let what = format!("{command:?} with a full {variable}");
        let ended = on_a_worse_machine(&place, &worse, command);
        ended_badly(&what, &ended, &Expected { code: 6, error: &[full, "No space left on device"], hint });
        left_nothing(&what, &place);
    }
}

#[test]
fn a_disk_that_fills_up_while_a_fault_is_active_leaves_nothing_broken() {
    let place = Place::new();
    let cluster = place.cluster();
    place.run(["deploy"]).expect_code(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let state = || runtime.block_on(gameday_tests::state::of_system(&cluster.kubeconfig(), cluster.pid()));
    let before = state();

    let small = place.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount = format!("mount -t tmpfs -o size=64m none {0}; export GAMEDAY_RUNS={0}", small.display());
    let mut command = worse_machine(&place, &mount, &["run", "redis-lost/gone"]);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("fault sent")), "it gets as far as breaking something");
    // Only that process sees the small disk.
    let seen = PathBuf::from(format!("/proc/{}/root{}", run.id(), small.display()));
    let full = std::fs::write(seen.join("filler"), vec![0; 64 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    let stderr: Vec<String> = lines.collect();
    let ended =
        Ended { code: run.wait().unwrap().code().unwrap_or(-1), stdout: String::new(), stderr: stderr.join("\n") };
    let expected = Expected { code: 6, error: &["journal.ndjson", "No space left on device"], hint: "--runs" };
    ended_badly("a disk that fills up", &ended, &expected);
    eventually(Duration::from_secs(10), || match state() {
        now if now == before => Ok(()),
        now => Err(format!("{:#}", now["stateful-sets"])),
    });
}

/// A journal of a run that a gate without Redis wrote, quickly.
fn journal(place: &Place) -> PathBuf {
    on_a_worse_machine(place, "mount --bind /dev/null \"$(command -v redis-server)\"", &["gate"]);
    place.runs().join("latest/journal.ndjson")
}

#[test]
fn a_journal_that_was_cut_is_rendered_as_far_as_it_goes() {
    let place = Place::new();
    let journal = journal(&place);
    let whole = std::fs::read(&journal).unwrap();
    let lines: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let last = lines[lines.len() - 2];
    for (cut, warned) in [(last, false), (last + 1, true), (whole.len() - 1, true)] {
        std::fs::write(&journal, &whole[..cut]).unwrap();
        let ended = place.run(["report"]);
        assert!(![0, 70].contains(&ended.code), "cut at {cut}: what is missing is no pass: {ended:#?}");
        assert!(ended.stdout.contains("redis-server"), "what was recorded is shown: {ended:#?}");
        assert_eq!(
            ended.stderr.contains("warning: the journal ends in the middle"),
            warned,
            "cut at {cut}: {ended:#?}"
        );
    }
    std::fs::write(&journal, "").unwrap();
    let ended = place.run(["report"]);
    assert!(![0, 70].contains(&ended.code), "an empty journal is no pass: {ended:#?}");
}

#[test]
fn a_journal_that_was_damaged_is_told_by_its_line() {
    let place = Place::new();
    let journal = journal(&place);
    let text = std::fs::read_to_string(&journal).unwrap();
    let damaged: String = text
        .lines()
        .enumerate()
        .map(|(at, line)| if at == 1 { "{}\n".to_owned() } else { format!("{line}\n") })
        .collect();
    std::fs::write(&journal, damaged).unwrap();
    let ended = place.run(["report"]);
    ended_badly(
        "damaged",
        &ended,
        &Expected { code: 2, error: &["journal.ndjson", "line 2 is damaged"], hint: "head -n 1" },
    );
}
