use k8s_openapi::ByteString;
use proptest::prelude::*;

use super::*;

#[test]
fn events_stand_in_order_of_time_in_the_columns_of_kubectl() {
    let row = |cells: [&str; 3], object: Value| json!({"cells": cells, "object": object});
    let table = json!({
        "columnDefinitions": [
            {"name": "Last Seen", "priority": 0},
            {"name": "Subobject", "priority": 1},
            {"name": "Message", "priority": 0},
        ],
        "rows": [
            row(["3s", "", "last\nof all"], json!({"series": {"lastObservedTime": "2026-11-24T03:00:09.5Z"},
                "lastTimestamp": "2026-11-24T03:00:00Z"})),
            row(["10s", "", "second"], json!({"lastTimestamp": "2026-11-24T03:00:02Z"})),
            row(["100s", "", "first"], json!({"lastTimestamp": null, "eventTime": "2026-11-24T03:00:01.000001Z"})),
        ],
    });
    assert_eq!(
        event_lines(&table),
        "TIME                          LAST SEEN   MESSAGE\n\
         2026-11-24T03:00:01.000001Z   100s        first\n\
         2026-11-24T03:00:02Z          10s         second\n\
         2026-11-24T03:00:09.5Z        3s          last of all\n"
    );
    assert_eq!(event_lines(&json!({})), "TIME\n", "a server that answers something else");
}

#[test]
fn a_secret_shows_its_keys_lengths_and_equality_and_nothing_else() {
    let secret = |name: &str, value: &str| Secret {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(
                [("kubectl.kubernetes.io/last-applied-configuration".to_owned(), value.to_owned())].into(),
            ),
            ..Default::default()
        },
        data: Some([("key".to_owned(), ByteString(value.as_bytes().to_vec()))].into()),
        ..Default::default()
    };
    let list = [secret("one", "abc"), secret("two", "abc"), secret("three", "xyz")];
    let shown = |salt: &[u8]| -> Value { serde_json::from_str(&secrets(&list, salt)).unwrap() };
    let key = |at: usize| shown(b"salt")["items"][at]["data"]["key"].clone();
    assert_eq!(key(0)["bytes"], 3);
    assert_eq!(key(0), key(1), "equal values");
    assert_ne!(key(0), key(2), "other values");
    assert_ne!(key(0), shown(b"pepper")["items"][0]["data"]["key"], "another salt");
    assert!(!secrets(&list, b"salt").contains("abc"));
}

#[test]
fn field_managers_are_left_out_of_objects() {
    let list = json!({"items": [{"metadata": {"name": "a", "managedFields": [{"manager": "m"}]}}]});
    let shown: Value = serde_json::from_str(&objects(list)).unwrap();
    assert_eq!(shown, json!({"items": [{"metadata": {"name": "a"}}]}));
}

#[test]
fn a_tail_is_made_of_whole_lines() {
    for (text, bytes_max, expect) in [
        ("one\ntwo\n", 8, "one\ntwo\n"),
        ("one\ntwo\n", 7, "two\n"),
        ("one\ntwo\n", 4, "two\n"),
        ("one\ntwo\n", 3, ""),
        ("one\ntwo", 3, "two"),
        ("one\ntwo", 2, ""),
        ("é\nb\n", 3, "b\n"),
        ("", 0, ""),
        ("one", 0, ""),
    ] {
        assert_eq!(tail(text, bytes_max), expect, "{text:?} in {bytes_max}");
    }
}

#[test]
fn short_logs_leave_their_share_to_long_ones() {
    for (sizes, total, expect) in [
        (&[10, 20][..], 100, &[10, 20][..]),
        (&[100, 10], 60, &[50, 10]),
        (&[100, 100, 10], 60, &[25, 25, 10]),
        (&[], 60, &[]),
    ] {
        assert_eq!(shares(sizes, total), expect, "{sizes:?} in {total}");
    }
}

proptest! {
    #[test]
    fn tails_and_shares_stay_within_their_bounds(text in "[aé\\n]{0,40}", bytes_max in 0..60_usize, sizes in prop::collection::vec(0..50_usize, 0..8)) {
        let kept = tail(&text, bytes_max);
        prop_assert!(kept.len() <= bytes_max && text.ends_with(kept));
        let shares = shares(&sizes, bytes_max);
        prop_assert!(shares.iter().sum::<usize>() <= bytes_max);
        prop_assert!(shares.iter().zip(&sizes).all(|(share, size)| share <= size));
    }
}
