use super::*;
use crate::double::Answers;
use crate::engine::test_plan;
use crate::fault::{BadValue, Fault, LlmDouble, SecretKey};

fn at(seconds: u64) -> Offset {
    Offset::from_millis(seconds * 1000)
}

/// In a stage since second 100, with nothing known and nothing in flight.
fn state(stage: Stage) -> State {
    State { stage, ..State::new(at(100)) }
}

fn nothing() -> View {
    View {
        steady: false,
        proven: false,
        symptom: false,
        back: Back::NotYet,
        good_since: None,
        deadline: None,
        trouble: "check `ready`: 503".to_owned(),
    }
}

/// What is next in the given second.
fn after(steps: usize, state: &State, view: &View, second: u64) -> Action {
    next(&test_plan(steps), state, &Trial::start(at(100)), view, at(second))
}

#[test]
fn each_stage_calls_once_and_goes_on() {
    let check = |stage: Stage, call: Call, then: Stage| {
        let view = View { steady: true, ..nothing() };
        assert_eq!(after(0, &state(stage), &view, 100), Action::Call(call), "{stage:?}");
        let in_flight = State { call: Some(call), ..state(stage) };
        assert_eq!(after(0, &in_flight, &view, 1000), Action::Wait(None), "{stage:?}");
        let answered = State { answered: true, ..state(stage) };
        assert_eq!(after(0, &answered, &view, 100), Action::Enter(then), "{stage:?}");
    };
    check(Stage::Evidence, Call::Pods, Stage::Settling);
    check(Stage::LastLook, Call::Pods, Stage::Preparing);
    check(Stage::Preparing, Call::Prepare, Stage::Keeping);
    check(Stage::Keeping, Call::Keep, Stage::Injecting);
    check(Stage::Injecting, Call::Inject, Stage::Watching);
    check(Stage::Healing, Call::Heal, Stage::Subsiding);
}

#[test]
fn the_steady_state_is_waited_for_and_no_longer() {
    for (stage, then) in [(Stage::Settling, Stage::Baseline), (Stage::Steady, Stage::LastLook)] {
        let steady = View { steady: true, ..nothing() };
        assert_eq!(after(0, &state(stage), &steady, 101), Action::Enter(then));
        assert_eq!(after(0, &state(stage), &nothing(), 129), Action::Wait(Some(at(130))));
        let Action::Break(reason) = after(0, &state(stage), &nothing(), 130) else { panic!("{stage:?} goes on") };
        assert_eq!(reason, "the steady state was not there within 30s; last seen: check `ready`: 503");
    }
}

#[test]
fn a_system_that_changed_before_the_fault_is_left_alone() {
    let answered = State { answered: true, ..state(Stage::LastLook) };
    assert!(matches!(after(0, &answered, &nothing(), 100), Action::Break(_)));
}

#[test]
fn what_is_cut_short_heals_if_it_prepared_and_ends_otherwise() {
    let stages = [
        Stage::Evidence,
        Stage::Settling,
        Stage::Baseline,
        Stage::Steady,
        Stage::LastLook,
        Stage::Preparing,
        Stage::Keeping,
        Stage::Injecting,
        Stage::Watching,
        Stage::Remedying(0),
    ];
    for stage in stages {
        let cancelled = State { cancelled: true, ..state(stage) };
        assert_eq!(after(2, &cancelled, &nothing(), 100), Action::End(Ended::Cancelled), "{stage:?}");
        let prepared = State { prepared: true, ..cancelled };
        assert_eq!(after(2, &prepared, &nothing(), 100), Action::Enter(Stage::Healing), "{stage:?}");
        let broken = State { broken: Some("no disk".to_owned()), ..state(stage) };
        let ended = Ended::Broken { reason: "no disk".to_owned() };
        assert_eq!(after(2, &broken, &nothing(), 100), Action::End(ended), "{stage:?}");
    }
}

#[test]
fn only_calls_that_read_are_dropped() {
    for call in [Call::Pods, Call::Prepare, Call::Keep, Call::Inject, Call::Step(0), Call::Heal] {
        let cancelled = State { cancelled: true, call: Some(call), ..state(Stage::Watching) };
        let expect = if call.only_reads() { Action::Drop } else { Action::Wait(None) };
        assert_eq!(after(2, &cancelled, &nothing(), 100), expect, "{call:?}");
    }
}

#[test]
fn healing_comes_before_any_end() {
    let cancelled = State { cancelled: true, prepared: true, ..state(Stage::Healing) };
    assert_eq!(after(0, &cancelled, &nothing(), 100), Action::Call(Call::Heal));
    let healed = State { answered: true, ..cancelled.clone() };
    assert_eq!(after(0, &healed, &nothing(), 100), Action::End(Ended::Cancelled));
    let failed = State { answered: true, heal_failed: true, prepared: true, ..state(Stage::Healing) };
    assert_eq!(after(0, &failed, &nothing(), 100), Action::End(Ended::Completed));
}

#[test]
fn a_healed_system_is_given_a_while() {
    let steady = View { steady: true, ..nothing() };
    assert_eq!(after(0, &state(Stage::Subsiding), &steady, 101), Action::End(Ended::Completed));
    assert_eq!(after(0, &state(Stage::Subsiding), &nothing(), 119), Action::Wait(Some(at(120))));
    assert_eq!(after(0, &state(Stage::Subsiding), &nothing(), 120), Action::End(Ended::Completed));
}

#[test]
fn watching_without_a_remedy() {
    let felt = View { proven: true, symptom: true, deadline: Some(at(171)), ..nothing() };
    let healing = Action::Enter(Stage::Healing);
    let check = |name: &str, view: &View, second: u64, expect: &Action| {
        assert_eq!(after(0, &state(Stage::Watching), view, second), *expect, "{name}");
    };
    check("it is watched to the deadline", &felt, 170, &Action::Wait(Some(at(171))));
    check("and no longer", &felt, 171, &healing);
    check("recovered", &View { back: Back::Recovered, ..felt.clone() }, 110, &healing);
    check("absorbed", &View { back: Back::Absorbed, ..felt.clone() }, 110, &healing);
    let unfelt = View { proven: false, symptom: false, ..felt.clone() };
    check("nothing is felt yet", &unfelt, 129, &Action::Wait(Some(at(130))));
    check("nothing is ever felt", &unfelt, 130, &healing);
    check("a symptom alone is worth watching", &View { symptom: true, ..unfelt }, 130, &Action::Wait(Some(at(171))));
}

#[test]
fn watching_before_a_remedy() {
    let felt = View { proven: true, symptom: true, ..nothing() };
    let (healing, remedy) = (Action::Enter(Stage::Healing), Action::Enter(Stage::Remedying(0)));
    let check = |name: &str, view: &View, second: u64, expect: &Action| {
        assert_eq!(after(1, &state(Stage::Watching), view, second), *expect, "{name}");
    };
    check("proof and symptom", &felt, 101, &remedy);
    check("a proof alone waits", &View { symptom: false, ..felt.clone() }, 119, &Action::Wait(Some(at(120))));
    check("but not for ever", &View { symptom: false, ..felt.clone() }, 120, &remedy);
    check("a symptom alone waits", &View { proven: false, ..felt.clone() }, 119, &Action::Wait(Some(at(120))));
    check("but not for ever either", &View { proven: false, ..felt.clone() }, 120, &remedy);
    check("nothing is felt: nothing to do", &nothing(), 120, &healing);
    check("absorbed", &View { symptom: false, back: Back::Absorbed, ..felt.clone() }, 120, &healing);
    check("recovered by itself", &View { back: Back::Recovered, ..felt }, 101, &healing);
}

#[test]
fn a_fault_that_spreads_is_waited_for_and_one_that_lasts_is_let_last() {
    let check = |name: &str, fault: Fault, view: &View, second: u64, expect: &Action| {
        let plan = Plan { fault, ..test_plan(1) };
        assert_eq!(next(&plan, &state(Stage::Watching), &Trial::start(at(100)), view, at(second)), *expect, "{name}");
    };
    let (healing, remedy) = (Action::Enter(Stage::Healing), Action::Enter(Stage::Remedying(0)));
    let symptom = View { symptom: true, deadline: Some(at(400)), ..nothing() };
    let felt = View { proven: true, ..symptom.clone() };
    let secret = || {
        let (name, key) = ("llm-api-key".to_owned(), "key".to_owned());
        Fault::Secret(SecretKey { name, key, value: BadValue::Wrong, restart: test_plan(0).workload })
    };
    check("not everywhere yet", secret(), &symptom, 120, &Action::Wait(Some(at(220))));
    check("it never will be", secret(), &symptom, 220, &remedy);
    check("everywhere", secret(), &felt, 109, &remedy);
    check("nowhere", secret(), &nothing(), 120, &healing);
    let outage = || Fault::LlmDouble(LlmDouble { answers: Answers::Hang, lasts: Duration::from_secs(15) });
    check("seen, and not over", outage(), &felt, 101, &Action::Wait(Some(at(115))));
    check("over", outage(), &felt, 115, &remedy);
    check("not felt", outage(), &nothing(), 120, &healing);
}

#[test]
fn remedy_steps_follow_each_other() {
    let watched = |step: usize| State { answered: true, ..state(Stage::Remedying(step)) };
    let view = View { proven: true, symptom: true, deadline: Some(at(171)), ..nothing() };
    let second = Action::Enter(Stage::Remedying(1));
    let check = |name: &str, state: &State, view: &View, seconds: u64, expect: &Action| {
        assert_eq!(after(2, state, view, seconds), *expect, "{name}");
    };
    check("a step is sent", &state(Stage::Remedying(0)), &view, 100, &Action::Call(Call::Step(0)));
    check("and watched", &watched(0), &view, 114, &Action::Wait(Some(at(115))));
    check("then the next one follows", &watched(0), &view, 115, &second);
    check("at once where it failed", &State { step_failed: true, ..watched(0) }, &view, 101, &second);
    check("the last one is watched to the deadline", &watched(1), &view, 116, &Action::Wait(Some(at(171))));
    check("and no longer", &watched(1), &view, 171, &Action::Enter(Stage::Healing));
    let back = View { back: Back::Recovered, ..view.clone() };
    check("no step follows a recovery", &watched(0), &back, 110, &Action::Enter(Stage::Healing));
    let good = View { good_since: Some(at(112)), ..view.clone() };
    check("a good streak is let show itself", &watched(0), &good, 115, &Action::Wait(Some(at(124))));
    check("but not for ever", &watched(0), &good, 124, &second);
    check("a deadline ends all", &watched(0), &view, 171, &Action::Enter(Stage::Healing));
}

#[test]
fn every_wait_of_a_watch_has_an_end() {
    // A plan whose budget counts from a remedy that it does not have has no deadline.
    let felt = View { proven: true, symptom: true, ..nothing() };
    assert!(matches!(after(0, &state(Stage::Watching), &felt, 101), Action::Wait(Some(_))));
    let answered = State { answered: true, ..state(Stage::Remedying(0)) };
    assert!(matches!(after(1, &answered, &felt, 101), Action::Wait(Some(_))));
}
