//! What a process finds inside its container.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::objects::{IDLE, config_map, container, pod, pod_spec, script_pod};
use crate::place::{Not, Outcome, Place, is, is_ready, restarts, within};

async fn settings(place: &Place) -> Outcome {
    place.make::<ConfigMap>(config_map("settings", json!({ "a": "1", "b": "two" }))).await?;
    place.make::<Secret>(json!({ "metadata": { "name": "keys" }, "stringData": { "key": "secret" } })).await?;
    Ok(())
}

async fn printed(place: &Place, script: &str, expected: &str) -> Outcome {
    let said = place.sh("one", script).await?;
    is(script, (said.stdout.trim(), said.code), (expected, 0))
}

/// Variables come as values, from ConfigMaps and Secrets, one by one and all at once.
pub(crate) async fn environment_comes_from_where_it_says(place: Place) -> Outcome {
    settings(&place).await?;
    let mut main = container(&place, IDLE);
    main["envFrom"] = json!([{ "configMapRef": { "name": "settings" }, "prefix": "ALL_" }]);
    main["env"] = json!([
        { "name": "PLAIN", "value": "p" },
        { "name": "MAPPED", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "b" } } },
        { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "key" } } },
        { "name": "ABSENT", "valueFrom": { "secretKeyRef": { "name": "none", "key": "key", "optional": true } } },
    ]);
    place.ready_pod(pod("one", pod_spec(main))).await?;
    printed(&place, "echo $ALL_a $PLAIN $MAPPED $SECRET ${ABSENT-unset}", "1 p two secret unset").await
}

/// `$(NAME)` stands for what was said before, and `$$` for a dollar.
pub(crate) async fn variables_expand_in_order(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    main["env"] = json!([
        { "name": "A", "value": "1" },
        { "name": "B", "value": "$(A)-$(C)-$$(A)" },
        { "name": "C", "value": "3" },
    ]);
    main["args"] = json!(["ignored", "$(A)"]);
    main["command"] = json!(["sh", "-c", format!("echo \"$1\" > /tmp/arguments; {IDLE}")]);
    place.ready_pod(pod("one", pod_spec(main))).await?;
    printed(&place, "echo \"$B\"", "1-$(C)-$(A)").await?;
    printed(&place, "cat /tmp/arguments", "1").await
}

fn with_volumes(mut main: Value, mounts: Value, volumes: Value) -> Value {
    main["volumeMounts"] = mounts;
    let mut spec = pod_spec(main);
    spec["volumes"] = volumes;
    pod("one", spec)
}

/// ConfigMaps and Secrets are files where they are mounted.
pub(crate) async fn volumes_hold_settings(place: Place) -> Outcome {
    settings(&place).await?;
    let object = with_volumes(
        container(&place, IDLE),
        json!([{ "name": "settings", "mountPath": "/etc/settings" }, { "name": "keys", "mountPath": "/etc/keys", "readOnly": true }]),
        json!([
            { "name": "settings", "configMap": { "name": "settings", "items": [{ "key": "b", "path": "deep/b" }] } },
            { "name": "keys", "secret": { "secretName": "keys" } },
        ]),
    );
    place.ready_pod(object).await?;
    printed(&place, "cat /etc/settings/deep/b", "two").await?;
    printed(&place, "ls /etc/settings", "deep").await?;
    printed(&place, "cat /etc/keys/key", "secret").await?;
    let written = place.sh("one", "echo x > /etc/keys/key").await?;
    is("writing to it fails", written.code != 0, true)
}

/// A changed ConfigMap reaches its files without a restart.
pub(crate) async fn a_changed_setting_reaches_its_volume(place: Place) -> Outcome {
    settings(&place).await?;
    let object = with_volumes(
        container(&place, IDLE),
        json!([{ "name": "settings", "mountPath": "/etc/settings" }]),
        json!([{ "name": "settings", "configMap": { "name": "settings" } }]),
    );
    place.ready_pod(object).await?;
    place.merge::<ConfigMap>("settings", json!({ "data": { "a": "changed" } })).await?;
    within("the file has changed", async || {
        let said = place.sh("one", "cat /etc/settings/a").await.map_err(|error| Not(error.to_string()))?;
        if said.stdout == "changed" { Ok(()) } else { Err(Not(said.stdout)) }
    })
    .await
}

/// An empty directory is shared by the pod's containers and outlives their restarts.
pub(crate) async fn an_empty_directory_lives_as_long_as_the_pod(place: Place) -> Outcome {
    let script = "date >> /state/starts; sleep 1000 & wait $!; exit 1";
    let object = with_volumes(
        container(&place, script),
        json!([{ "name": "state", "mountPath": "/state" }]),
        json!([{ "name": "state", "emptyDir": {} }]),
    );
    place.ready_pod(object).await?;
    place.sh("one", "touch /gone; kill $(pidof sleep)").await?;
    place.until("one", "it is restarted", |pod: &Pod| restarts(pod) == 1 && is_ready(pod)).await?;
    printed(&place, "wc -l < /state/starts", "2").await?;
    printed(&place, "test -f /gone; echo $?", "1").await
}

/// The downward API tells a pod its name, its namespace and its address.
pub(crate) async fn the_downward_api_names_the_pod(place: Place) -> Outcome {
    let mut main = container(&place, IDLE);
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    main["env"] = json!([
        field("NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("ADDRESS", "status.podIP"),
        field("LABEL", "metadata.labels['app']"),
    ]);
    let made = place.ready_pod(pod("one", pod_spec(main))).await?;
    let address = made.status.and_then(|status| status.pod_ip).unwrap_or_default();
    is("it has an address", address.is_empty(), false)?;
    let expected = format!("one {} {address} one", place.namespace);
    printed(&place, "echo $NAME $NAMESPACE $ADDRESS $LABEL", &expected).await
}

/// Exec keeps the two outputs apart and brings the exit code.
pub(crate) async fn exec_tells_streams_and_code(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", IDLE)).await?;
    let said = place.sh("one", "echo out; echo err >&2; exit 42").await?;
    is("stdout", said.stdout.as_str(), "out\n")?;
    is("stderr", said.stderr.as_str(), "err\n")?;
    is("code", said.code, 42)
}

/// A program that is not there is an error, not a silent success.
pub(crate) async fn exec_of_a_missing_program_fails(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", IDLE)).await?;
    match place.exec("one", &["no-such-program"]).await {
        Ok(said) => is("it did not succeed", said.code != 0, true),
        Err(_) => Ok(()),
    }
}

/// A container's program is process 1 of its own, and sees no other pod's processes.
pub(crate) async fn the_first_process_is_number_one(place: Place) -> Outcome {
    place.ready_pod(script_pod(&place, "one", "echo mark-of-mine > /dev/null; exec sleep 12345")).await?;
    place.ready_pod(script_pod(&place, "two", "exec sleep 54321")).await?;
    printed(&place, "tr '\\0' ' ' < /proc/1/cmdline", "sleep 12345").await?;
    printed(&place, "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[5]4321'; true", "0").await
}

/// A pod's host name is its own name.
pub(crate) async fn hosts_have_their_own_names(place: Place) -> Outcome {
    let made = place.ready_pod(script_pod(&place, "one", IDLE)).await?;
    printed(&place, "hostname", &made.name_any()).await?;
    printed(&place, "cat /etc/hostname", "one").await
}
