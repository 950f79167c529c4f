use k8s_openapi::ByteString;
use proptest::prelude::*;

use super::*;
use crate::scenario::plan::CheckName;

fn event(at: u64, scenario: &str, what: What) -> Event {
    Event { at: Offset::from_millis(at), scenario: Some(ScenarioId(scenario.to_owned())), what }
}

fn sample(sent: u64, seen: Seen, value: Option<&str>) -> What {
    What::Sample(Sample {
        check: CheckName("health".to_owned()),
        subject: Subject::Pod { name: "backend-1".to_owned(), uid: "u1".to_owned() },
        intended: Offset::from_millis(sent),
        sent: Offset::from_millis(sent),
        done: Offset::from_millis(sent + 2),
        seen,
        value: value.map(str::to_owned),
    })
}

fn csv(events: &[Event]) -> String {
    samples_csv(events, &ScenarioId("redis-lost/killed".to_owned()), |text| text.replace("hunter2", "[redacted]"))
}

#[test]
fn samples_are_those_around_the_fault_in_the_order_they_were_sent() {
    let own = "redis-lost/killed";
    let sent_of = |events: &[Event]| -> Vec<String> {
        csv(events).lines().skip(1).map(|row| row.split(',').nth(3).unwrap().to_owned()).collect()
    };
    let mut events: Vec<Event> =
        [4_999, 5_000, 65_001, 65_000, 30_000].map(|at| event(at, own, sample(at, Seen::Good, None))).into();
    events.push(event(40_000, "other", sample(40_000, Seen::Good, None)));
    assert_eq!(sent_of(&events), ["4999.000", "5000.000", "30000.000", "65000.000", "65001.000"], "no fault");
    events.push(event(35_000, own, What::FaultSent));
    assert_eq!(sent_of(&events), ["5000.000", "30000.000", "65000.000"], "fault sent");
    events.push(event(35_001, own, What::FaultDone));
    assert_eq!(sent_of(&events), ["5000.000", "30000.000", "65000.000", "65001.000"], "fault done");
}

#[test]
fn a_row_quotes_what_csv_would_take_apart() {
    let own = "redis-lost/killed";
    let refused = Seen::Bad { reason: "503, \"hunter2\"\nrefused".to_owned() };
    let late = Seen::Missing { reason: "slip".to_owned() };
    let events = [event(1, own, sample(1_234, refused, Some("r1"))), event(2, own, sample(2_000, late, None))];
    assert_eq!(
        csv(&events),
        "check,subject,intended_ms,sent_ms,done_ms,seen,reason,value\n\
         health,backend-1/u1,1234.000,1234.000,1236.000,bad,\"503, \"\"[redacted]\"\"\nrefused\",r1\n\
         health,backend-1/u1,2000.000,2000.000,2002.000,missing,slip,\n"
    );
}

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
