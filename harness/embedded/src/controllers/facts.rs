//! Facts read off objects: what the controllers' decisions rest on. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::object;

/// The alphabet of generated names: no vowels, nothing that reads as another letter.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// The label that keeps the pods of one Deployment's ReplicaSets apart.
pub(crate) const TEMPLATE_HASH: &str = "pod-template-hash";

/// Which way a share of a count is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Up,
    Down,
}

/// A whole number, or zero where there is none.
pub(crate) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// `spec.replicas`, one where it is absent.
pub(crate) fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// A point in time as the API writes it.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Whole seconds after a time; the time itself where the sum does not fit.
pub(crate) fn seconds_after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

/// A count that is a number or a percentage of `whole`.
pub(crate) fn share(value: &Value, whole: i64, round: Round) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    let hundredfold = percent.unwrap_or(0) * whole;
    match round {
        Round::Up => (hundredfold + 99) / 100,
        Round::Down => hundredfold / 100,
    }
}

/// `metadata.labels`, or null.
pub(crate) fn labels(object: &Value) -> &Value {
    &object["metadata"]["labels"]
}

/// The condition of this type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

/// Whether the pod's containers have ended for good.
pub(crate) fn is_finished(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether the pod is neither finished nor being deleted.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_finished(pod) && !object::is_terminating(pod)
}

/// Whether the pod's `Ready` condition is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    object::condition_is_true(pod, "Ready")
}

/// When a ready pod has been ready for long enough; `None` for one that is not ready.
pub(crate) fn available_at(pod: &Value, min_ready_seconds: i64) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready["status"] == "True")?;
    if min_ready_seconds == 0 {
        return Some(Timestamp::MIN);
    }
    time(&ready["lastTransitionTime"]).map(|since| seconds_after(since, min_ready_seconds))
}

/// An owner reference with `controller: true` that also holds up a foreground deletion.
pub(crate) fn controller_reference(kind: &Kind, owner: &Value) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "name": object::name(owner), "uid": object::uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// The owner references of an object.
pub(crate) fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether the object with this uid is the controller of `object`.
pub(crate) fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    object::controller_of(object).is_some_and(|reference| reference["uid"] == owner["metadata"]["uid"])
}

/// Whether `metadata.finalizers` has this entry.
pub(crate) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

/// Counts as the API shows them: the first `always` of them even at zero, the others only above.
pub(crate) fn counts(always: usize, counts: &[(&str, i64)]) -> Map<String, Value> {
    let shown = counts.iter().enumerate().filter(|(index, (_, count))| *index < always || *count != 0);
    shown.map(|(_, (name, count))| ((*name).to_owned(), json!(count))).collect()
}

/// The template without what the server adds to a copy of it, in a form that can be compared.
pub(crate) fn bare_template(template: &Value) -> Value {
    let mut bare = template.clone();
    drop_nulls(&mut bare);
    if let Some(labels) = bare["metadata"]["labels"].as_object_mut() {
        labels.remove(TEMPLATE_HASH);
    }
    bare
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A stable hash of a pod template, in the alphabet of names (FNV-1a, 32 bits, as decimal digits).
pub(crate) fn template_hash(template: &Value, collisions: i64) -> String {
    let mut bare = bare_template(template);
    bare.sort_all_objects();
    let text = format!("{bare}{}", if collisions == 0 { String::new() } else { collisions.to_string() });
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| letter(usize::from(digit))).collect()
}

/// Five characters for a generated name.
pub(crate) fn suffix(random: &mut fastrand::Rng) -> String {
    (0..5).map(|_| letter(random.usize(..))).collect()
}

fn letter(index: usize) -> char {
    char::from(ALPHABET[index % ALPHABET.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_count() {
        let check = |value: Value, whole, up, down| {
            assert_eq!((share(&value, whole, Round::Up), share(&value, whole, Round::Down)), (up, down), "{value}");
        };
        check(json!(2), 10, 2, 2);
        check(json!("25%"), 4, 1, 1);
        check(json!("25%"), 3, 1, 0);
        check(json!("50%"), 3, 2, 1);
        check(json!("100%"), 3, 3, 3);
        check(json!("0%"), 3, 0, 0);
        check(json!("25%"), 0, 0, 0);
        check(Value::Null, 3, 0, 0);
    }

    #[test]
    fn a_template_hash_ignores_what_copying_adds() {
        let template =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "v1"}]}});
        let hash = template_hash(&template, 0);
        let mut copy = template.clone();
        copy["metadata"]["labels"][TEMPLATE_HASH] = hash.clone().into();
        copy["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(template_hash(&copy, 0), hash);
        assert_ne!(template_hash(&template, 1), hash);
        copy["spec"]["containers"][0]["image"] = "v2".into();
        assert_ne!(template_hash(&copy, 0), hash);
        assert!(hash.bytes().all(|byte| ALPHABET.contains(&byte)), "{hash}");
    }

    #[test]
    fn names_follow_the_seed() {
        let name = |seed| suffix(&mut fastrand::Rng::with_seed(seed));
        assert_eq!(name(7), name(7));
        assert_ne!(name(7), name(8));
        assert_eq!(name(7).len(), 5);
    }
}
