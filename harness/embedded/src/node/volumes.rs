//! A pod's volumes: ConfigMaps and Secrets as files, empty directories, and
//! claimed directories that outlive pods.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::container_init::Mount;
use super::environment::{self, Context};
use super::files::{self, Payload};
use crate::kinds::{self, Kind};
use crate::object::{self, Key};

/// Permissions of projected files where the pod says nothing.
const MODE_DEFAULT: u64 = 0o644;

/// Makes every volume of the pod ready below `dir`, and brings those that follow objects up
/// to date. Safe to repeat.
///
/// # Errors
/// The sentence of the `FailedMount` event, and the volume's name in it.
pub(super) fn set_up(context: &Context<'_>, dir: &Path, claims: &Path) -> Result<(), String> {
    for volume in context.pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let name = object_name(volume);
        one(context, volume, &super::under(dir, name), claims)
            .map_err(|error| format!("MountVolume.SetUp failed for volume \"{name}\" : {error}"))?;
    }
    Ok(())
}

/// Brings volumes that show ConfigMaps or Secrets up to date; what is missing
/// meanwhile leaves the old files.
pub(super) fn refresh(context: &Context<'_>, dir: &Path) {
    for volume in context.pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if let Ok(Some(payload)) = payload(context, volume)
            && let Err(error) = files::show(&super::under(dir, object_name(volume)), &payload, &stamp())
        {
            eprintln!("failed to update volume {}: {error}", object_name(volume));
        }
    }
}

/// Whether the pod has a volume whose files can change.
#[must_use]
pub(super) fn has_changing(pod: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.into_iter().any(|volume| !(volume["configMap"].is_null() && volume["secret"].is_null()))
}

/// What the container mounts: its volume mounts, in the pod's order.
///
/// # Errors
/// A sentence where a mount names no volume.
pub(super) fn mounts(pod: &Value, container: &Value, dir: &Path, claims: &Path) -> Result<Vec<Mount>, String> {
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut mounts = Vec::new();
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let name = object_name(mount);
        let volume = volumes.iter().find(|volume| object_name(volume) == name);
        let volume = volume.ok_or_else(|| format!("volume \"{name}\" is not one of the pod's"))?;
        let source = match claim(volume) {
            Some(claim) => claim_dir(claims, object::namespace(pod), claim),
            None => super::under(dir, name),
        };
        let read_only = mount["readOnly"] == true || volume["persistentVolumeClaim"]["readOnly"] == true;
        let target = mount["mountPath"].as_str().unwrap_or_default();
        mounts.push(Mount { source, target: format!("/{}", target.trim_matches('/')), read_only });
    }
    Ok(mounts)
}

/// Removes the files of a claim that is gone.
pub(super) fn remove_claim(claims: &Path, claim: &Value) {
    files::remove_tree(&claim_dir(claims, object::namespace(claim), object::name(claim)));
}

fn object_name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn claim(volume: &Value) -> Option<&str> {
    volume["persistentVolumeClaim"]["claimName"].as_str()
}

fn claim_dir(claims: &Path, namespace: &str, claim: &str) -> PathBuf {
    super::under(&super::under(claims, namespace), claim)
}

fn one(context: &Context<'_>, volume: &Value, dir: &Path, claims: &Path) -> Result<(), String> {
    if let Some(payload) = payload(context, volume)? {
        return files::show(dir, &payload, &stamp()).map(|_| ()).map_err(|error| error.to_string());
    }
    if !volume["emptyDir"].is_null() {
        return if dir.exists() { Ok(()) } else { open_dir(dir).map_err(|error| error.to_string()) };
    }
    if let Some(name) = claim(volume) {
        let namespace = object::namespace(context.pod);
        return match context.store.get(&Key::new(&kinds::CLAIM, namespace, name)) {
            Some(_) => open_dir(&claim_dir(claims, namespace, name)).map_err(|error| error.to_string()),
            None => Err(format!("persistentvolumeclaim \"{name}\" not found")),
        };
    }
    let kind = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).find(|key| *key != "name");
    Err(format!("volumes of type {} are not supported by the embedded cluster", kind.unwrap_or("unknown")))
}

fn open_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))
}

/// The files of a volume that shows objects; `None` for other kinds of volume.
fn payload(context: &Context<'_>, volume: &Value) -> Result<Option<Payload>, String> {
    let (kind, source, name): (&'static Kind, _, _) = if !volume["configMap"].is_null() {
        (&kinds::CONFIG_MAP, &volume["configMap"], "name")
    } else if !volume["secret"].is_null() {
        (&kinds::SECRET, &volume["secret"], "secretName")
    } else {
        return Ok(None);
    };
    let mut payload = Payload::new();
    let mode = source["defaultMode"].as_u64().unwrap_or(MODE_DEFAULT);
    object_files(context, kind, source[name].as_str().unwrap_or_default(), source, mode, &mut payload)?;
    Ok(Some(payload))
}

fn object_files(
    context: &Context<'_>,
    kind: &'static Kind,
    name: &str,
    source: &Value,
    mode: u64,
    payload: &mut Payload,
) -> Result<(), String> {
    let optional = source["optional"] == true;
    let noun = kind.kind.to_lowercase();
    let Some(found) = context.store.get(&Key::new(kind, object::namespace(context.pod), name)) else {
        return if optional { Ok(()) } else { Err(format!("{noun} \"{name}\" not found")) };
    };
    let mut add = |path: &str, key: &str, mode: u64| {
        let Some(content) = environment::entry(&found, kind, key) else { return false };
        payload.insert(path.to_owned(), (content, u32::try_from(mode & 0o777).unwrap_or(0o644)));
        true
    };
    let Some(items) = source["items"].as_array() else {
        for key in environment::keys(&found) {
            add(&key, &key, mode);
        }
        return Ok(());
    };
    for item in items {
        let (key, path) = (item["key"].as_str().unwrap_or_default(), item["path"].as_str().unwrap_or_default());
        if !add(path, key, item["mode"].as_u64().unwrap_or(mode)) && !optional {
            return Err(format!(
                "{noun} references non-existent {} key: {key}",
                if noun == "secret" { "secret" } else { "config" }
            ));
        }
    }
    Ok(())
}

/// A name for a generation of files, in the kubelet's form.
fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f").to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;
    use crate::store::Store;

    fn store() -> Store {
        let store = Store::new();
        let create = |kind, value: Value| drop(store.create(kind, value).unwrap());
        create(
            &kinds::CONFIG_MAP,
            json!({"metadata": {"name": "m", "namespace": "n"}, "data": {"a.txt": "one", "b": "x"}}),
        );
        create(&kinds::SECRET, json!({"metadata": {"name": "s", "namespace": "n"}, "data": {"k": "dg=="}}));
        create(&kinds::CLAIM, json!({"metadata": {"name": "data", "namespace": "n"}}));
        store
    }

    fn pod(volume: &Value) -> Value {
        let mut volume = volume.clone();
        volume["name"] = "v".into();
        json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"volumes": [volume]}})
    }

    fn set_up_in(dir: &Path, store: &Store, volume: &Value) -> Result<(), String> {
        let pod = pod(volume);
        let address = Ipv4Addr::LOCALHOST;
        let container = Value::Null;
        let context = Context { store, pod: &pod, container: &container, pod_address: address, node_address: address };
        set_up(&context, dir, &dir.join("claims"))
    }

    #[test]
    fn objects_become_files() {
        let rows = [
            (json!({"configMap": {"name": "m"}}), "a.txt", "one", 0o644),
            (json!({"configMap": {"name": "m", "items": [{"key": "b", "path": "d/e"}]}}), "d/e", "x", 0o644),
            (json!({"secret": {"secretName": "s", "defaultMode": 256}}), "k", "v", 0o400),
        ];
        for (volume, path, content, mode) in rows {
            let dir = tempfile::tempdir().unwrap();
            set_up_in(dir.path(), &store(), &volume).unwrap();
            let file = dir.path().join("v").join(path);
            assert_eq!(fs::read_to_string(&file).unwrap(), content, "{volume}");
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, mode, "{volume}");
        }
    }

    // Recorded in 60-pods/612.
    #[test]
    fn what_is_missing_fails_the_mount() {
        let rows = [
            (json!({"configMap": {"name": "nope"}}), "configmap \"nope\" not found"),
            (json!({"secret": {"secretName": "nope"}}), "secret \"nope\" not found"),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}}),
                "configmap references non-existent config key: z",
            ),
            (json!({"persistentVolumeClaim": {"claimName": "nope"}}), "persistentvolumeclaim \"nope\" not found"),
            (json!({"hostPath": {"path": "/"}}), "volumes of type hostPath are not supported by the embedded cluster"),
        ];
        for (volume, expect) in rows {
            let dir = tempfile::tempdir().unwrap();
            let error = set_up_in(dir.path(), &store(), &volume).unwrap_err();
            assert_eq!(error, format!("MountVolume.SetUp failed for volume \"v\" : {expect}"));
        }
        let dir = tempfile::tempdir().unwrap();
        set_up_in(dir.path(), &store(), &json!({"configMap": {"name": "nope", "optional": true}})).unwrap();
    }

    #[test]
    fn mounts_point_into_volumes() {
        let dir = tempfile::tempdir().unwrap();
        set_up_in(dir.path(), &store(), &json!({"configMap": {"name": "m"}})).unwrap();
        let pod = pod(&json!({"configMap": {"name": "m"}}));
        let mount = |extra: Value| {
            let mut mount = json!({"name": "v", "mountPath": "/at/"});
            mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            mounts(&pod, &json!({"volumeMounts": [mount]}), dir.path(), dir.path())
        };
        let whole = mount(json!({"readOnly": true})).unwrap();
        assert_eq!(whole, [Mount { source: dir.path().join("v"), target: "/at".to_owned(), read_only: true }]);
    }

    #[test]
    fn claims_are_shared_by_name_and_outlive_pods() {
        let dir = tempfile::tempdir().unwrap();
        let volume = json!({"persistentVolumeClaim": {"claimName": "data"}});
        set_up_in(dir.path(), &store(), &volume).unwrap();
        let claims = dir.path().join("claims");
        fs::write(claims.join("n/data/file"), "kept").unwrap();
        set_up_in(dir.path(), &store(), &volume).unwrap();
        assert_eq!(fs::read_to_string(claims.join("n/data/file")).unwrap(), "kept");
    }
}
