//! The loop by the clock: it reacts to changes, and ends when it is told to.

use std::time::Duration;

use embedded_cluster::controllers::run;
use embedded_cluster::kinds::{DEPLOYMENT, NODE, POD};
use embedded_cluster::store::Store;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::world::{NAMESPACE_NAME, deployment};

/// Far beyond what it takes, so that a slow machine does not fail it.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_loop_reacts_and_ends() {
    let (store, cancel) = (Store::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(run(store.clone(), 1, cancel.clone()));
    store.create(&NODE, json!({"metadata": {"name": "node"}})).unwrap();
    let mut web = deployment(2, 1, 0);
    web["metadata"]["namespace"] = NAMESPACE_NAME.into();
    store.create(&DEPLOYMENT, web).unwrap();
    let scheduled = async {
        loop {
            let (pods, version) = store.list(&POD, None);
            if pods.iter().filter(|pod| pod["spec"]["nodeName"] == "node").count() == 2 {
                return;
            }
            store.changed_after(version).await;
        }
    };
    timeout(DEADLINE, scheduled).await.expect("both pods get the node");
    cancel.cancel();
    timeout(DEADLINE, tasks.join_next()).await.expect("the loop ends").unwrap().unwrap();
}
