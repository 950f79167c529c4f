//! Scenario files: the committed ones are valid, wrong ones get an error at their place.

use std::path::Path;
use std::time::Duration;

use harness::scenario::file::{plans, schema};
use harness::scenario::needs::Need;
use harness::scenario::plan::{BudgetFrom, CheckName, Expect, Proof, ProxyPlan, Role, Symptom, Through};

const GOOD: &str = "\
name: example
title: An example
suites: [quick]
promise: { document: RUNBOOK.md, section: Example, says: a minute }
workload: deployment/backend
service: backend
port: 8000
checks:
  - name: ready
    check: { http: { target: each-pod, path: /ready } }
  - name: ping
    role: proof
    check: { redis: { of: statefulset/redis } }
variants:
  - name: killed
    fault: { pod-signal: { of: statefulset/redis, signal: SIGKILL } }
    proof: [{ check-failed: ping }]
    budget: { max: 60s, from: fault, source: RUNBOOK.md }
";

#[test]
fn defaults_are_filled_in() {
    let plans = plans("example.yaml", GOOD).unwrap();
    let [plan] = plans.as_slice() else { panic!("one variant is one plan") };
    assert_eq!(plan.id.0, "example/killed");
    assert_eq!(plan.title, "An example");
    assert_eq!((plan.file.as_str(), plan.line), ("example.yaml", 15));
    assert_eq!((plan.hold, plan.slow), (Duration::from_secs(8), Duration::from_secs(1)));
    assert_eq!((plan.symptom, plan.budget.from), (Symptom::Required, BudgetFrom::Fault));
    assert_eq!((plan.load.requests_per_second, plan.load.sockets), (0.0, 0));
    let text = GOOD.replace("port: 8000", "port: 8000\nload: { sockets: 5, socket-path: /ws }");
    let load = &harness::scenario::file::plans("example.yaml", &text).unwrap()[0].load;
    assert_eq!((load.sockets_asking, load.sockets_backing_off, load.socket_ping), (5, 0, Duration::from_secs(5)));
    assert_eq!(plan.checks.iter().map(|check| check.role).collect::<Vec<_>>(), [Role::Recovery, Role::Proof]);
}

#[test]
fn a_variant_goes_the_way_of_its_scenario_or_its_own() {
    let proxied = |ingress: Option<&str>, time_scale| {
        Through::Proxy(ProxyPlan { ingress: ingress.map(str::to_owned), time_scale })
    };
    let check = |scenario: &str, variant: &str, expect: Through| {
        let text = GOOD
            .replace("port: 8000\n", &format!("port: 8000\n{scenario}"))
            .replace("    fault:", &format!("{variant}    fault:"));
        assert_eq!(plans("x.yaml", &text).unwrap()[0].through, expect, "{scenario}{variant}");
    };
    check("", "", Through::Direct);
    check("through: { proxy: {} }\n", "", proxied(None, 1));
    check("through: { proxy: {} }\n", "    through: direct\n", Through::Direct);
    check("", "    through: { proxy: { ingress: web, time-scale: 10 } }\n", proxied(Some("web"), 10));
}

#[test]
fn the_interval_follows_from_the_budget() {
    for (budget, expected) in [("60s", 300), ("1s", 20), ("300s", 500)] {
        let plan = &plans("example.yaml", &GOOD.replace("60s", budget)).unwrap()[0];
        assert_eq!(plan.checks[0].interval, Duration::from_millis(expected), "{budget}");
    }
}

#[test]
fn a_check_may_have_a_slow_of_its_own() {
    let check = |lines: &str, expected: (u64, u64)| {
        let text = GOOD.replace("  - name: ready\n", &format!("  - name: ready\n{lines}"));
        let plan = &plans("example.yaml", &text).unwrap()[0];
        let ready = &plan.checks[0];
        assert_eq!((plan.slow_of(&ready.name).as_secs(), ready.timeout.as_secs()), expected, "{lines}");
        assert_eq!(plan.slow_of(&plan.checks[1].name), plan.slow, "of the other check nothing was said");
    };
    check("", (1, 2));
    check("    slow: 5s\n", (5, 5));
    check("    slow: 5s\n    timeout: 9s\n", (5, 9));
}

#[test]
fn what_is_wrong_is_named_at_its_place() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(GOOD.contains(from), "`{from}` is not in the example");
        let wrong = plans("x.yaml", &GOOD.replace(from, to)).expect_err(to);
        let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        assert!(wrong.iter().any(|one| one.starts_with(expected)), "{to}\nexpected {expected}\nfound {wrong:#?}");
    };
    check("title: An", "titel: An", "x.yaml:2:1: unknown field `titel`");
    check("port: 8000", "port: 80000", "x.yaml:7:7: ");
    check("SIGKILL", "SIGHUP", "x.yaml:16:59: ");
    check("pod-signal", "pod-explode", "x.yaml:16:14: unknown variant `pod-explode`");
    check("max: 60s", "max: 60", "x.yaml:18:20: invalid duration `60`");
    check("max: 60s", "max: 0s", "x.yaml:18:20: the time must be above zero");
    check("max: 60s", "max: 10ms", "x.yaml:18:20: a budget below 60ms cannot be measured");
    check("max: 60s", "max: 61m", "x.yaml:18:20: a budget of 1h 1m would keep the gate open for as long: at most 1h");
    check("from: fault", "from: remedy", "x.yaml:18:31: the budget counts from the remedy, and there is no remedy");
    check(
        "check-failed: ping",
        "check-failed: pong",
        "x.yaml:17:12: the proof names check `pong`; there are `ready`, `ping`",
    );
    let ping = "redis: { of: statefulset/redis } }\nvariants";
    for (check_of, expected) in [
        ("environment: { variable: 1A } }\nvariants", "`1A` can be no variable"),
        ("log: { of: deployment/backend, fields: {} } }\nvariants", "`fields` names none"),
        ("llm-double: { counts: [] } }\nvariants", "`counts` names no counter"),
        ("survival: { target: service, path: /ws, send: {}, end: {} } }\nvariants", "`end` names no key"),
    ] {
        check(ping, check_of, &format!("x.yaml:11:11: {expected}"));
    }
    check(
        "http: { target: each-pod, path: /ready }",
        "log: { of: deployment/backend, fields: { level: ERROR } }",
        "x.yaml:9:11: this check reads a value, which is neither good nor bad",
    );
    check(
        "pod-signal: { of: statefulset/redis, signal: SIGKILL }",
        "llm-double: { answers: quota, lasts: 5s }",
        "x.yaml:16:12: the fault is one of the LLM's double: say `needs: [llm-double]`",
    );
    let killed = "pod-signal: { of: statefulset/redis, signal: SIGKILL }";
    let elsewhere = |need: &str| format!("x.yaml:16:12: the fault is not possible everywhere: say `needs: [{need}]`");
    check(killed, "leak: { of: deployment/backend }", &elsewhere("debug"));
    check(killed, "node: { of: any-worker, does: stop }", &elsewhere("nodes"));
    check(killed, "registry: { during: deployment/backend, lasts: 5s }", &elsewhere("registry"));
    check(killed, "chaos: { kind: TimeChaos, spec: {} }", &elsewhere("chaos-mesh"));
    let killed_whole = "pod-signal: { of: statefulset/redis, signal: SIGKILL } }";
    let needing = |need: &str, fault: &str| format!("{fault} }}\n    needs: [{need}]");
    check(
        killed_whole,
        &needing("nodes", "kubelet: { of: control-plane }"),
        "x.yaml:16:12: the fault is felt in every namespace of the cluster: say `exclusive: true`",
    );
    check(
        killed_whole,
        &needing("nodes", "api-server: { for: 31s }"),
        "x.yaml:16:12: without an API server for more than 30s nodes count as lost",
    );
    check(
        killed_whole,
        &needing("network-policy", "network-cut: { from: statefulset/redis, to: statefulset/redis, lasts: 1s }"),
        "x.yaml:16:12: `statefulset/redis` cannot be cut off from itself",
    );
    check("[{ check-failed: ping }]", "[]", "x.yaml:17:12: a fault without proof can never pass");
    check(
        "    check: { http: { target: each-pod, path: /ready } }\n",
        "    role: proof\n    check: { http: { target: each-pod, path: /ready } }\n",
        "x.yaml:1:7: no check decides about recovery",
    );
    check("name: ping", "name: ready", "x.yaml:11:11: check `ready` stands twice");
    check("name: example", "name: Exa mple", "x.yaml:1:7: `Exa mple` is no name");
    check("deployment/backend", "daemonset/backend", "x.yaml:5:11: invalid workload `daemonset/backend`");
    check(
        "port: 8000",
        "port: 8000\nload: { requests-per-second: 5 }",
        "x.yaml:8:30: load by requests needs the `path`",
    );
    check(
        "port: 8000",
        "port: 8000\nload: { requests-per-second: -5, path: /x }",
        "x.yaml:8:30: requests a second go from 0",
    );
    check("port: 8000", "port: 8000\nload: { sockets: 5, socket-path: ws }", "x.yaml:8:34: `ws` is no path");
    let sockets = |rest: &str| format!("port: 8000\nload: {{ sockets: 5, socket-path: /ws, {rest} }}");
    check("port: 8000", &sockets("sockets-asking: 6"), "x.yaml:8:55: of 5 sockets 6 cannot ask");
    check("port: 8000", &sockets("socket-ping: 10ms"), "x.yaml:8:52: a socket that pings more often");
    check("port: 8000", "port: 8000\nload: { sockets-backing-off: 5 }", "x.yaml:8:30: load by sockets needs");
    check("port: 8000", "port: 8000\nslow: 5s\nhold: never", "x.yaml:9:7: invalid duration `never`");
    check(
        "port: 8000",
        "port: 8000\nsamples-per-pod-second-max: 0",
        "x.yaml:8:29: the number of samples must be above zero",
    );
    check("path: /ready", "path: ready", "x.yaml:9:11: `ready` is no path");
    check(
        "  - name: ready\n",
        "  - name: ready\n    slow: 5s\n    timeout: 4s\n",
        "x.yaml:11:14: a timeout below `slow`",
    );
    check(
        "port: 8000\nchecks:\n  - name: ready\n",
        "port: 8000\nhold: 4s\nchecks:\n  - name: ready\n    cost: high\n",
        "x.yaml:8:7: `hold` (4s) holds too few samples of check `ready`, one every 1",
    );
    let question = |text: &str, end: &str, excuses: &str| {
        let by = format!("chunk: {{ type: c }}, text: {text}, end: {end}, excuses: {excuses}");
        format!("question: {{ target: each-pod, path: /ws, send: {{ type: q }}, answered-by: {{ {by} }} }}")
    };
    let ready = "http: { target: each-pod, path: /ready }";
    check(ready, "sockets: {}", "x.yaml:9:11: the load holds no `sockets` to look at");
    check(ready, "metric: { name: a b }", "x.yaml:9:11: `a b` is no name of a metric");
    check(ready, "metric: { name: a, path: b }", "x.yaml:9:11: `b` is no path");
    check(ready, "metric: { name: a, rule: open-sockets }", "x.yaml:9:11: the load holds no `sockets` that");
    check("check-failed: ping", "sockets-closed: { at-least: 1 }", "x.yaml:17:12: `sockets-closed` wants 1 of the 0");
    check("check-failed: ping", "metric-fell: { check: ping, by: 1 }", "x.yaml:17:12: check `ping` reads no metric");
    check("check-failed: ping", "metric-rose: { check: pong, by: 1 }", "x.yaml:17:12: the proof names check `pong`");
    check(ready, &question("content", "{ type: e }", "[]"), "x.yaml:9:11: `content` is no JSON pointer");
    check(ready, &question("/content", "{}", "[]"), "x.yaml:9:11: `end` names no key");
    check(ready, &question("/content", "{ type: e }", "[' ']"), "x.yaml:9:11: an empty excuse is in every answer");
    check("path: /ready", "path: /ready, status: 0", "x.yaml:9:11: 0 is no HTTP status");
    check(
        "path: /ready",
        "path: /ready, json: { ready: true }",
        "x.yaml:9:11: `ready` is no JSON pointer: write `/ready`",
    );
    check("of: statefulset/redis }", "of: statefulset/redis, port: 0 }", "x.yaml:11:11: no process listens at port 0");
    check("port: 8000", "port: 8000\nhold: 1s", "x.yaml:8:7: `hold` (1s) holds too few samples of check `ready`");
    check("check-failed: ping", "any-of: []", "x.yaml:17:12: `any-of` needs something");
    check(
        "check-failed: ping",
        "any-of: [{ check-failed: ready }]",
        "x.yaml:17:12: check `ready` decides about recovery: a proof needs one with `role: proof`",
    );
    let traffic = "fault: { pod-signal: { of: statefulset/redis, signal: SIGKILL } }";
    check(
        traffic,
        "fault: { traffic: { reset: {} } }",
        "x.yaml:16:12: a `traffic` fault needs the fault proxy: add `through: { proxy: {} }`",
    );
    check(
        traffic,
        "through: { proxy: {} }\n    fault: { traffic: { latency: { by: 0s } } }",
        "x.yaml:17:12: the time must be above zero",
    );
    check(traffic, "fault: { traffic: { reste: {} } }", "x.yaml:16:25: unknown variant `reste`");
    check(traffic, "fault: { traffic: { half-open: { off: live } } }", "x.yaml:16:38: unknown field `off`");
    check(
        traffic,
        "fault: { annotate: { object: ingress/web, key: a b } }",
        "x.yaml:16:12: `a b` is no name of an annotation",
    );
    check(traffic, "fault: { annotate: { object: node/web, key: a } }", "x.yaml:16:34: invalid kind `node`");
    let through = |proxy: &str| format!("port: 8000\nthrough: {{ proxy: {proxy} }}");
    check("port: 8000", &through("{ ingress: hsc-jit, time-scale: 0 }"), "x.yaml:8:51: `time-scale` goes from 1 to");
    check("port: 8000", &through("{ time-scale: 10 }"), "x.yaml:8:33: `time-scale` shortens");
    check("port: 8000", &through("{ ingress: Hsc_Jit }"), "x.yaml:8:30: `Hsc_Jit` is no name of an Ingress");
    let remedy = |step: &str| format!("remedy: [{step}]\n    budget:");
    check("budget:", &remedy("{ run: kubectl get pods }"), "x.yaml:18:21: `kubectl get");
    check(
        "budget:",
        &remedy("{ run: kubectl delete pod redis-0, expect: no-recovery, watch: 5s }"),
        "x.yaml:18:21: the last step of a remedy",
    );
    check(
        "budget:",
        &remedy("{ run: kubectl delete pod a, expect: no-recovery }, { run: kubectl delete pod b }"),
        "x.yaml:18:21: a step that another one follows needs `watch`",
    );
    check(
        "budget:",
        &remedy("{ run: kubectl delete pod a }, { run: kubectl delete pod b }"),
        "x.yaml:18:21: a step that another one follows needs `watch`",
    );
    let again = GOOD[GOOD.find("  - name: killed").unwrap()..].to_owned();
    check(
        "source: RUNBOOK.md }\n",
        &format!("source: RUNBOOK.md }}\n{again}"),
        "x.yaml:19:11: variant `killed` stands twice",
    );
}

#[test]
fn every_error_of_a_file_is_reported_at_once() {
    let wrong =
        plans("x.yaml", &GOOD.replace("60s", "0s").replace("check-failed: ping", "check-failed: pong")).unwrap_err();
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
}

#[test]
fn the_committed_scenarios_are_valid_and_say_what_the_runbook_says() {
    let text = std::fs::read_to_string("../scenarios/redis-lost.yaml").unwrap();
    let plans = plans("scenarios/redis-lost.yaml", &text).unwrap();
    let ids: Vec<_> = plans.iter().map(|plan| plan.id.0.as_str()).collect();
    assert_eq!(ids, ["redis-lost/killed", "redis-lost/deleted", "redis-lost/hung", "redis-lost/gone"]);
    assert!(plans.iter().all(|plan| plan.budget.max == Duration::from_secs(60)));
    let hung = &plans[2];
    assert_eq!(hung.remedy.iter().map(|step| step.expect).collect::<Vec<_>>(), [Expect::NoRecovery, Expect::Recovery]);
    assert_eq!(hung.remedy[0].command.text, "kubectl rollout restart statefulset/redis -n hsc-jit");
}

#[test]
fn the_committed_schema_is_current() {
    let committed = std::fs::read_to_string(Path::new("../scenarios/schema.json")).unwrap();
    assert!(committed == schema(), "`cargo xtask schema > scenarios/schema.json` renews it");
}

#[test]
fn a_variant_needs_what_its_file_needs_and_more() {
    let text = GOOD
        .replace("suites: [quick]\n", "suites: [quick]\nneeds: [llm-double]\n")
        .replace("  - name: killed\n", "  - name: killed\n    needs: [debug, llm-double]\n");
    assert_eq!(plans("x.yaml", &text).unwrap()[0].needs, [Need::LlmDouble, Need::Debug]);
}

#[test]
fn what_needs_a_double_falls_away_where_there_is_none() {
    let check = "  - name: refused\n    role: proof\n    check: { llm-double: { counts: [no-key] } }\nvariants:\n";
    let with = GOOD.replace("variants:\n", check);
    let left = |proof: &str| {
        let text = with.replace("[{ check-failed: ping }]", proof);
        let plan = plans("x.yaml", &text).unwrap().remove(0);
        plan.without(Need::LlmDouble).map(|left| (left.checks.len(), left.proof))
    };
    let failed = || Proof::CheckFailed(CheckName("ping".to_owned()));
    assert_eq!(left("[{ check-failed: ping }]"), Some((2, vec![failed()])));
    assert_eq!(left("[{ grew: refused }, { check-failed: ping }]"), Some((2, vec![failed()])));
    let any = "[{ any-of: [{ grew: refused }, { check-failed: ping }] }]";
    assert_eq!(left(any), Some((2, vec![Proof::AnyOf(vec![failed()])])));
    assert_eq!(left("[{ grew: refused }]"), None, "nothing else proves the fault");
    let whole = GOOD.replace("suites: [quick]\n", "suites: [quick]\nneeds: [llm-double]\n");
    assert_eq!(plans("x.yaml", &whole).unwrap()[0].without(Need::LlmDouble), None);
}
