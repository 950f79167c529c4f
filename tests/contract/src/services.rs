//! Services, endpoints and names.

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::objects::{IDLE, WEB, container, deployment, pod, pod_spec, ready_by_file, script_pod, service};
use crate::place::{Not, Outcome, Place, is, is_ready, within};

async fn endpoints(place: &Place) -> Result<Vec<Endpoint>, Not> {
    let chosen = ListParams::default().labels("kubernetes.io/service-name=one");
    let slices = place.api::<EndpointSlice>().list(&chosen).await?;
    Ok(slices.items.into_iter().flat_map(|slice| slice.endpoints.into_iter().flatten()).collect())
}

/// Target name and readiness of each endpoint.
async fn readiness(place: &Place) -> Result<Vec<(String, bool)>, Not> {
    let mut found: Vec<_> = endpoints(place)
        .await?
        .into_iter()
        .map(|one| {
            let name = one.target_ref.and_then(|target| target.name).unwrap_or_default();
            (name, one.conditions.and_then(|conditions| conditions.ready).unwrap_or(false))
        })
        .collect();
    found.sort();
    Ok(found)
}

async fn eventually_ready(place: &Place, expected: &[(&str, bool)]) -> Outcome {
    let expected: Vec<_> = expected.iter().map(|(name, ready)| ((*name).to_owned(), *ready)).collect();
    within(&format!("endpoints are {expected:?}"), async || {
        let seen = readiness(place).await?;
        if seen == expected { Ok(()) } else { Err(Not(format!("{seen:?}"))) }
    })
    .await
}

fn web(place: &Place, name: &str) -> Value {
    let mut object = script_pod(place, name, WEB);
    object["metadata"]["labels"] = json!({ "app": "one" });
    object["spec"]["containers"][0]["readinessProbe"] = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
    object
}

/// What a client pod gets from an address.
async fn fetched(place: &Place, address: &str, expected: &str) -> Outcome {
    within(&format!("{address} answers {expected}"), async || {
        let said = place.sh("client", &format!("timeout 2 wget -q -O - http://{address}/")).await;
        match said {
            Ok(said) if said.code == 0 && said.stdout.trim() == expected => Ok(()),
            Ok(said) => Err(Not(format!("{said:?}"))),
            Err(error) => Err(Not(error.to_string())),
        }
    })
    .await
}

/// A pod that is not ready is an endpoint that is not ready.
pub(crate) async fn only_ready_pods_are_ready_endpoints(place: Place) -> Outcome {
    place.make::<Service>(service("one")).await?;
    let mut object = pod("a", pod_spec(ready_by_file(container(&place, IDLE))));
    object["metadata"]["labels"] = json!({ "app": "one" });
    place.make::<Pod>(object).await?;
    eventually_ready(&place, &[("a", false)]).await?;
    place.sh("a", "touch /tmp/ready").await?;
    eventually_ready(&place, &[("a", true)]).await?;
    place.sh("a", "rm /tmp/ready").await?;
    eventually_ready(&place, &[("a", false)]).await
}

/// A pod that is being deleted is no ready endpoint, though it still serves.
pub(crate) async fn a_terminating_pod_leaves_at_once(place: Place) -> Outcome {
    place.make::<Service>(service("one")).await?;
    let mut object = web(&place, "a");
    object["spec"]["terminationGracePeriodSeconds"] = json!(8);
    place.ready_pod(object).await?;
    eventually_ready(&place, &[("a", true)]).await?;
    place.api::<Pod>().delete("a", &DeleteParams::default()).await?;
    within("it is terminating, serving, and not ready", async || {
        let seen = endpoints(&place).await?;
        let conditions = seen.first().and_then(|one| one.conditions.clone());
        let conditions = conditions.ok_or_else(|| Not("no endpoint".to_owned()))?;
        let told = (conditions.ready, conditions.serving, conditions.terminating);
        if told == (Some(false), Some(true), Some(true)) { Ok(()) } else { Err(Not(format!("{told:?}"))) }
    })
    .await
}

/// A Service's name leads to its pods, short and in full.
pub(crate) async fn names_lead_to_services(place: Place) -> Outcome {
    place.make::<Service>(service("one")).await?;
    place.ready_pod(web(&place, "a")).await?;
    place.ready_pod(script_pod(&place, "client", IDLE)).await?;
    fetched(&place, "one", "a").await?;
    fetched(&place, &format!("one.{}.svc.cluster.local", place.namespace), "a").await
}

/// A pod that starts after a Service knows its address from its environment.
pub(crate) async fn the_environment_names_services(place: Place) -> Outcome {
    let made: Service = place.make(service("one")).await?;
    let address = made.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
    // The node learns of Services a moment after they are made.
    within("a new pod knows it", async || {
        let name = format!("client-{}", fastrand::u16(..));
        let object = script_pod(&place, &name, IDLE);
        place.ready_pod(object).await.map_err(|error| Not(error.to_string()))?;
        let said = place.sh(&name, "echo $ONE_SERVICE_HOST:$ONE_SERVICE_PORT").await;
        let seen = said.map_err(|error| Not(error.to_string()))?.stdout;
        if seen.trim() == format!("{address}:80") { Ok(()) } else { Err(Not(seen)) }
    })
    .await
}

/// A Service without ready pods refuses at once.
pub(crate) async fn a_service_without_pods_refuses(place: Place) -> Outcome {
    place.make::<Service>(service("one")).await?;
    place.ready_pod(script_pod(&place, "client", IDLE)).await?;
    within("it refuses", async || {
        let said =
            place.sh("client", "timeout 5 wget -q -O - http://one/").await.map_err(|error| Not(error.to_string()))?;
        if said.stderr.contains("refused") { Ok(()) } else { Err(Not(format!("{said:?}"))) }
    })
    .await
}

/// The name of a headless Service leads to the pods themselves.
pub(crate) async fn headless_names_lead_to_pods(place: Place) -> Outcome {
    let mut headless = service("one");
    headless["spec"]["clusterIP"] = json!("None");
    place.make::<Service>(headless).await?;
    place.ready_pod(web(&place, "a")).await?;
    place.ready_pod(script_pod(&place, "client", IDLE)).await?;
    fetched(&place, "one:8080", "a").await
}

/// A NodePort is given from its range, and kept through changes.
pub(crate) async fn node_ports_are_given_and_kept(place: Place) -> Outcome {
    let mut object = service("one");
    object["spec"]["type"] = json!("NodePort");
    let made: Service = place.make(object).await?;
    let port = |service: &Service| {
        service.spec.as_ref().and_then(|spec| spec.ports.as_ref()?.first()?.node_port).unwrap_or_default()
    };
    let given = port(&made);
    is("its range", (30_000..32_768).contains(&given), true)?;
    let patched: Service = place.merge("one", json!({ "metadata": { "labels": { "x": "1" } } })).await?;
    is("kept", port(&patched), given)
}

/// Connections to a Service are spread over its pods.
pub(crate) async fn traffic_is_spread(place: Place) -> Outcome {
    place.make::<Service>(service("one")).await?;
    let mut main = container(&place, WEB);
    main["readinessProbe"] = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
    place.make::<Deployment>(deployment("one", 2, pod_spec(main))).await?;
    place.ready_pod(script_pod(&place, "client", IDLE)).await?;
    within("both pods are ready", async || {
        let pods = place.pods("app=one").await.map_err(|error| Not(error.to_string()))?;
        if pods.iter().filter(|pod| is_ready(pod)).count() == 2 { Ok(()) } else { Err(Not(format!("{}", pods.len()))) }
    })
    .await?;
    let names: Vec<_> = place.pods("app=one").await?.iter().map(ResourceExt::name_any).collect();
    within("both answer", async || {
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do timeout 2 wget -q -O - http://one/; done";
        let said = place.sh("client", script).await.map_err(|error| Not(error.to_string()))?;
        let missing = names.iter().find(|name| !said.stdout.contains(name.as_str()));
        missing.map_or(Ok(()), |name| Err(Not(format!("{name} did not answer: {}", said.stdout))))
    })
    .await
}
