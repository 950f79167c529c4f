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
    let mut samples = Samples::of(&ScenarioId("redis-lost/killed".to_owned()));
    events.iter().for_each(|event| samples.apply(event.clone()));
    samples.csv(|text| text.replace("hunter2", "[redacted]"))
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
    for at in [4_999, 65_002, 36_000] {
        events.push(event(at, own, sample(at, Seen::Good, None)));
    }
    assert_eq!(sent_of(&events), ["5000.000", "30000.000", "36000.000", "65000.000", "65001.000"], "told late");
    events.push(event(90_000, own, What::ScenarioStarted(Box::new(crate::engine::test_plan(1)))));
    assert!(sent_of(&events).is_empty(), "run again");
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
