//! The pods behind a Service, from its EndpointSlices: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;

/// The label of a slice that names its Service.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A pod that a Service leads to now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend {
    /// Its name.
    pub(super) pod: String,
    /// The port on it.
    pub(super) port: u16,
}

/// A Service's slices, as a watch shows them.
#[derive(Debug, Default)]
pub(super) struct Slices {
    known: BTreeMap<String, Vec<Backend>>,
    /// The listing that is being read, where one is.
    listing: Option<BTreeMap<String, Vec<Backend>>>,
}

impl Slices {
    /// Takes in an event of the watch; returns the pods where they are wholly known.
    pub(super) fn take_in(&mut self, event: Event<EndpointSlice>) -> Option<Vec<Backend>> {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                return None;
            }
            Event::InitApply(slice) => {
                self.listing.get_or_insert_default().insert(name(&slice), ready(&slice));
                return None;
            }
            Event::InitDone => self.known = self.listing.take().unwrap_or_default(),
            Event::Apply(slice) => {
                self.known.insert(name(&slice), ready(&slice));
            }
            Event::Delete(slice) => {
                self.known.remove(&name(&slice));
            }
        }
        let mut pods: Vec<Backend> = self.known.values().flatten().cloned().collect();
        pods.sort();
        pods.dedup();
        Some(pods)
    }
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

/// The ready pods of a slice, at its first port: the one of the Service's first port.
fn ready(slice: &EndpointSlice) -> Vec<Backend> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let Some(port) = ports.iter().find_map(|port| u16::try_from(port.port?).ok()) else { return Vec::new() };
    let endpoints = slice.endpoints.as_deref().unwrap_or_default().iter();
    // What does not say whether it is ready counts as such, as the API's documentation has it.
    let ready = endpoints.filter(|one| one.conditions.as_ref().and_then(|has| has.ready).unwrap_or(true));
    let targets = ready.filter_map(|one| one.target_ref.as_ref());
    targets
        .filter(|target| target.kind.as_deref() == Some("Pod"))
        .filter_map(|target| Some(Backend { pod: target.name.clone()?, port }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(name: &str, pods: &[(&str, Option<bool>)]) -> EndpointSlice {
        let endpoint = |(pod, ready): &(&str, Option<bool>)| json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": pod}});
        serde_json::from_value(json!({
            "metadata": {"name": name}, "addressType": "IPv4", "ports": [{"name": "http", "port": 8000}],
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn the_ready_pods_of_all_slices_are_behind_the_service() {
        let mut slices = Slices::default();
        let mut check = |event: Event<EndpointSlice>, expect: Option<&[&str]>| {
            let pods = slices.take_in(event).map(|pods| pods.into_iter().map(|one| one.pod).collect::<Vec<_>>());
            let pods: Option<Vec<&str>> = pods.as_ref().map(|pods| pods.iter().map(String::as_str).collect());
            assert_eq!(pods.as_deref(), expect);
        };
        check(Event::Init, None);
        check(Event::InitApply(slice("one", &[("b", Some(true)), ("a", None), ("c", Some(false))])), None);
        check(Event::InitDone, Some(&["a", "b"]));
        check(Event::Apply(slice("two", &[("d", Some(true)), ("a", Some(true))])), Some(&["a", "b", "d"]));
        check(Event::Apply(slice("one", &[("b", Some(false))])), Some(&["a", "d"]));
        check(Event::Delete(slice("two", &[])), Some(&[]));
        // The watch was cut: until the new listing is whole, what was known holds.
        check(Event::Init, None);
        check(Event::InitApply(slice("one", &[("e", Some(true))])), None);
        check(Event::InitDone, Some(&["e"]));
    }

    #[test]
    fn what_is_no_pod_or_has_no_port_cannot_be_forwarded_to() {
        let no_port: EndpointSlice =
            serde_json::from_value(json!({"metadata": {}, "addressType": "IPv4", "endpoints": []})).unwrap();
        let mut external = slice("one", &[("a", Some(true))]);
        external.endpoints.as_mut().unwrap()[0].target_ref = None;
        assert_eq!((ready(&no_port), ready(&external)), (Vec::new(), Vec::new()));
    }
}
