//! Objects in memory: one resource version for all, atomic changes, a bounded
//! history that watches read from.
//!
//! The store knows nothing of kinds' meanings: defaults, validation, deletion
//! rules and finalizers stand above it. A change happens under one lock, so a
//! closure given to [`Store::update`] sees the newest object and never conflicts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::kinds::Kind;
use crate::object::{self, Key};
use crate::status::Status;

/// How many changes a watch can fall behind before it is told 410 Expired.
pub const HISTORY_MAX: usize = 10_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the object is its last state, at a newer resource version.
    Deleted,
}

/// One change, in order of its resource version.
#[derive(Debug, Clone)]
pub struct Change {
    /// The resource version this change made.
    pub version: u64,
    /// The kind of the object.
    pub kind: &'static Kind,
    /// What happened.
    pub verb: Verb,
    /// The object after the change (for `Deleted`: its last state).
    pub object: Arc<Value>,
    /// The object before it, absent for `Added`.
    pub previous: Option<Arc<Value>>,
}

/// The history no longer reaches back to the requested resource version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Expired {
    /// The version asked for.
    pub asked: u64,
    /// The oldest version still known.
    pub oldest: u64,
}

/// The objects of a cluster. Clones share the same objects.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    version: u64,
    objects: BTreeMap<(&'static str, &'static str, String, String), Arc<Value>>,
    history: VecDeque<Change>,
    forgotten: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store at resource version 1.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner { version: 1, objects: BTreeMap::new(), history: VecDeque::new(), forgotten: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), version: watch::Sender::new(1) }
    }

    /// The newest resource version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// The object at this key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().objects.get(&index(key)).cloned()
    }

    /// All objects of a kind, in one namespace or in all, by namespace and name,
    /// with the resource version at which the list was taken.
    #[must_use]
    pub fn list(&self, kind: &'static Kind, namespace: Option<&str>) -> (Vec<Arc<Value>>, u64) {
        let inner = self.lock();
        (inner.range(kind, namespace), inner.version)
    }

    /// A second store with the same objects: what happens there is not seen here.
    /// A dry run works on one.
    #[must_use]
    pub fn fork(&self) -> Self {
        let inner = self.lock();
        let version = inner.version;
        let copy = Inner { version, objects: inner.objects.clone(), history: VecDeque::new(), forgotten: version };
        Self { inner: Arc::new(Mutex::new(copy)), version: watch::Sender::new(version) }
    }

    /// Adds an object; sets kind, apiVersion, uid, creationTimestamp and resourceVersion where absent.
    ///
    /// # Errors
    /// `AlreadyExists` where the key is taken.
    pub fn create(&self, kind: &'static Kind, mut object: Value) -> Result<Arc<Value>, Status> {
        let mut inner = self.lock();
        let key = Key::of(kind, &object);
        if let Some(existing) = inner.objects.get(&index(&key)) {
            if object::is_terminating(existing) {
                let mut status = Status::already_exists(kind, &key.name);
                status.message = format!("object is being deleted: {}", status.message);
                return Err(status);
            }
            return Err(Status::already_exists(kind, &key.name));
        }
        if let Some(fields) = object.as_object_mut() {
            fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
            fields.entry("kind").or_insert_with(|| kind.kind.into());
        }
        let metadata = object["metadata"].as_object_mut().expect("an object with a name has metadata");
        metadata.entry("uid").or_insert_with(|| new_uid().into());
        metadata.entry("creationTimestamp").or_insert_with(|| object::timestamp().into());
        if kind.has_generation {
            metadata.entry("generation").or_insert_with(|| json!(1));
        }
        Ok(inner.put(&self.version, kind, &key, object, Verb::Added, None))
    }

    /// Changes the object at this key by a closure that sees its newest state.
    ///
    /// A closure that changes nothing keeps the resource version and sends no event.
    /// The caller counts `metadata.generation`. When the closure leaves an object
    /// that is being deleted without finalizers and with a grace of zero (or none
    /// recorded), the caller removes it with [`Store::remove`].
    ///
    /// # Errors
    /// `NotFound`, or what the closure returns; the object is then unchanged.
    pub fn update(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Value) -> Result<(), Status>,
    ) -> Result<Arc<Value>, Status> {
        let mut inner = self.lock();
        let Some(before) = inner.objects.get(&index(key)).cloned() else {
            return Err(Status::not_found(key.kind, &key.name));
        };
        let mut after = Value::clone(&before);
        change(&mut after)?;
        if after == *before {
            return Ok(before);
        }
        Ok(inner.put(&self.version, key.kind, key, after, Verb::Modified, Some(before)))
    }

    /// Takes the object out, whatever its finalizers say; `None` where it is not there.
    pub fn remove(&self, key: &Key) -> Option<Arc<Value>> {
        let mut inner = self.lock();
        let before = inner.objects.remove(&index(key))?;
        let last = Value::clone(&before);
        let last = inner.record(&self.version, key.kind, last, Verb::Deleted, Some(before));
        Some(last)
    }

    /// Every change after `version`, oldest first.
    ///
    /// # Errors
    /// [`Expired`] where the history no longer reaches back that far.
    pub fn changes_since(&self, version: u64) -> Result<Vec<Change>, Expired> {
        let inner = self.lock();
        if version < inner.forgotten {
            return Err(Expired { asked: version, oldest: inner.forgotten });
        }
        let first = inner.history.partition_point(|change| change.version <= version);
        Ok(inner.history.range(first..).cloned().collect())
    }

    /// Waits until the newest resource version is above `version`. Cancel safe.
    pub async fn changed_after(&self, version: u64) {
        let mut newest = self.version.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = newest.wait_for(|now| *now > version).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A closure that panicked worked on a copy, so the objects are whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn range(&self, kind: &'static Kind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let namespace = namespace.unwrap_or_default();
        let from = (kind.group, kind.plural, namespace.to_owned(), String::new());
        self.objects
            .range(from..)
            .take_while(|((group, plural, ns, _), _)| {
                *group == kind.group && *plural == kind.plural && (namespace.is_empty() || ns == namespace)
            })
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    fn put(
        &mut self,
        newest: &watch::Sender<u64>,
        kind: &'static Kind,
        key: &Key,
        object: Value,
        verb: Verb,
        previous: Option<Arc<Value>>,
    ) -> Arc<Value> {
        let object = self.record(newest, kind, object, verb, previous);
        self.objects.insert(index(key), Arc::clone(&object));
        object
    }

    fn record(
        &mut self,
        newest: &watch::Sender<u64>,
        kind: &'static Kind,
        mut object: Value,
        verb: Verb,
        previous: Option<Arc<Value>>,
    ) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        self.history.push_back(Change { version: self.version, kind, verb, object: Arc::clone(&object), previous });
        if self.history.len() > HISTORY_MAX
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.version;
        }
        newest.send_replace(self.version);
        object
    }
}

fn index(key: &Key) -> (&'static str, &'static str, String, String) {
    (key.kind.group, key.kind.plural, key.namespace.clone(), key.name.clone())
}

/// A random version 4 UUID.
#[must_use]
pub fn new_uid() -> String {
    let bits = (fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kinds::CONFIG_MAP;

    /// Writes, or removes where `value` is zero, one of a few objects in two namespaces.
    fn touch(store: &Store, place: u8, value: u8) {
        let key = Key::new(&CONFIG_MAP, if place.is_multiple_of(2) { "a" } else { "b" }, &format!("m{place}"));
        let object = json!({"metadata": {"name": key.name, "namespace": key.namespace}, "data": {"v": value}});
        let change = |now: &mut Value| {
            now["data"]["v"] = value.into();
            Ok(())
        };
        match (value, store.get(&key)) {
            (0, _) => _ = store.remove(&key),
            (_, None) => _ = store.create(&CONFIG_MAP, object).unwrap(),
            (_, Some(_)) => _ = store.update(&key, change).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn versions_grow_with_each_change_and_only_then(steps in proptest::collection::vec((0..3u8, 0..3u8), 0..40)) {
            let store = Store::new();
            for (place, value) in steps {
                let (before, version) = store.list(&CONFIG_MAP, None);
                touch(&store, place, value);
                let changed = store.list(&CONFIG_MAP, None).0 != before;
                prop_assert_eq!(store.version() > version, changed);
                prop_assert_eq!(store.changes_since(version).unwrap().len(), usize::from(changed));
            }
        }
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let store = Store::new();
        touch(&store, 0, 1);
        let fork = store.fork();
        touch(&fork, 0, 2);
        touch(&fork, 1, 1);
        assert_eq!(store.list(&CONFIG_MAP, None).0.len(), 1);
        assert_eq!(store.list(&CONFIG_MAP, None).0[0]["data"]["v"], 1);
        assert_eq!(fork.list(&CONFIG_MAP, None).0.len(), 2);
    }

    #[test]
    fn a_change_that_panics_leaves_the_store_whole() {
        let store = Store::new();
        touch(&store, 0, 1);
        let key = Key::new(&CONFIG_MAP, "a", "m0");
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            store.update(&key, |object| {
                object["data"] = Value::Null;
                panic!("in the middle of a change")
            })
        }));
        assert!(broken.is_err());
        assert_eq!(store.get(&key).unwrap()["data"]["v"], 1);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_next_change() {
        let store = Store::new();
        let version = store.version();
        let waiting = store.changed_after(version);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        touch(&store, 0, 1);
        waiting.await;
    }
}
