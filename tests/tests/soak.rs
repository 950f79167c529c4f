//! The soak: a good build stays healthy, a leak is seen before the ten minutes are over.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use gameday_tests::Place;
use serde_json::Value;

fn soak(place: &Place, length: &str, code: i32) -> Value {
    let told = place.run(["soak", "--for", length, "--output", "json"]).expect_code(code).stdout;
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

fn metric<'a>(soak: &'a Value, name: &str) -> &'a Value {
    soak["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == name).unwrap()
}

#[test]
fn a_good_build_is_healthy_and_a_leak_is_critical_before_its_time() {
    let place = Place::new();
    let _cluster = place.cluster();
    place.run(["deploy"]).expect_code(0);
    let good = soak(&place, "15s", 0);
    assert_eq!(good["verdict"]["verdict"], "pass");
    assert_eq!(good["ended-early"], Value::Null);
    assert!(good["looks"].as_u64().unwrap() >= 15, "{good}");
    for metric in good["metrics"].as_array().unwrap() {
        assert_eq!((&metric["missing"], &metric["critical"]), (&0.into(), &0.into()), "{metric}");
    }
    assert!(metric(&good, "cache hit rate")["worst"].as_f64().unwrap() > 80.0, "the load warms its own cache");

    place.run(["deploy", "--build", "leaks-memory"]).expect_code(0);
    let leaking = soak(&place, "60s", 1);
    assert_eq!(leaking["verdict"]["verdict"], "fail");
    assert!(leaking["lasted-ms"].as_f64().unwrap() < leaking["length-ms"].as_f64().unwrap(), "{leaking}");
    assert!(leaking["ended-early"].is_string(), "{leaking}");
    assert!(metric(&leaking, "memory usage")["worst"].as_f64().unwrap() > 85.0, "{leaking}");
}
