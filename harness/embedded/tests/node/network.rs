//! Pods reach each other through Services, and we reach them through node ports.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::support::{Cluster, DEADLINE};

const SERVER: &str = "mkdir /www; hostname > /www/name; httpd -f -p 8080 -h /www";

async fn service(cluster: &Cluster, name: &str, selector: &str, kind: &str) -> Value {
    let spec = json!({"selector": {"app": selector}, "type": kind, "ports": [{"port": 80, "targetPort": 8080}]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    serde_json::to_value(cluster.create::<Service>(service).await).unwrap()
}

/// Repeats a line of shell until its output is as wanted: rules follow after a delay.
async fn until(cluster: &Cluster, pod: &str, script: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    let tries = async {
        loop {
            last = cluster.exec(pod, script).await;
            if wanted(&last) {
                return last.clone();
            }
        }
    };
    let result = tokio::time::timeout(DEADLINE, tries).await;
    result.unwrap_or_else(|_| panic!("`{script}` in {pod} last said {last:?}"))
}

#[tokio::test]
async fn pods_reach_services_by_name() {
    let cluster = Cluster::start().await;
    let readiness = json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    service(&cluster, "web", "server", "ClusterIP").await;
    service(&cluster, "nobody", "nobody", "ClusterIP").await;
    cluster.pod("server", SERVER, readiness).await;
    cluster.pod("client", "sleep 1000", json!({})).await;
    cluster.ready("server").await;
    cluster.ready("client").await;
    // From another pod, by every name; and from the pod itself, through the Service.
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"] {
        let script = format!("wget -q -O - http://{name}/name");
        until(&cluster, "client", &script, |said| said == "server\n").await;
    }
    until(&cluster, "server", "wget -q -O - http://web/name", |said| said == "server\n").await;
    // Without endpoints, and where no Service is, a connection is refused at once.
    for name in ["nobody", "10.96.200.200"] {
        let script = format!("wget -O - http://{name}/name");
        until(&cluster, "client", &script, |said| said.contains("Connection refused")).await;
    }
}

#[tokio::test]
async fn a_node_port_leads_to_the_pods_and_resets_without_them() {
    let cluster = Cluster::start().await;
    let readiness = json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    let service = service(&cluster, "web", "server", "NodePort").await;
    let port = u16::try_from(service["spec"]["ports"][0]["nodePort"].as_u64().unwrap()).unwrap();
    cluster.pod("server", SERVER, readiness).await;
    cluster.ready("server").await;
    let get = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /name HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let wait_for = async |wanted: fn(&std::io::Result<String>) -> bool| {
        let tries = async { while !wanted(&tokio::task::spawn_blocking(get).await.unwrap()) {} };
        tokio::time::timeout(DEADLINE, tries).await
    };
    wait_for(|answer| answer.as_ref().is_ok_and(|text| text.ends_with("server\n"))).await.expect("the pod answers");
    cluster.api::<k8s_openapi::api::core::v1::Pod>().delete("server", &DeleteParams::default()).await.unwrap();
    let reset = |answer: &std::io::Result<String>| {
        answer.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    };
    wait_for(reset).await.expect("connections are reset");
    // The port is given back with the Service.
    cluster.api::<Service>().delete("web", &DeleteParams::default()).await.unwrap();
    let refused = |answer: &std::io::Result<String>| {
        answer.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    wait_for(refused).await.expect("the port is closed");
}

#[tokio::test]
async fn a_stopped_container_refuses_connections() {
    let cluster = Cluster::start().await;
    // The address stays while nothing listens: a refusal, not a silence.
    cluster.pod("quiet", "sleep 1000", json!({})).await;
    cluster.pod("client", "sleep 1000", json!({})).await;
    cluster.ready("client").await;
    let address = cluster.ready("quiet").await["status"]["podIP"].as_str().unwrap().to_owned();
    let said = cluster.exec("client", &format!("wget -O - http://{address}:8080/")).await;
    assert!(said.contains("Connection refused"), "{said}");
}
