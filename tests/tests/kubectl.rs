//! What a user of `kubectl` sees on the embedded cluster, with the whole stand-in on it.
//!
//! `GAMEDAY_KUBECTLS` names the programs to try, of whatever versions, parted by `:`; where it is not set,
//! that is the `kubectl` of this machine. Each has a cluster of its own that serves every step: they go
//! from looking to changing, and each leaves the system well for the next.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use gameday_tests::{Cluster, Ended, Place, eventually, kill, tell};
use serde_json::Value;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// `kubectl -n hsc-jit` against one cluster.
struct Kubectl<'a> {
    program: &'a Path,
    cluster: &'a Cluster<'a>,
}

impl Kubectl<'_> {
    fn command(&self, line: &str) -> Command {
        let mut command = self.cluster.kubectl(self.program);
        command.args(["-n", "hsc-jit"]).args(line.split_whitespace());
        command
    }

    /// Runs a line to its end; words are parted by spaces.
    fn run(&self, line: &str) -> Ended {
        Ended::of(&mut self.command(line))
    }

    /// What a line that succeeds prints.
    #[track_caller]
    fn prints(&self, line: &str) -> String {
        self.run(line).expect_code(0).stdout
    }

    /// Asserts that a line succeeds and prints all of these.
    #[track_caller]
    fn shows(&self, line: &str, expected: &[&str]) -> String {
        let out = self.prints(line);
        for part in expected {
            assert!(squeezed(&out).contains(&squeezed(part)), "kubectl {line}: no `{part}` in\n{out}");
        }
        out
    }

    /// Asserts that a line fails with this code and says all of these.
    #[track_caller]
    fn fails(&self, line: &str, code: i32, expected: &[&str]) {
        let ended = self.run(line).expect_code(code);
        for part in expected {
            assert!(ended.stderr.contains(part), "kubectl {line}: no `{part}` in\n{}", ended.stderr);
        }
    }

    /// Runs a program in a pod: the words after `--` as they are.
    fn exec(&self, pod: &str, program: &[&str]) -> Ended {
        let mut command = self.command(&format!("exec {pod} --"));
        Ended::of(command.args(program))
    }

    /// Runs a line with something on its standard input.
    fn fed(&self, line: &str, input: &str) -> Ended {
        let mut child =
            self.command(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Follows a line that does not end by itself, changes something, and returns what it
    /// printed until a line contains `until`.
    fn follows(&self, line: &str, until: &str, change: impl FnOnce()) -> Vec<String> {
        let mut child = self.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, received) = mpsc::channel();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut seen = vec![received.recv_timeout(PATIENCE).expect("the first line comes at once")];
        change();
        while !seen.last().unwrap().contains(until) {
            match received.recv_timeout(PATIENCE) {
                Ok(line) => seen.push(line),
                Err(error) => {
                    kill(&mut child);
                    panic!("kubectl {line}: {error}; no `{until}` in {seen:#?}");
                }
            }
        }
        kill(&mut child);
        drop(received);
        // It ends with an error once nobody receives: that is how it is told to stop.
        let _ = reader.join().unwrap();
        seen
    }
}

/// Runs of spaces as one: columns are as wide as their widest cell.
fn squeezed(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

/// Cells below the header.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

/// The programs to try, and the version that each says it is.
fn programs() -> Vec<(PathBuf, String)> {
    let named = env::var_os("GAMEDAY_KUBECTLS");
    let is_named = named.is_some();
    let programs: Vec<PathBuf> =
        named.map_or_else(|| vec!["kubectl".into()], |paths| env::split_paths(&paths).collect());
    programs
        .into_iter()
        .filter_map(|program| match version(&program) {
            Some(version) => Some((program, version)),
            None if is_named => panic!("GAMEDAY_KUBECTLS: {} tells no version", program.display()),
            None => None,
        })
        .collect()
}

fn version(program: &Path) -> Option<String> {
    let told = Command::new(program).args(["version", "--client", "--output", "json"]).output().ok()?;
    let told: Value = serde_json::from_slice(&told.stdout).ok()?;
    told["clientVersion"]["gitVersion"].as_str().map(str::to_owned)
}

#[test]
fn every_kubectl_sees_and_moves_the_stand_in_as_on_any_cluster() {
    let programs = programs();
    if programs.is_empty() {
        tell("skipped: kubectl: this machine has none; GAMEDAY_KUBECTLS can name some");
        return;
    }
    let mut failed = Vec::new();
    for (program, version) in programs {
        // What went wrong is printed where it happened; the other versions are still to be heard.
        match catch_unwind(AssertUnwindSafe(|| sees_and_moves_the_stand_in(&program))) {
            Ok(()) => tell(&format!("kubectl {version}: ok")),
            Err(_) => {
                tell(&format!("kubectl {version}: FAILED"));
                failed.push(version);
            }
        }
    }
    assert!(failed.is_empty(), "kubectl of these versions: {failed:?}");
}

fn sees_and_moves_the_stand_in(program: &Path) {
    let place = Place::new();
    let cluster = place.cluster();
    place.run(["deploy"]).expect_code(0);
    let kubectl = Kubectl { program, cluster: &cluster };
    get(&kubectl);
    describe(&kubectl);
    logs(&kubectl);
    exec(&kubectl);
    apply(&kubectl);
    watch(&kubectl);
    ingress(&kubectl);
    scale(&kubectl);
    delete(&kubectl);
    rollout(&kubectl);
    refusals(&kubectl);
}

fn get(kubectl: &Kubectl<'_>) {
    let pods = kubectl.prints("get pods");
    assert!(squeezed(&pods).starts_with("NAME READY STATUS RESTARTS AGE\n"), "{pods}");
    let pods = rows(&pods);
    assert_eq!(pods.len(), 7, "{pods:?}");
    for row in pods {
        assert_eq!(row[1..4], ["1/1", "Running", "0"], "{row:?}");
    }
    for row in rows(&kubectl.prints("get pods -o wide")) {
        assert!(row[5].starts_with("10.244.") && row[6] == "gameday", "address and node: {row:?}");
    }
    kubectl.shows("get deploy", &["NAME READY UP-TO-DATE AVAILABLE AGE", "backend 3/3 3 3", "frontend 2/2 2 2"]);
    kubectl.shows("get deploy -o wide", &["CONTAINERS IMAGES SELECTOR", "hsc-jit-backend:v3.3.1-"]);
    kubectl.shows("get sts", &["NAME READY AGE", "redis 1/1"]);
    let services = kubectl.shows("get svc", &["NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE", "<none> 6379/TCP"]);
    let backend = rows(&services).into_iter().find(|row| row[0] == "backend").unwrap();
    assert!(backend[1] == "NodePort" && backend[4].starts_with("8000:3"), "{backend:?}");
    kubectl.shows(
        "get all",
        &[
            "pod/redis-0 1/1 Running",
            "service/backend NodePort",
            "deployment.apps/backend 3/3",
            "statefulset.apps/redis",
        ],
    );
    kubectl.shows("get deploy backend -o yaml", &["apiVersion: apps/v1\nkind: Deployment", "readyReplicas: 3"]);
    let json: Value = serde_json::from_str(&kubectl.prints("get pod redis-0 -o json")).unwrap();
    assert_eq!(json["status"]["phase"], "Running");
    assert_eq!(kubectl.prints("get deploy backend -o jsonpath={.status.availableReplicas}"), "3");
    assert_eq!(kubectl.prints("get pods -l app=redis -o name"), "pod/redis-0\n");
    assert_eq!(kubectl.prints("get pods --field-selector metadata.name=redis-0 -o name"), "pod/redis-0\n");
    kubectl.shows("get nodes", &["gameday Ready control-plane"]);
    kubectl.shows("get endpointslices", &["IPv4 6379 10.244."]);
}

fn describe(kubectl: &Kubectl<'_>) {
    kubectl.shows(
        "describe pod redis-0",
        &[
            "Controlled By: StatefulSet/redis",
            "Readiness: exec [redis-cli -e ping]",
            "State: Running",
            "ContainersReady True",
            "ClaimName: data-redis-0",
            "Normal Started",
        ],
    );
    kubectl.shows(
        "describe deployment backend",
        &[
            "Replicas: 3 desired | 3 updated | 3 total | 3 available | 0 unavailable",
            "GEMINI_API_KEY: <set to the key 'key' in secret 'llm-api-key'> Optional: false",
            "Progressing True NewReplicaSetAvailable",
            "deployment-controller Scaled up replica set backend-",
        ],
    );
    kubectl.shows(
        "describe sts redis",
        &[
            "Pods Status: 1 Running / 0 Waiting / 0 Succeeded / 0 Failed",
            "Create Pod redis-0 in StatefulSet redis successful",
        ],
    );
    let service = kubectl.shows("describe svc backend", &["Port: http 8000/TCP", "Session Affinity: None"]);
    let endpoints = service.lines().find(|line| line.starts_with("Endpoints:")).unwrap();
    assert_eq!(endpoints.matches(":8000").count(), 3, "{endpoints}");
}

fn logs(kubectl: &Kubectl<'_>) {
    kubectl.shows("logs redis-0", &["Ready to accept connections"]);
    assert_eq!(kubectl.prints("logs redis-0 --tail=2").lines().count(), 2);
    let line = kubectl.prints("logs deploy/backend --tail=1");
    assert!(serde_json::from_str::<Value>(&line).unwrap()["message"].is_string(), "{line}");
    let stamped = kubectl.prints("logs redis-0 --tail=1 --timestamps");
    assert!(stamped.starts_with("20") && stamped.contains('T'), "{stamped}");
    kubectl.fails(
        "logs redis-0 --previous",
        1,
        &["previous terminated container \"redis\" in pod \"redis-0\" not found"],
    );
    // The second line is written only after the first has been read.
    let followed = kubectl.follows("logs -f redis-0 --tail=1", "DB saved on disk", || {
        kubectl.exec("redis-0", &["redis-cli", "save"]).expect_code(0);
    });
    assert!(followed[0].contains("Ready to accept connections"), "{followed:?}");
}

fn exec(kubectl: &Kubectl<'_>) {
    assert_eq!(kubectl.exec("redis-0", &["redis-cli", "ping"]).expect_code(0).stdout, "PONG\n");
    let failed = kubectl.exec("redis-0", &["sh", "-c", "echo said; echo warned >&2; exit 7"]).expect_code(7);
    assert_eq!(failed.stdout, "said\n");
    assert!(failed.stderr.starts_with("warned\n"), "{}", failed.stderr);
    assert_eq!(kubectl.fed("exec -i redis-0 -- cat", "through the pipe\n").expect_code(0).stdout, "through the pipe\n");
    let absent = kubectl.exec("redis-0", &["no-such-program"]);
    assert!(absent.code != 0 && absent.stderr.contains("executable file not found"), "{absent:?}");

    // Nothing of the host: neither its files, nor its processes, nor its network.
    let here = tempfile::NamedTempFile::new().unwrap();
    let path = here.path().to_str().unwrap();
    assert!(kubectl.exec("redis-0", &["cat", path]).stderr.contains("No such file"), "{path} is the host's");
    let processes = kubectl.exec("redis-0", &["ps", "-o", "pid,args"]).expect_code(0).stdout;
    let processes = rows(&processes);
    assert_eq!(processes.len(), 2, "redis-server and ps itself: {processes:?}");
    assert_eq!(processes[0][..2], ["1", "redis-server"]);
    let addresses = kubectl.exec("redis-0", &["ip", "-4", "-o", "address"]).expect_code(0).stdout;
    assert_eq!(addresses.lines().count(), 2, "loopback and the pod's own: {addresses}");
    assert_eq!(kubectl.exec("redis-0", &["hostname"]).expect_code(0).stdout, "redis-0\n");
}

fn apply(kubectl: &Kubectl<'_>) {
    for (value, said) in [("first", "secret/demo created\n"), ("second", "secret/demo configured\n")] {
        let made =
            kubectl.prints(&format!("create secret generic demo --from-literal=key={value} --dry-run=client -o yaml"));
        assert_eq!(kubectl.fed("apply -f -", &made).expect_code(0).stdout, said);
    }
    assert_eq!(kubectl.prints("get secret demo -o jsonpath={.data.key}"), "c2Vjb25k", "`second` in base64");
    let described = kubectl.shows("describe secret demo", &["key: 6 bytes"]);
    assert!(!described.contains("second"), "{described}");

    let manifest = |colour: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: demo}}\ndata: {{colour: {colour}}}\n")
    };
    for (colour, said) in [("red", "created"), ("red", "unchanged"), ("blue", "configured")] {
        let ended = kubectl.fed("apply -f -", &manifest(colour)).expect_code(0);
        assert_eq!(ended.stdout, format!("configmap/demo {said}\n"));
    }
    assert_eq!(kubectl.prints("get configmap demo -o jsonpath={.data.colour}"), "blue");
    let served = kubectl.fed("apply --server-side --field-manager=someone -f -", &manifest("green"));
    assert!(served.code != 0 && served.stderr.contains("conflict"), "fields have owners: {served:?}");
    kubectl.shows("delete configmap demo", &["configmap \"demo\" deleted"]);
    let wrong = kubectl.fed("apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Demo}\n");
    assert!(wrong.code != 0 && wrong.stderr.contains("metadata.name: Invalid value"), "{wrong:?}");
}

fn watch(kubectl: &Kubectl<'_>) {
    let seen = kubectl.follows(
        "get configmap -w --field-selector metadata.name=backend-settings",
        "backend-settings   6",
        || {
            let patch = ["patch", "configmap", "backend-settings", "-p", r#"{"data":{"DEMO":"1"}}"#];
            Ended::of(kubectl.command("").args(patch)).expect_code(0);
        },
    );
    assert!(seen[0].starts_with("NAME"), "{seen:?}");
    let patch = ["patch", "configmap", "backend-settings", "-p", r#"{"data":{"DEMO":null}}"#];
    Ended::of(kubectl.command("").args(patch)).expect_code(0);
}

fn ingress(kubectl: &Kubectl<'_>) {
    const TIMEOUT: &str = "nginx.ingress.kubernetes.io/proxy-read-timeout";
    let timeout = || {
        let annotations = kubectl.prints("get ingress hsc-jit -o json");
        let ingress: Value = serde_json::from_str(&annotations).unwrap();
        ingress["metadata"]["annotations"][TIMEOUT].as_str().map(str::to_owned)
    };
    kubectl.shows("get ing", &["NAME CLASS HOSTS ADDRESS PORTS AGE", "hsc-jit nginx * 80"]);
    kubectl.shows(
        "describe ingress hsc-jit",
        &["Ingress Class: nginx", "/ws backend:http (10.244.", "proxy-read-timeout: 300"],
    );
    kubectl.fails(
        &format!("annotate ingress hsc-jit {TIMEOUT}=60"),
        1,
        &["--overwrite is false but found the following declared annotation(s)"],
    );
    let said = kubectl.prints(&format!("annotate ingress hsc-jit {TIMEOUT}=60 --overwrite"));
    assert_eq!((said.as_str(), timeout().as_deref()), ("ingress.networking.k8s.io/hsc-jit annotated\n", Some("60")));
    // As the runbook has it: an editor is opened, and what it leaves is applied.
    let mut edit = kubectl.command("edit ingress hsc-jit");
    let edited = Ended::of(edit.env("KUBE_EDITOR", "sed -i s/timeout:.*/timeout:\\ '\"90\"'/")).expect_code(0);
    assert_eq!(
        (edited.stdout.as_str(), timeout().as_deref()),
        ("ingress.networking.k8s.io/hsc-jit edited\n", Some("90"))
    );
    kubectl.prints(&format!("annotate ingress hsc-jit {TIMEOUT}-"));
    assert_eq!(timeout(), None);
    let wrong = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: wrong}\nspec: {}\n";
    let wrong = kubectl.fed("apply -f -", wrong);
    assert!(wrong.code != 0 && wrong.stderr.contains("either `defaultBackend` or `rules`"), "{wrong:?}");
}

fn scale(kubectl: &Kubectl<'_>) {
    assert_eq!(kubectl.prints("scale deploy/frontend --replicas=3"), "deployment.apps/frontend scaled\n");
    kubectl.shows("rollout status deploy/frontend --timeout=60s", &["successfully rolled out"]);
    kubectl.shows("get deploy frontend", &["frontend 3/3 3 3"]);
    kubectl.fails("scale deploy/frontend --replicas=1 --current-replicas=7", 1, &["Expected replicas to be 7, was 3"]);
    kubectl.prints("scale deploy/frontend --replicas=2");
    eventually(PATIENCE, || match kubectl.prints("get pods -l app=hsc-jit-frontend -o name").lines().count() {
        2 => Ok(()),
        pods => Err(format!("{pods} pods")),
    });
}

fn delete(kubectl: &Kubectl<'_>) {
    let uid = || kubectl.prints("get pod redis-0 -o jsonpath={.metadata.uid}");
    let before = uid();
    // From 1.34 on it also names the namespace.
    let said = kubectl.prints("delete pod redis-0");
    assert!(said.starts_with("pod \"redis-0\" deleted"), "{said}");
    // `wait` refuses an object that is not there yet, on any cluster.
    eventually(PATIENCE, || match kubectl.run("wait --for=condition=ready pod/redis-0 --timeout=30s") {
        Ended { code: 0, stdout, .. } if stdout == "pod/redis-0 condition met\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_ne!(uid(), before, "a new pod of the same name");

    // The process ends, and the kubelet starts it again in the same pod.
    let pod = uid();
    kubectl.exec("redis-0", &["redis-cli", "shutdown", "nosave"]);
    eventually(PATIENCE, || {
        let row = squeezed(&kubectl.prints("get pod redis-0"));
        if row.contains("redis-0 1/1 Running 1") { Ok(()) } else { Err(row) }
    });
    assert_eq!(uid(), pod, "the same pod");
    kubectl.shows("logs redis-0 --previous", &["Redis is now ready to exit, bye bye"]);
    kubectl.shows("describe pod redis-0", &["Last State: Terminated", "Reason: Completed", "Restart Count: 1"]);
}

fn rollout(kubectl: &Kubectl<'_>) {
    kubectl.shows("rollout status deploy/backend --timeout=60s", &["deployment \"backend\" successfully rolled out"]);
    kubectl.shows("rollout history deploy/backend", &["REVISION CHANGE-CAUSE\n1 <none>"]);
    assert_eq!(kubectl.prints("rollout restart deploy/backend"), "deployment.apps/backend restarted\n");
    let waited = kubectl.prints("rollout status deploy/backend --timeout=60s");
    assert!(waited.contains("Waiting for deployment \"backend\" rollout to finish"), "{waited}");
    assert!(waited.ends_with("successfully rolled out\n"), "{waited}");
    kubectl.shows("rollout history deploy/backend", &["1 <none>\n2 <none>"]);
    kubectl.shows("rollout history deploy/backend --revision=2", &["kubectl.kubernetes.io/restartedAt"]);
    kubectl.fails("rollout undo deploy/backend --to-revision=99", 1, &["unable to find specified revision 99"]);
    assert_eq!(kubectl.prints("rollout undo deploy/backend"), "deployment.apps/backend rolled back\n");
    kubectl.shows("rollout status deploy/backend --timeout=60s", &["successfully rolled out"]);
    let history = kubectl.prints("rollout history deploy/backend");
    assert!(squeezed(&history).contains("2 <none>\n3 <none>"), "revision 1 is counted up to 3: {history}");
    kubectl.shows("rollout restart sts/redis", &["statefulset.apps/redis restarted"]);
    kubectl.shows(
        "rollout status sts/redis --timeout=60s",
        &["partitioned roll out complete: 1 new pods have been updated"],
    );

    // An image that is nowhere: the old pods go on, and the status says what it waits for.
    kubectl.prints("set image deploy/frontend frontend=nowhere:1");
    eventually(PATIENCE, || {
        let pods = kubectl.prints("get pods -l app=hsc-jit-frontend");
        if pods.contains("ErrImagePull") || pods.contains("ImagePullBackOff") { Ok(()) } else { Err(pods) }
    });
    kubectl.shows("get deploy frontend", &["frontend 2/2 1 2"]);
    kubectl.prints("rollout undo deploy/frontend");
    kubectl.shows("rollout status deploy/frontend --timeout=60s", &["successfully rolled out"]);
}

fn refusals(kubectl: &Kubectl<'_>) {
    kubectl.fails("get pod nobody", 1, &["Error from server (NotFound): pods \"nobody\" not found"]);
    kubectl.fails("get nothings", 1, &["the server doesn't have a resource type \"nothings\""]);
    kubectl.fails("exec nobody -- true", 1, &["pods \"nobody\" not found"]);
    kubectl.fails("--token=wrong get pods", 1, &["Unauthorized"]);
}
