//! Lists in pages.

use serde_json::{Value, json};

use crate::support::Running;

const CONFIG_MAPS: &str = "/api/v1/namespaces/pages/configmaps";

async fn with_config_maps(count: usize) -> Running {
    let mut server = Running::start().await;
    server.create_namespace("pages").await;
    for index in 0..count {
        let parity = if index % 2 == 0 { "even" } else { "odd" };
        let body = json!({"metadata": {"name": format!("m{index}"), "labels": {"parity": parity}}});
        assert_eq!(server.ask(&format!("POST {CONFIG_MAPS}"), Some(&body)).await.code, 201);
    }
    server
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_show_the_list_of_the_first_page() {
    let mut server = with_config_maps(5).await;
    let first = server.ask(&format!("GET {CONFIG_MAPS}?limit=2"), None).await.json();
    assert_eq!(names(&first), ["m0", "m1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What happens between the pages is not seen in them.
    let late = json!({"metadata": {"name": "m1-late"}});
    assert_eq!(server.ask(&format!("POST {CONFIG_MAPS}"), Some(&late)).await.code, 201);
    let changed = json!({"metadata": {"name": "m3"}, "data": {"late": "1"}});
    assert_eq!(server.ask(&format!("PUT {CONFIG_MAPS}/m3"), Some(&changed)).await.code, 200);

    let next = first["metadata"]["continue"].as_str().unwrap();
    let second = server.ask(&format!("GET {CONFIG_MAPS}?limit=20&continue={next}"), None).await.json();
    assert_eq!(names(&second), ["m2", "m3", "m4"]);
    assert_eq!(second["items"][1]["data"], Value::Null);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["metadata"]["continue"], Value::Null);
}

#[tokio::test]
async fn a_selected_page_does_not_count_the_rest() {
    let mut server = with_config_maps(5).await;
    let page = server.ask(&format!("GET {CONFIG_MAPS}?limit=2&labelSelector=parity%3Deven"), None).await.json();
    assert_eq!(names(&page), ["m0", "m2"]);
    assert_eq!(page["metadata"]["remainingItemCount"], Value::Null);
    assert!(page["metadata"]["continue"].is_string());
}

#[tokio::test]
async fn a_bad_token_is_refused() {
    let mut server = with_config_maps(1).await;
    for token in ["nonsense", "1~a", "x~pages~m0"] {
        let answer = server.ask(&format!("GET {CONFIG_MAPS}?continue={token}"), None).await;
        assert_eq!(answer.code, 400, "{token}: {}", answer.text);
        assert!(answer.json()["message"].as_str().unwrap().starts_with("invalid continue token"));
    }
}
