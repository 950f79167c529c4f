use super::super::state::RestartPolicy;
use super::*;

fn pod() -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "n", "generation": 1},
        "spec": {"containers": [{
            "name": "c", "image": "demo/web:v1", "resources": {},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}],
        }]},
        "status": {
            "phase": "Pending", "qosClass": "BestEffort",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T19:34:07Z"}],
        },
    })
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_462_440 + second).unwrap()
}

fn ended(code: i32, reason: &'static str) -> Ended {
    let (id, message) = ("gameday://1".to_owned(), String::new());
    Ended { id, code, reason, message, started_at: time(11), finished_at: time(16) }
}

fn render_state(state: &PodState) -> Value {
    let facts = Facts {
        node_address: Ipv4Addr::new(10, 245, 0, 1),
        started_at: time(8),
        image_id: "demo/web@sha256:1",
        user: Some((0, 0)),
        now: time(10),
    };
    render(&pod(), state, &facts)
}

fn state(container: Container) -> PodState {
    let mut state = PodState::new(RestartPolicy::Always);
    (state.set_up, state.address, state.attempts) = (true, Some(Ipv4Addr::new(10, 244, 0, 84)), 1);
    state.container = container;
    state
}

fn running(ready: bool) -> Container {
    Container::Running { id: "gameday://1".to_owned(), started_at: time(11), started: true, ready }
}

/// Phase, conditions and the container in one line, as the recordings' summaries have them.
fn line(status: &Value) -> String {
    let conditions: Vec<String> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| {
            let reason = condition["reason"].as_str().map(|reason| format!("/{reason}")).unwrap_or_default();
            format!("{}={}{reason}", condition["type"].as_str().unwrap(), condition["status"].as_str().unwrap())
        })
        .collect();
    let container = &status["containerStatuses"][0];
    format!(
        "{} {} {} ready={} started={} ip={}",
        status["phase"].as_str().unwrap(),
        conditions.join(" "),
        container["state"].as_object().unwrap().keys().next().unwrap(),
        container["ready"],
        container["started"],
        status["podIP"].as_str().unwrap_or("-"),
    )
}

// The order of recorded states of 60-pods/601, 605 and 606.
#[test]
fn states_follow_the_recordings() {
    let mut new = PodState::new(RestartPolicy::Always);
    new.address = Some(Ipv4Addr::new(10, 244, 0, 84));
    let mut with_sandbox = new.clone();
    with_sandbox.set_up = true;
    let never = |container, torn_down| {
        let mut state = state(container);
        (state.policy, state.torn_down) = (RestartPolicy::Never, torn_down);
        state
    };
    let waiting = Container::Waiting { reason: "CrashLoopBackOff", message: "back-off 10s".to_owned() };
    let rows = [
        (
            new,
            "Pending PodReadyToStartContainers=False Initialized=True Ready=False/ContainersNotReady ContainersReady=False/ContainersNotReady PodScheduled=True waiting ready=false started=false ip=-",
        ),
        (
            with_sandbox,
            "Pending PodReadyToStartContainers=True Initialized=True Ready=False/ContainersNotReady ContainersReady=False/ContainersNotReady PodScheduled=True waiting ready=false started=false ip=-",
        ),
        (
            state(running(false)),
            "Running PodReadyToStartContainers=True Initialized=True Ready=False/ContainersNotReady ContainersReady=False/ContainersNotReady PodScheduled=True running ready=false started=true ip=10.244.0.84",
        ),
        (
            state(running(true)),
            "Running PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True running ready=true started=true ip=10.244.0.84",
        ),
        (
            state(Container::Ended(ended(1, "Error"))),
            "Running PodReadyToStartContainers=True Initialized=True Ready=False/ContainersNotReady ContainersReady=False/ContainersNotReady PodScheduled=True terminated ready=false started=false ip=10.244.0.84",
        ),
        (
            state(waiting),
            "Running PodReadyToStartContainers=True Initialized=True Ready=False/ContainersNotReady ContainersReady=False/ContainersNotReady PodScheduled=True waiting ready=false started=false ip=10.244.0.84",
        ),
        (
            never(Container::Ended(ended(0, "Completed")), false),
            "Running PodReadyToStartContainers=True Initialized=True/PodCompleted Ready=False/PodCompleted ContainersReady=False/PodCompleted PodScheduled=True terminated ready=false started=false ip=10.244.0.84",
        ),
        (
            never(Container::Ended(ended(0, "Completed")), true),
            "Succeeded PodReadyToStartContainers=False Initialized=True/PodCompleted Ready=False/PodCompleted ContainersReady=False/PodCompleted PodScheduled=True terminated ready=false started=false ip=10.244.0.84",
        ),
        (
            never(Container::Ended(ended(3, "Error")), true),
            "Failed PodReadyToStartContainers=False Initialized=True Ready=False/PodFailed ContainersReady=False/PodFailed PodScheduled=True terminated ready=false started=false ip=10.244.0.84",
        ),
    ];
    for (state, expect) in rows {
        assert_eq!(line(&render_state(&state)), expect);
    }
}

#[test]
fn a_ready_pod_has_the_recorded_fields() {
    insta::assert_json_snapshot!(render_state(&state(running(true))));
}

#[test]
fn a_restarted_container_shows_its_last_run() {
    let mut state = state(running(true));
    (state.last, state.attempts) = (Some(ended(137, "OOMKilled")), 2);
    let status = render_state(&state);
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["reason"], "OOMKilled");
}

#[test]
fn a_condition_that_stays_keeps_its_time() {
    let status = render_state(&state(running(true)));
    let times: Vec<&str> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["lastTransitionTime"].as_str().unwrap())
        .collect();
    assert_eq!(times[4], "2026-11-23T19:34:07Z");
    assert!(times[..4].iter().all(|time| *time != times[4]));
}
