//! What a container can reach, and what it cannot.

use serde_json::json;

use super::support::Cluster;

#[tokio::test]
async fn an_exec_reaches_nothing_of_the_host() {
    let cluster = Cluster::start().await;
    cluster.pod("p", "sleep 1000", json!({})).await;
    cluster.ready("p").await;
    // Files: none of the host's, none of the cluster's.
    let secret = cluster.running.kubeconfig.display();
    let files = cluster.exec("p", &format!("ls /; cat {secret} /etc/shadow; ls /.host /root /home")).await;
    assert!(files.lines().all(|line| !line.contains("token")), "{files}");
    assert!(files.contains(&format!("cat: can't open '{secret}'")), "{files}");
    let root = cluster.exec("p", "ls -a /").await;
    assert_eq!(root.split_whitespace().collect::<Vec<_>>(), [".", "..", "bin", "dev", "etc", "proc", "tmp"]);
    // Processes: its own only.
    let processes = cluster.exec("p", "ps -o pid,args").await;
    assert!(processes.lines().any(|line| line.trim() == "1 sleep 1000"), "{processes}");
    assert!(!processes.contains("embedded-cluster"), "{processes}");
    // Network: the API listens on the host's loopback, which is not the pod's.
    let port = cluster.running.server.rsplit(':').next().unwrap();
    let connected = cluster.exec("p", &format!("nc -w 1 127.0.0.1 {port} < /dev/null && echo connected")).await;
    assert!(!connected.contains("connected"), "{connected}");
    let links = cluster.exec("p", "ip -o link").await;
    assert_eq!(links.lines().count(), 2, "{links}");
    // The kernel's settings, and mounting.
    let denied = cluster
        .exec("p", "echo x > /proc/sys/kernel/hostname || echo denied; mount -t tmpfs x /tmp || echo denied")
        .await;
    assert_eq!(denied.matches("denied").count(), 2 + denied.matches("permission denied").count(), "{denied}");
}

#[tokio::test]
async fn an_exec_has_the_containers_environment_user_and_exit_code() {
    let cluster = Cluster::start().await;
    let user = json!({"runAsUser": 999, "runAsGroup": 998});
    cluster.pod("p", "sleep 1000", json!({"securityContext": user, "env": [{"name": "A", "value": "1"}]})).await;
    cluster.ready("p").await;
    let seen = cluster.exec("p", "id; echo $A $FROM_IMAGE $HOSTNAME $HOME; hostname; readlink /proc/self/cwd").await;
    assert_eq!(seen, "uid=999(user999) gid=998(group998)\n1 yes p /\np\n/\n");
    let capabilities = cluster.exec("p", "grep -E 'Cap(Eff|Prm|Amb)' /proc/self/status /proc/1/status").await;
    assert_eq!(capabilities.matches("0000000000000000").count(), 6, "{capabilities}");
    assert!(cluster.exec("p", "exit 7").await.is_empty());
}

#[tokio::test]
async fn roots_capabilities_are_those_of_container_runtimes() {
    let cluster = Cluster::start().await;
    cluster.pod("p", "sleep 1000", json!({})).await;
    cluster.ready("p").await;
    let seen = cluster.exec("p", "grep -h -E 'Cap(Eff|Bnd)' /proc/1/status /proc/self/status").await;
    assert_eq!(seen.matches("00000000a80425fb").count(), 4, "{seen}");
}

#[tokio::test]
async fn a_terminal_is_the_containers_own() {
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::AttachParams;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let cluster = Cluster::start().await;
    cluster.pod("p", "sleep 1000", json!({})).await;
    cluster.ready("p").await;
    let params = AttachParams::interactive_tty();
    let mut attached = cluster.api::<Pod>().exec("p", ["/bin/sh"], &params).await.unwrap();
    let mut input = attached.stdin().unwrap();
    let mut output = attached.stdout().unwrap();
    input.write_all(b"readlink /proc/self/fd/0; exit\n").await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(super::support::DEADLINE, output.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.contains("/dev/pts/0"), "{text:?}");
}
