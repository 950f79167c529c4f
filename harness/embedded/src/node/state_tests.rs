use super::*;

fn running() -> Container {
    Container::Running { id: "x".to_owned(), started_at: Timestamp::UNIX_EPOCH, started: true, ready: true }
}

fn ended(code: i32) -> Container {
    let (id, message) = (String::new(), String::new());
    let (started_at, finished_at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    Container::Ended(Ended { id, code, reason: "Error", message, started_at, finished_at })
}

#[track_caller]
fn check(change: impl FnOnce(&mut PodState, Instant), expect: impl FnOnce(Instant) -> Action) {
    let now = Instant::now();
    let mut state = PodState::new(RestartPolicy::Always);
    change(&mut state, now);
    assert_eq!(next(&state, now), expect(now), "{state:?}");
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_new_pod_is_set_up_and_started() {
    check(|_, _| {}, |_| Action::SetUp);
    check(|state, _| state.set_up = true, |_| Action::Start);
    check(|state, now| state.retry_at = Some(now + SECOND), |now| Action::Wait(Some(now + SECOND)));
    check(|state, now| state.retry_at = Some(now), |_| Action::SetUp);
}

#[test]
fn a_running_container_is_left_alone_until_something_stands_against_it() {
    let run = |state: &mut PodState| (state.set_up, state.container) = (true, running());
    check(|state, _| run(state), |_| Action::Wait(None));
    check(|state, _| (run(state), state.deleting = true).1, |_| Action::Stop(Stop::Deleted));
    check(
        |state, _| (run(state), state.unhealthy = Some(ProbeKind::Liveness)).1,
        |_| Action::Stop(Stop::Unhealthy(ProbeKind::Liveness)),
    );
}

#[test]
fn what_ended_is_restarted_by_policy() {
    let end = |state: &mut PodState, policy: RestartPolicy, code: i32| {
        (state.set_up, state.policy, state.container) = (true, policy, ended(code));
    };
    let rows = [
        (RestartPolicy::Always, 0, Action::Start),
        (RestartPolicy::Always, 1, Action::Start),
        (RestartPolicy::OnFailure, 0, Action::TearDown),
        (RestartPolicy::OnFailure, 1, Action::Start),
        (RestartPolicy::Never, 0, Action::TearDown),
        (RestartPolicy::Never, 1, Action::TearDown),
    ];
    for (policy, code, expect) in rows {
        check(|state, _| end(state, policy, code), |_| expect);
    }
    check(|state, _| (end(state, RestartPolicy::Never, 0), state.torn_down = true).1, |_| Action::Wait(None));
    check(|state, _| (end(state, RestartPolicy::Always, 0), state.deleting = true).1, |_| Action::TearDown);
    check(
        |state, _| {
            end(state, RestartPolicy::Always, 0);
            (state.deleting, state.torn_down) = (true, true);
        },
        |_| Action::Leave,
    );
}

#[test]
fn backing_off_is_shown_before_the_next_try() {
    let back_off = |state: &mut PodState, shown: Instant, retry: Instant| {
        (state.set_up, state.container) = (true, ended(1));
        state.backs_off = Some((shown, Container::Creating));
        state.retry_at = Some(retry);
    };
    check(|state, now| back_off(state, now + SECOND, now + 10 * SECOND), |now| Action::Wait(Some(now + SECOND)));
    check(|state, now| back_off(state, now, now + 10 * SECOND), |_| Action::ShowBackOff);
    check(
        |state, now| (back_off(state, now, now + SECOND), state.backs_off = None).1,
        |now| Action::Wait(Some(now + SECOND)),
    );
}

#[test]
fn a_pod_that_never_came_up_leaves_at_once() {
    check(|state, _| state.deleting = true, |_| Action::Leave);
}

// The delays recorded in 60-pods/605.
#[test]
fn restarts_back_off_as_recorded() {
    let mut back_off = BackOff::default();
    let now = Instant::now();
    let seconds: Vec<u64> = (0..9).map(|_| back_off.next(now).as_secs()).collect();
    assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(back_off.next(now + BACK_OFF_MAX + BACK_OFF_RESET).as_secs(), 300);
    assert_eq!(back_off.next(now + 2 * (BACK_OFF_MAX + BACK_OFF_RESET) + SECOND).as_secs(), 0);
    let mut pulls = BackOff::from_the_first();
    assert_eq!([pulls.next(now), pulls.next(now)].map(|delay| delay.as_secs()), [10, 20]);
}

#[test]
fn durations_are_written_as_go_does() {
    for (seconds, expect) in [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (0, "0s")] {
        assert_eq!(go_duration(Duration::from_secs(seconds)), expect);
    }
}
