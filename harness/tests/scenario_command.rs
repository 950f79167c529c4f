//! kubectl command lines as values.

use harness::runbook::command::{Action, Command, CommandError};
use harness::scenario::plan::{WorkloadKind, WorkloadRef};
use proptest::prelude::*;

fn backend() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: "backend".to_owned() }
}

fn redis() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::StatefulSet, name: "redis".to_owned() }
}

#[test]
fn understood() {
    #[track_caller]
    fn check(text: &str, action: &Action, namespace: Option<&str>) {
        let command: Command = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((&command.action, command.namespace.as_deref()), (action, namespace), "{text}");
        assert_eq!(command.to_string(), text.trim(), "the text stays as written");
    }

    let restart = Action::RolloutRestart(redis());
    check("kubectl rollout restart statefulset/redis -n hsc-jit", &restart, Some("hsc-jit"));
    check("kubectl rollout restart statefulset/redis", &restart, None);
    check("  kubectl  rollout restart sts/redis  ", &restart, None);
    check("kubectl rollout restart statefulset redis", &restart, None);
    check("kubectl rollout restart statefulset.apps/redis", &restart, None);
    check("kubectl -n hsc-jit rollout restart statefulset/redis", &restart, Some("hsc-jit"));
    check("kubectl rollout -n=hsc-jit restart statefulset/redis", &restart, Some("hsc-jit"));
    check("kubectl rollout restart -nhsc-jit statefulset/redis", &restart, Some("hsc-jit"));
    check("kubectl rollout restart --namespace hsc-jit statefulset/redis", &restart, Some("hsc-jit"));
    check("kubectl rollout restart --namespace=hsc-jit statefulset/redis", &restart, Some("hsc-jit"));
    check("kubectl rollout restart 'statefulset/redis' -n \"hsc-jit\"", &restart, Some("hsc-jit"));
    check("kubectl rollout restart stateful\\set/redis", &restart, None);

    let scale = |replicas| Action::Scale { workload: backend(), replicas };
    check("kubectl scale deployment/backend -n hsc-jit --replicas=6", &scale(6), Some("hsc-jit"));
    check("kubectl scale --replicas 0 deployment/backend", &scale(0), None);
    check("kubectl scale deploy backend --replicas=3", &scale(3), None);

    let undo = |to_revision| Action::RolloutUndo { workload: backend(), to_revision };
    check("kubectl rollout undo deployment/backend -n hsc-jit", &undo(None), Some("hsc-jit"));
    check("kubectl rollout undo deployment/backend --to-revision=4", &undo(Some(4)), None);
    check("kubectl rollout undo deployment/backend --to-revision=0", &undo(None), None);

    const TIMEOUT: &str = "nginx.ingress.kubernetes.io/proxy-read-timeout";
    let annotate = |object: &str, changes: &[(&str, Option<&str>)], overwrite| Action::Annotate {
        object: object.parse().unwrap(),
        changes: changes.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect(),
        overwrite,
    };
    check(
        "kubectl annotate ingress hsc-jit nginx.ingress.kubernetes.io/proxy-read-timeout=300 --overwrite -n hsc-jit",
        &annotate("ingress/hsc-jit", &[(TIMEOUT, Some("300"))], true),
        Some("hsc-jit"),
    );
    check(
        "kubectl annotate service backend cloud.google.com/neg='{\"ingress\": true}' --overwrite=false",
        &annotate("service/backend", &[("cloud.google.com/neg", Some("{\"ingress\": true}"))], false),
        None,
    );
    check(
        "kubectl annotate ing/hsc-jit --overwrite a- b= c=d=e",
        &annotate("ingress/hsc-jit", &[("a", None), ("b", Some("")), ("c", Some("d=e"))], true),
        None,
    );

    let delete = Action::DeletePod { name: "redis-0".to_owned() };
    check("kubectl delete pod redis-0 -n hsc-jit", &delete, Some("hsc-jit"));
    check("kubectl delete pods redis-0", &delete, None);
    check("kubectl delete pod/redis-0", &delete, None);
    check("kubectl delete po redis-0", &delete, None);

    let rotate = Action::ApplySecret {
        name: "llm-api-key".to_owned(),
        key: "key".to_owned(),
        placeholder: "NEW_API_KEY_HERE".to_owned(),
    };
    // As it stands in the runbook, over four lines and on one.
    let lines = "kubectl create secret generic llm-api-key \\\n  --from-literal=key='NEW_API_KEY_HERE' \\\n  \
                 -n hsc-jit \\\n  --dry-run=client -o yaml | kubectl apply -f -";
    check(lines, &rotate, Some("hsc-jit"));
    check(&lines.replace("\\\n ", ""), &rotate, Some("hsc-jit"));
    check(
        &lines.replace("='NEW_API_KEY_HERE'", "=\"NEW_API_KEY_HERE\"").replace("-o yaml", "--output=json"),
        &rotate,
        Some("hsc-jit"),
    );

    check("the provider answers again", &Action::ProviderAnswersAgain, None);
    check("the registry answers again", &Action::RegistryAnswersAgain, None);
    check("the network is whole again", &Action::NetworkIsWholeAgain, None);
}

#[test]
fn refused_by_name() {
    #[track_caller]
    fn check(text: &str, names: &str) {
        let error = text.parse::<Command>().expect_err(text).to_string();
        assert!(error.contains(names), "{text}: `{error}` does not name `{names}`");
    }

    check("", "not kubectl");
    check("helm rollback backend", "`helm`");
    check("sudo kubectl delete pod redis-0", "`sudo`");
    check("kubectl", "understood are");
    check("kubectl drain node-1", "`kubectl drain`");
    check("kubectl rollout status deployment/backend", "`kubectl rollout status`");
    check("kubectl delete deployment backend", "`kubectl delete deployment`");
    check("kubectl exec -it deployment/redis -n hsc-jit -- redis-cli FLUSHDB", "`kubectl exec`");
    check("kubectl delete pod", "one pod by name");
    check("kubectl delete pod a b", "`pod a b`");
    check("kubectl delete pod <pod-name> -n hsc-jit", "`<` needs a shell");
    check("kubectl delete pod 'redis 0'", "one pod by name");
    check("kubectl delete pod redis-0 --force", "flag `--force` of `kubectl delete pod`");
    check("kubectl delete pod redis-0 --grace-period=0", "`--grace-period`");
    check("kubectl delete pod -l app=redis", "`pod app=redis`");
    check("kubectl delete pod redis-0 -l tier", "`pod redis-0 tier`");
    check("kubectl delete pod redis-0 --to-revision=1", "`--to-revision`");
    check("kubectl --context prod delete pod redis-0", "flag `--context` of `kubectl` is");
    check("kubectl --context=prod delete pod redis-0", "`--context`");
    check("kubectl delete pod redis-0 --context=prod", "flag `--context` of `kubectl delete pod`");
    check("kubectl scale deployment/backend", "needs `--replicas`");
    check("kubectl scale deployment/backend --replicas", "flag `--replicas` needs a value");
    check("kubectl scale deployment/backend --replicas=-1", "flag `--replicas` needs a value");
    check("kubectl scale deployment/backend --replicas=many", "not `many`");
    check("kubectl scale deployment/backend --replicas=1 --replicas=2", "twice");
    check("kubectl scale deployment/a deployment/b --replicas=1", "`deployment/a deployment/b`");
    check("kubectl scale job/backup --replicas=1", "`job/backup`");
    check("kubectl scale deployment/ --replicas=1", "`deployment/`");
    check("kubectl rollout restart -n", "needs a value, not ``");
    check("kubectl rollout restart deployment/backend -n a --namespace=b", "twice");
    check("kubectl rollout undo deployment/backend --to-revision=<N>", "`<` needs a shell");
    check("kubectl annotate ingress hsc-jit", "at least one `KEY=VALUE`");
    check("kubectl annotate ingress a b c=d", "`ingress a b`");
    check("kubectl annotate node gameday a=b", "`node gameday`");
    check("kubectl annotate ingress web a=b a-", "each once, not `a-`");
    check("kubectl annotate ingress web a=b c", "such as `KEY=VALUE` or `KEY-`, each once, not `c`");
    check("kubectl annotate ingress web a=b --overwrite=yes", "flag `--overwrite` needs `true` or `false`, not `yes`");
    check("kubectl annotate ingress web a=b --all", "flag `--all` of `kubectl annotate ingress`");
    check("kubectl get pods | grep redis", "`|`");
    check("kubectl delete pod redis-0 && echo done", "`&`");
    check("kubectl delete pod $POD", "`$`");
    check("kubectl delete pod \"$POD\"", "`$`");
    check("kubectl delete pod 'redis-0", "does not end");
    check("kubectl delete pod redis-0 \\", "backslash");
    check("kubectl delete pod redis-0 # the broken one", "`#`");
    check("kubectl delete pod redis-0 | kubectl apply -f -", "`kubectl delete pod redis-0`");
    check("kubectl delete pod redis-0 || kubectl apply -f -", "`|` needs a shell");
    check("kubectl delete pod redis-0 |", "`|` needs a shell");
    let create = "kubectl create secret generic a --from-literal=key=A_KEY --dry-run=client -o yaml";
    check(create, "`kubectl create`");
    check(&format!("{create} | kubectl replace -f -"), "`|` needs a shell");
    check(&format!("{create} | kubectl apply -f - --force"), "`|` needs a shell");
    check(&format!("{create} --append-hash | kubectl apply -f -"), "`--append-hash`");
    for (from, to, names) in [
        (" --dry-run=client", "", "needs `--dry-run=client`"),
        ("=client", "=server", "needs `--dry-run=client`"),
        (" -o yaml", "", "needs `-o yaml`"),
        (" --from-literal=key=A_KEY", "", "needs `--from-literal`"),
        ("generic a", "generic a b", "one Secret by name, not `a b`"),
        ("secret generic", "configmap", "`kubectl create configmap a`"),
        ("A_KEY", "hunter2", "the value of `key` stands in clear"),
    ] {
        let wrong = format!("{} | kubectl apply -f -", create.replace(from, to));
        check(&wrong, names);
        assert!(!wrong.parse::<Command>().unwrap_err().to_string().contains("hunter2"), "a value is not shown");
    }
}

#[test]
fn the_error_says_which_it_is() {
    let error = "kubectl scale deployment/backend".parse::<Command>();
    assert_eq!(error, Err(CommandError::Absent { verb: "scale", flag: "--replicas" }));
}

fn action() -> impl Strategy<Value = Action> {
    let name = "[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?";
    let kind = prop_oneof![Just(WorkloadKind::Deployment), Just(WorkloadKind::StatefulSet)];
    let workload = (kind, name).prop_map(|(kind, name)| WorkloadRef { kind, name });
    prop_oneof![
        workload.clone().prop_map(Action::RolloutRestart),
        (workload.clone(), proptest::option::of(1_u64..))
            .prop_map(|(workload, to_revision)| Action::RolloutUndo { workload, to_revision }),
        (workload, any::<u32>()).prop_map(|(workload, replicas)| Action::Scale { workload, replicas }),
        name.prop_map(|name| Action::DeletePod { name }),
        (
            proptest::collection::btree_map(
                "[a-z]{1,5}(/[A-Za-z]{1,5})?",
                proptest::option::of("[a-z0-9=:-]{0,6}"),
                1..3
            ),
            any::<bool>()
        )
            .prop_map(|(changes, overwrite)| Action::Annotate {
                object: "ingress/web".parse().expect("it is an object"),
                changes,
                overwrite
            }),
        (name, "[a-z.]{1,9}", "[A-Z]{1,5}(_[A-Z]{1,5}){1,3}")
            .prop_map(|(name, key, placeholder)| Action::ApplySecret { name, key, placeholder }),
    ]
}

proptest! {
    #[test]
    fn text_and_value_are_one(action in action(), namespace in proptest::option::of("[a-z][a-z0-9-]{0,8}[a-z0-9]")) {
        let command = Command::new(action, namespace);
        let read: Command = command.to_string().parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!(&read, &command);
        let json = serde_json::to_string(&command).unwrap();
        prop_assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), command);
    }

    #[test]
    fn flags_may_stand_anywhere(action in action(), place in 0_usize..6) {
        let plain = Command::new(action, None);
        let mut words: Vec<&str> = plain.text.split(' ').collect();
        words.insert(1 + place.min(words.len() - 1), "--namespace=hsc-jit");
        let read: Command = words.join(" ").parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!((read.action, read.namespace.as_deref()), (plain.action, Some("hsc-jit")));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(kubectl )?[ -~]{0,40}") {
        if let Ok(command) = text.parse::<Command>() {
            prop_assert!(command.text.starts_with("kubectl "));
        }
    }
}
