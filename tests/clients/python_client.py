"""What the Python client `kubernetes` relies on in a cluster, asked of any.

    KUBECONFIG=... python3 tests/clients/python_client.py IMAGE

IMAGE has a shell and busybox's programs, and the cluster has it or can pull it. Everything happens in a
namespace of its own, which goes in the end. One line a check; the exit code is 1 where one failed.
"""

import json
import sys
import threading
import time
import traceback
import uuid

import kubernetes
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

# Longest wait for a state, and longest single request: a real cluster pulls, schedules and backs off.
WITHIN = 120
# What does nothing, and ends at once when it is told to.
IDLE = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"

NAMESPACE = f"python-{uuid.uuid4().hex[:8]}"
LABELLED = "app=one"


class Cluster:
    """The typed clients, and the image whose shell is used."""

    def __init__(self, image):
        self.image = image
        self.core = client.CoreV1Api()
        self.apps = client.AppsV1Api()
        self.policy = client.PolicyV1Api()


def same(what, seen, expected):
    assert seen == expected, f"{what}: {seen!r}, not {expected!r}"


def until(what, look):
    """Looks until it returns something true; at the end of the time, tells what was last seen."""
    deadline = time.monotonic() + WITHIN
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"{what}: not within {WITHIN} s; last seen: {seen!r}"
        time.sleep(0.1)


def refused(code, reason, call):
    """Insists on a refusal; returns its body, which is a Status."""
    try:
        call()
    except ApiException as error:
        status = json.loads(error.body)
        same("kind", (status["kind"], status["apiVersion"], status["status"]), ("Status", "v1", "Failure"))
        same("code and reason", (error.status, status["code"], status["reason"]), (code, code, reason))
        return status
    raise AssertionError(f"expected {code} {reason}, and it was accepted")


def config_map(name, data, labels=None):
    metadata = {"name": name, "labels": labels} if labels else {"name": name}
    return {"metadata": metadata, "data": data}


def pod(cluster, name, script):
    container = {"name": "main", "image": cluster.image, "command": ["sh", "-c", script]}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def deployment(cluster, name, replicas):
    template = pod(cluster, name, IDLE)
    del template["metadata"]["name"]
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def ready_pod(cluster, name, script=IDLE):
    cluster.core.create_namespaced_pod(NAMESPACE, pod(cluster, name, script))

    def ready():
        conditions = cluster.core.read_namespaced_pod(name, NAMESPACE).status.conditions or []
        return any(one.type == "Ready" and one.status == "True" for one in conditions)

    until(f"pod {name} is ready", ready)


def rolled_out(cluster, name, replicas):
    def whole():
        status = cluster.apps.read_namespaced_deployment(name, NAMESPACE).status
        return (status.available_replicas or 0) == (status.replicas or 0) == replicas

    until(f"deployment {name} has {replicas}", whole)


def gone(what, read):
    def absent():
        try:
            read()
        except ApiException as error:
            return error.status == 404
        return False

    until(f"{what} is gone", absent)


def reads_and_lists(cluster):
    core = cluster.core
    for name, label in [("a", "1"), ("b", "1"), ("c", "2")]:
        made = core.create_namespaced_config_map(NAMESPACE, config_map(name, {"k": name}, {"x": label}))
        assert made.metadata.uid and made.metadata.resource_version and made.metadata.creation_timestamp.tzinfo
    same("one", core.read_namespaced_config_map("a", NAMESPACE).data, {"k": "a"})
    names = lambda listed: [one.metadata.name for one in listed.items]
    listed = core.list_namespaced_config_map(NAMESPACE, label_selector="x in (1)")
    same("by label", names(listed), ["a", "b"])
    listed = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=c")
    same("by field", names(listed), ["c"])
    first = core.list_namespaced_config_map(NAMESPACE, label_selector="x", limit=2)
    rest = core.list_namespaced_config_map(NAMESPACE, label_selector="x", limit=2, _continue=first.metadata._continue)
    same("in pages", (names(first), names(rest)), (["a", "b"], ["c"]))
    everywhere = core.list_config_map_for_all_namespaces(label_selector="x=2")
    assert NAMESPACE in [one.metadata.namespace for one in everywhere.items]


def replaces_with_its_version(cluster):
    core = cluster.core
    made = core.create_namespaced_config_map(NAMESPACE, config_map("replaced", {"k": "1"}))
    made.data = {"k": "2"}
    same("replaced", core.replace_namespaced_config_map("replaced", NAMESPACE, made).data, {"k": "2"})
    refused(409, "Conflict", lambda: core.replace_namespaced_config_map("replaced", NAMESPACE, made))


def patches_in_four_ways(cluster):
    apps = cluster.apps
    apps.create_namespaced_deployment(NAMESPACE, deployment(cluster, "patched", 0))

    def patched(body, content_type):
        return apps.patch_namespaced_deployment("patched", NAMESPACE, body, _content_type=content_type)

    env = lambda it: {one.name: one.value for one in it.spec.template.spec.containers[0].env or []}
    container = {"name": "main", "env": [{"name": "A", "value": "1"}]}
    seen = patched({"spec": {"template": {"spec": {"containers": [container]}}}}, STRATEGIC)
    image = seen.spec.template.spec.containers[0].image
    same("containers are merged by name", (env(seen), image), ({"A": "1"}, cluster.image))
    container["env"] = [{"name": "B", "value": "2"}]
    seen = patched({"spec": {"template": {"spec": {"containers": [container]}}}}, STRATEGIC)
    same("variables are merged by name", env(seen), {"A": "1", "B": "2"})
    path = "/spec/template/spec/containers/0/env"
    is_first = {"op": "test", "path": f"{path}/0/name", "value": "B"}
    seen = patched([is_first, {"op": "remove", "path": f"{path}/0"}], JSON)
    same("a JSON patch removes by its place", env(seen), {"A": "1"})
    refused(422, "Invalid", lambda: patched([{"op": "test", "path": "/spec/replicas", "value": 9}], JSON))
    seen = patched({"metadata": {"annotations": {"a": "1", "b": "2"}}}, MERGE)
    seen = patched({"metadata": {"annotations": {"a": None}}}, MERGE)
    same("a merge patch removes a null", seen.metadata.annotations.get("b"), "2")
    assert "a" not in seen.metadata.annotations, seen.metadata.annotations


def applies_with_owners(_):
    maps = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")
    body = lambda data: {"apiVersion": "v1", "kind": "ConfigMap", **config_map("applied", data)}

    def apply(who, data, force=None):
        said = maps.server_side_apply(body(data), namespace=NAMESPACE, field_manager=who, force_conflicts=force)
        return said.to_dict()["data"]

    same("made", apply("first", {"a": "1", "b": "1"}), {"a": "1", "b": "1"})
    same("what is no longer applied goes", apply("first", {"a": "1"}), {"a": "1"})
    status = refused(409, "Conflict", lambda: apply("second", {"a": "2"}))
    causes = [(one["reason"], one["field"]) for one in status["details"]["causes"]]
    same("causes", causes, [("FieldManagerConflict", ".data.a")])
    same("forced", apply("second", {"a": "2"}, force=True), {"a": "2"})


def watches_from_a_version(cluster):
    core = cluster.core
    listed = core.list_namespaced_config_map(NAMESPACE)
    core.create_namespaced_config_map(NAMESPACE, config_map("watched", {"k": "1"}, {"watch": "me"}))
    core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"k": "2"}})
    core.delete_namespaced_config_map("watched", NAMESPACE)
    seen, watcher = [], watch.Watch()
    events = watcher.stream(
        core.list_namespaced_config_map,
        NAMESPACE,
        label_selector="watch=me",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=WITHIN,
    )
    for event in events:
        seen.append((event["type"], event["object"].data["k"]))
        if event["type"] == "DELETED":
            watcher.stop()
    same("events", seen, [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")])
    # Live, too: what happens while it watches.
    live = config_map("live", {}, {"watch": "me"})
    later = threading.Timer(0.2, core.create_namespaced_config_map, (NAMESPACE, live))
    later.start()
    chosen = {"label_selector": "watch=me", "timeout_seconds": WITHIN}
    for event in watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, **chosen):
        same("live", (event["type"], event["object"].metadata.name), ("ADDED", "live"))
        break
    later.join()


def scales(cluster):
    apps = cluster.apps
    apps.create_namespaced_deployment(NAMESPACE, deployment(cluster, "one", 1))
    rolled_out(cluster, "one", 1)
    scale = apps.patch_namespaced_deployment_scale("one", NAMESPACE, {"spec": {"replicas": 2}})
    same("scale", (scale.kind, scale.spec.replicas, scale.status.selector), ("Scale", 2, LABELLED))
    rolled_out(cluster, "one", 2)
    read = apps.read_namespaced_deployment_scale("one", NAMESPACE)
    read.spec.replicas = 1
    same("replaced", apps.replace_namespaced_deployment_scale("one", NAMESPACE, read).spec.replicas, 1)
    rolled_out(cluster, "one", 1)


def reads_and_follows_logs(cluster):
    core = cluster.core
    script = "echo one; echo two; while ! test -f /tmp/go; do sleep 0.1; done; echo three; " + IDLE
    ready_pod(cluster, "logged", script)
    read = lambda **how: core.read_namespaced_pod_log("logged", NAMESPACE, **how)
    until("both lines", lambda: read() == "one\ntwo\n")
    same("the tail", read(tail_lines=1), "two\n")
    stamp, text = read(tail_lines=1, timestamps=True).split(" ", 1)
    same("with its time", (stamp[10], text), ("T", "two\n"))
    lines = watch.Watch().stream(core.read_namespaced_pod_log, "logged", NAMESPACE, follow=True, tail_lines=1)
    same("followed", next(lines), "two")
    run(cluster, "logged", "touch", "/tmp/go")
    same("as it is written", next(lines), "three")
    refused(400, "BadRequest", lambda: read(previous=True))


def run(cluster, name, *command):
    """Runs a command in a pod; both streams and its code."""
    said = stream(
        cluster.core.connect_get_namespaced_pod_exec, name, NAMESPACE, command=list(command),
        stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
    )
    said.run_forever(timeout=WITHIN)
    return said.read_stdout(timeout=0), said.read_stderr(timeout=0), said.returncode


def executes_over_a_websocket(cluster):
    ready_pod(cluster, "executed")
    same("streams", run(cluster, "executed", "sh", "-c", "echo out; echo err >&2; exit 42"), ("out\n", "err\n", 42))
    same("success", run(cluster, "executed", "true"), ("", "", 0))
    out, _, code = run(cluster, "executed", "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x")
    same("much output", (len(out), code), (300000, 0))
    whole = stream(
        cluster.core.connect_get_namespaced_pod_exec, "executed", NAMESPACE,
        command=["echo", "whole"], stdout=True, stderr=True, stdin=False, tty=False,
    )
    same("as one text", whole, "whole\n")
    talk = stream(
        cluster.core.connect_get_namespaced_pod_exec, "executed", NAMESPACE, command=["sh"],
        stdout=True, stderr=True, stdin=True, tty=False, _preload_content=False,
    )
    talk.write_stdin("echo $((20 + 1))\n")
    same("an answer to what was typed", talk.readline_stdout(timeout=WITHIN), "21")
    talk.write_stdin("exit 3\n")
    talk.run_forever(timeout=WITHIN)
    same("its end", talk.returncode, 3)
    try:
        run(cluster, "nobody", "true")
    except ApiException as error:
        # The handshake is what fails: there is no body, and the code stands in the reason.
        assert "404" in str(error.reason), error
    else:
        raise AssertionError("a command ran in a pod that is not there")


def forwards_a_port(cluster):
    script = "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
    ready_pod(cluster, "forwarded", script)

    def answer():
        forward = portforward(cluster.core.connect_get_namespaced_pod_portforward, "forwarded", NAMESPACE, ports="8080")
        socket = forward.socket(8080)
        socket.settimeout(WITHIN)
        socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        read = b""
        while chunk := socket.recv(4096):
            read += chunk
        return read

    # A container is ready before its program listens, where nothing asks it.
    said = until("it answers", answer)
    assert said.startswith(b"HTTP/1.") and said.endswith(b"forwarded\n"), said


def deletes_with_what_hangs_on_it(cluster):
    apps, core = cluster.apps, cluster.core
    apps.delete_namespaced_deployment("one", NAMESPACE, propagation_policy="Orphan")
    gone("the deployment", lambda: apps.read_namespaced_deployment("one", NAMESPACE))
    orphans = [it.metadata.name for it in apps.list_namespaced_replica_set(NAMESPACE, label_selector=LABELLED).items]
    same("orphans stay", len(orphans), 1)
    options = client.V1DeleteOptions(propagation_policy="Foreground")
    apps.delete_namespaced_replica_set(orphans[0], NAMESPACE, body=options)
    gone("the set", lambda: apps.read_namespaced_replica_set(orphans[0], NAMESPACE))
    same("its pods went before it", core.list_namespaced_pod(NAMESPACE, label_selector=LABELLED).items, [])
    wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=str(uuid.uuid4())))
    refused(409, "Conflict", lambda: core.delete_namespaced_config_map("a", NAMESPACE, body=wrong))
    # A Status: some versions of the client make a model of it, some leave it as it came.
    deleted = core.api_client.sanitize_for_serialization(core.delete_namespaced_config_map("a", NAMESPACE))
    said = (deleted["status"], deleted["details"]["name"], deleted["details"]["kind"])
    same("what is said", said, ("Success", "a", "configmaps"))
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="x")
    until("a collection is gone", lambda: not core.list_namespaced_config_map(NAMESPACE, label_selector="x").items)


def evicts_within_the_budget(cluster):
    core, policy = cluster.core, cluster.policy
    cluster.apps.create_namespaced_deployment(NAMESPACE, deployment(cluster, "evicted", 1))
    rolled_out(cluster, "evicted", 1)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "evicted"}}}
    policy.create_namespaced_pod_disruption_budget(NAMESPACE, {"metadata": {"name": "evicted"}, "spec": spec})
    healthy = lambda: policy.read_namespaced_pod_disruption_budget("evicted", NAMESPACE).status.current_healthy == 1
    until("the budget has counted", healthy)
    name = core.list_namespaced_pod(NAMESPACE, label_selector="app=evicted").items[0].metadata.name
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=NAMESPACE))
    evict = lambda: core.create_namespaced_pod_eviction(name, NAMESPACE, eviction)
    status = refused(429, "TooManyRequests", evict)
    same("causes", [one["reason"] for one in status["details"]["causes"]], ["DisruptionBudget"])
    policy.delete_namespaced_pod_disruption_budget("evicted", NAMESPACE)
    evict()
    gone("the evicted pod", lambda: core.read_namespaced_pod(name, NAMESPACE))
    rolled_out(cluster, "evicted", 1)


def explains_its_refusals(cluster):
    core = cluster.core
    status = refused(404, "NotFound", lambda: core.read_namespaced_pod("nobody", NAMESPACE))
    same("message", status["message"], 'pods "nobody" not found')
    same("details", status["details"], {"name": "nobody", "kind": "pods"})
    core.create_namespaced_config_map(NAMESPACE, config_map("twice", {}))
    refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(NAMESPACE, config_map("twice", {})))
    status = refused(422, "Invalid", lambda: core.create_namespaced_config_map(NAMESPACE, config_map("No_Name", {})))
    causes = [(one["reason"], one["field"]) for one in status["details"]["causes"]]
    same("causes", causes, [("FieldValueInvalid", "metadata.name")])
    nobody = client.Configuration.get_default_copy()
    nobody.refresh_api_key_hook, nobody.cert_file, nobody.key_file = None, None, None
    nobody.api_key = {"authorization": "Bearer wrong", "BearerToken": "Bearer wrong"}
    refused(401, "Unauthorized", lambda: client.CoreV1Api(client.ApiClient(nobody)).list_namespaced_pod(NAMESPACE))


CHECKS = [
    reads_and_lists,
    replaces_with_its_version,
    patches_in_four_ways,
    applies_with_owners,
    watches_from_a_version,
    scales,
    reads_and_follows_logs,
    executes_over_a_websocket,
    forwards_a_port,
    deletes_with_what_hangs_on_it,
    evicts_within_the_budget,
    explains_its_refusals,
]


def main():
    config.load_kube_config()
    cluster = Cluster(sys.argv[1])
    served = client.VersionApi().get_code().git_version
    print(f"{len(CHECKS)} checks of Python client {kubernetes.__version__} on Kubernetes {served}", flush=True)
    cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
    failed = 0
    try:
        for check in CHECKS:
            try:
                check(cluster)
                print(f"ok     {check.__name__}", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAILED {check.__name__}: {error!r}", flush=True)
                traceback.print_exc()
    finally:
        cluster.core.delete_namespace(NAMESPACE)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
