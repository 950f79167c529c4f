//! Judging, the gate and exit codes.

use harness::event::{Baseline, Ended, Seen, StageResult, What};
use harness::outcome::Outcome;
use harness::scenario::plan::{Budget, Plan, Role, Symptom};
use harness::verdict::{Exit, GateFacts, Interrupt, Verdict, gate, judge, remarks};
use proptest::prelude::*;

#[path = "outcome/support.rs"]
mod support;

use support::*;

/// A proven fault at 1 s, then `write`, then a regular end.
fn run(plan: Plan, write: impl FnOnce(&mut Run)) -> Run {
    let mut run = Run::of_one_pod(plan);
    run.both(0, 1_000, &Seen::Good).proven_fault(1_000);
    write(&mut run);
    let end = run.events.iter().map(|event| event.at).max().expect("a run has events");
    run.put(end.nanos() / 1_000_000 + 1, What::ScenarioEnded(Ended::Completed));
    run
}

fn verdict(run: &Run) -> Verdict {
    judge(&run.plan, &run.outcome())
}

#[track_caller]
fn check(name: &str, run: &Run, word: &str, why: &str) {
    let verdict = verdict(run);
    assert_eq!(verdict.word(), word, "{name}: {verdict}");
    assert!(verdict.why().unwrap_or_default().contains(why), "{name}: `{verdict}` does not say `{why}`");
}

fn outage(until: u64) -> impl FnOnce(&mut Run) {
    move |run| {
        run.both(1_000, until, &bad()).both(until, until + 1_200, &Seen::Good);
    }
}

fn optional() -> Plan {
    Plan { symptom: Symptom::Optional, ..plan() }
}

#[test]
fn measured_against_the_budget() {
    // The budget is 10 s; the fault is between 1000 and 1015.
    check("well within", &run(plan(), outage(3_000)), "pass", "");
    check("upper end just within", &run(plan(), outage(10_990)), "pass", "");
    check("the budget lies inside", &run(plan(), outage(11_000)), "inconclusive", "lies inside");
    check("lower end beyond", &run(plan(), outage(11_200)), "fail", "recovery took 10.09–10.21 s, the budget is 10s");
    check(
        "never back",
        &run(plan(), |run| {
            run.both(1_000, 13_000, &bad());
        }),
        "fail",
        "still bad 1.9 s after the budget of 10s was over",
    );
    check(
        "bad once beyond, and good between",
        &run(plan(), |run| {
            run.both(1_000, 10_500, &bad()).both(10_500, 11_200, &Seen::Good);
            run.both(11_200, 11_300, &bad()).both(11_300, 12_000, &Seen::Good);
        }),
        "fail",
        "still bad",
    );
    check(
        "bad to the end, which came before the budget's",
        &run(plan(), |run| {
            run.both(1_000, 9_000, &bad());
        }),
        "inconclusive",
        "nothing bad beyond the budget",
    );
    check(
        "good at the end, but not for long",
        &run(plan(), |run| {
            run.both(1_000, 3_000, &bad()).both(3_000, 3_500, &Seen::Good);
        }),
        "inconclusive",
        "not long enough",
    );
    check(
        "one of the series never is",
        &run(plan(), |run| {
            run.series("ready", &of_pod("a"), 1_000, 2_000, &bad());
            run.series("ready", &of_pod("a"), 2_000, 13_000, &Seen::Good);
            run.series("service", &service(), 1_000, 13_000, &bad());
        }),
        "fail",
        "still bad",
    );
}

#[test]
fn what_must_stay_good_throughout() {
    let invariant = || {
        let mut plan = plan();
        plan.checks[1].role = Role::Invariant;
        plan
    };
    let rest = |run: &mut Run| {
        run.series("ready", &of_pod("a"), 1_000, 3_000, &bad());
        run.series("ready", &of_pod("a"), 3_000, 4_200, &Seen::Good);
    };
    let kept = run(invariant(), |run| {
        rest(run);
        run.series("service", &service(), 1_000, 4_200, &Seen::Good);
    });
    check("kept", &kept, "pass", "");
    let broken = run(invariant(), |run| {
        rest(run);
        run.look(2_000, "service", &service(), bad());
    });
    check("broken once", &broken, "fail", "check `service` must stay good throughout, and saw: 503 not ready");
    check(
        "never looked at",
        &run(invariant(), rest),
        "inconclusive",
        "check `service` must stay good throughout, and nobody",
    );
}

#[test]
fn no_evidence_is_never_green() {
    check("no samples", &run(plan(), |_| {}), "inconclusive", "too few samples");
    check("no samples, symptom optional", &run(optional(), |_| {}), "inconclusive", "too few samples");
    let blind = |run: &mut Run| {
        run.both(1_000, 13_000, &missing());
    };
    check("only missing ones", &run(plan(), blind), "inconclusive", "too few samples");
    let good = |run: &mut Run| {
        run.both(1_000, 13_000, &Seen::Good);
    };
    check("absorbed", &run(plan(), good), "inconclusive", "absorbed");
    check("absorbed, which the scenario allows", &run(optional(), good), "pass", "");
    let early = |run: &mut Run| {
        run.both(1_000, 8_000, &Seen::Good);
    };
    check("absorbed, but not watched to the end", &run(optional(), early), "inconclusive", "too few samples");
    let gap = |run: &mut Run| {
        run.both(1_000, 4_000, &Seen::Good).both(5_000, 13_000, &Seen::Good);
    };
    check("nobody looked for a while", &run(plan(), gap), "inconclusive", "no bad sample was seen");
    check("which can have been no longer than the budget", &run(optional(), gap), "pass", "");

    let mut unproven = Run::of_one_pod(plan());
    unproven.both(0, 1_000, &Seen::Good).put(1_000, What::FaultSent);
    unproven.both(1_000, 3_000, &bad()).both(3_000, 14_000, &Seen::Good);
    unproven.put(14_000, What::ScenarioEnded(Ended::Completed));
    check(
        "no proof",
        &unproven,
        "inconclusive",
        "no proof that the fault took effect; never seen: check `redis` fails",
    );
    unproven.both(1_000, 14_000, &bad());
    check("no proof, and all is bad", &unproven, "inconclusive", "no proof");
    let optional = Run { plan: optional(), ..unproven };
    check("no proof, symptom optional", &optional, "inconclusive", "no proof");
    check("nothing at all", &Run::new(plan()), "inconclusive", "stops in the middle");
}

#[test]
fn what_spoils_the_experiment() {
    #[track_caller]
    fn spoil(name: &str, what: What, why: &str) {
        for until in [3_000, 12_500] {
            let mut run = run(plan(), outage(until));
            let end = run.events.pop().unwrap();
            let is_end = matches!(what, What::ScenarioEnded(_));
            run.put(20_000, what.clone());
            if !is_end {
                run.events.push(end);
            }
            check(name, &run, "inconclusive", why);
        }
    }
    let baseline = |effect: Option<&str>| {
        What::BaselineCompared(Baseline {
            quiet_requests: 100,
            quiet_slow: 0,
            sampled_requests: 100,
            sampled_slow: 60,
            slow_above: millis(50),
            restarts: 0,
            effect: effect.map(str::to_owned),
        })
    };
    spoil("observer effect", baseline(Some("60 of 100 requests are slow")), "observer effect: 60 of 100");
    spoil("cancelled", What::ScenarioEnded(Ended::Cancelled), "cancelled");
    let crashed = Ended::Broken { reason: "check `ready` crashed".to_owned() };
    spoil("crashed", What::ScenarioEnded(crashed), "check `ready` crashed");
    spoil("not injected", What::FaultFailed { error: "forbidden".to_owned() }, "could not be injected: forbidden");

    let mut harmless = run(plan(), outage(3_000));
    harmless.events.insert(1, harness::event::Event { what: baseline(None), ..harmless.events[0].clone() });
    check("a baseline without effect", &harmless, "pass", "");
    let mut cut = run(plan(), outage(3_000));
    cut.events.pop();
    check("a journal cut in the middle", &cut, "inconclusive", "stops in the middle");
}

#[test]
fn a_missing_replica_is_evidence() {
    let gone = || What::PodGone { name: "a".to_owned(), uid: "uid-a".to_owned() };
    let never_back = run(plan(), |run| {
        run.series("ready", &of_pod("a"), 1_000, 1_500, &bad()).put(1_500, gone());
        run.series("service", &service(), 1_000, 13_000, &Seen::Good);
    });
    check("missing beyond the budget", &never_back, "fail", "0 of 1 pods ready 1.9 s after the budget");
    let blind = run(plan(), |run| {
        run.series("ready", &of_pod("a"), 1_000, 1_500, &bad()).put(1_500, gone());
        run.series("service", &service(), 1_000, 2_000, &Seen::Good).put(13_000, What::FaultDone);
    });
    check("but then nobody looked", &blind, "inconclusive", "nothing bad beyond");
}

#[test]
fn from_the_remedy() {
    let remedied = |until: u64| {
        run(remedy_plan(), |run| {
            run.put(9_000, What::StepSent { step: 0 });
            run.both(1_000, until, &bad()).both(until, until + 1_200, &Seen::Good);
        })
    };
    check("the time before it does not count", &remedied(18_000), "pass", "");
    check("the time after it does", &remedied(19_200), "fail", "recovery took 10.10–10.21 s");
    let never = run(remedy_plan(), |run| {
        run.put(9_000, What::StepSent { step: 0 });
        run.put(9_100, What::StepFailed { step: 0, error: "not found".to_owned() });
        run.both(1_000, 21_000, &bad());
    });
    check("never back, with a remedy that failed", &never, "fail", "still bad");
    let refused = run(remedy_plan(), |run| {
        run.put(9_000, What::StepSent { step: 0 });
        run.put(9_100, What::StepFailed { step: 0, error: "forbidden".to_owned() });
        run.both(1_000, 9_200, &bad());
    });
    check("given up with it", &refused, "inconclusive", "remedy step could not be carried out: forbidden");
    let unneeded = run(remedy_plan(), |run| {
        run.both(1_000, 3_000, &bad()).both(3_000, 8_000, &Seen::Good).put(8_500, What::StepSent { step: 0 });
    });
    check("it came back without it", &unneeded, "inconclusive", "by itself");
    let unsent = run(remedy_plan(), |run| {
        run.both(1_000, 20_000, &bad());
    });
    check("never sent", &unsent, "inconclusive", "no recovery was seen");
}

#[test]
fn remedies_that_surprise_are_remarked() {
    #[track_caller]
    fn check(name: &str, expect: &[&str], second: Option<u64>, back: u64) {
        let run = run(remedy_plan(), |run| {
            run.put(2_000, What::StepSent { step: 0 });
            if let Some(second) = second {
                run.put(second, What::StepSent { step: 1 });
            }
            run.both(1_000, back, &bad()).both(back, back + 1_200, &Seen::Good);
        });
        assert_eq!(remarks(&run.plan, &run.outcome()), expect, "{name}");
    }
    check("as expected", &[], Some(4_000), 5_000);
    let helped = "`kubectl rollout restart statefulset/redis` was expected not to recover the system, and it did";
    check("the first step helps", &[helped], None, 3_000);
    let run = run(remedy_plan(), |run| {
        run.put(2_000, What::StepSent { step: 0 }).put(4_000, What::StepSent { step: 1 });
        run.both(1_000, 20_000, &bad());
    });
    let did_not = "`kubectl delete pod redis-0` was expected to recover the system, and it did not";
    assert_eq!(remarks(&run.plan, &run.outcome()), [did_not]);
}

fn stretch(times: &[(u64, u8)]) -> impl Fn(&mut Run) + '_ {
    move |run| {
        let mut now = 1_000;
        for (ticks, kind) in times {
            let until = now + ticks * INTERVAL_MS;
            let seen = match kind {
                0 => bad(),
                1 => missing(),
                _ => Seen::Good,
            };
            run.both(now, until, &seen);
            now = until;
        }
    }
}

fn stretches() -> impl Strategy<Value = Vec<(u64, u8)>> {
    proptest::collection::vec((1_u64..40, 0_u8..5), 1..12)
}

proptest! {
    #[test]
    fn more_budget_never_makes_it_worse(times in stretches(), less in 1_u64..12_000, more in 0_u64..6_000) {
        let judged = |max| {
            let plan = Plan { budget: Budget { max: millis(max), ..plan().budget }, ..plan() };
            verdict(&run(plan, stretch(&times)))
        };
        let (tight, wide) = (judged(less), judged(less + more));
        prop_assert!(wide.word() != "fail" || tight.word() == "fail", "{tight} with less, {wide} with more");
        prop_assert!(tight != Verdict::Pass || wide == Verdict::Pass, "{tight} with less, {wide} with more");
    }

    // With the symptom seen: before that, a bad sample is the missing evidence.
    #[test]
    fn more_bad_samples_never_make_it_better(
        times in stretches(),
        is_optional in any::<bool>(),
        bads in proptest::collection::vec((0_u64..15_000, any::<bool>()), 1..4),
    ) {
        let plan = if is_optional { optional() } else { plan() };
        let before = run(plan, |run| {
            run.look(1_000, "service", &service(), bad());
            stretch(&times)(run);
        });
        let mut after = before.clone();
        for (place, is_service) in bads {
            let (check, subject) = if is_service { ("service", service()) } else { ("ready", of_pod("a")) };
            // Before the end, which stays the last event.
            let end = before.events.last().unwrap().at.nanos() / 1_000_000;
            let sent = 1_000 + place % (end - 1_010).max(1);
            after.look(sent, check, &subject, bad());
        }
        let (fewer, more) = (verdict(&before), verdict(&after));
        let rank = |verdict: &Verdict| ["pass", "inconclusive", "fail"].iter().position(|word| *word == verdict.word());
        prop_assert!(rank(&more) >= rank(&fewer), "{fewer} became {more}");
    }

    #[test]
    fn the_gate_is_the_worst_of_all(left in exit(), right in exit(), third in exit()) {
        prop_assert_eq!(left.worst(right), right.worst(left));
        prop_assert_eq!(left.worst(right).worst(third), left.worst(right.worst(third)));
        prop_assert_eq!(left.worst(left), left);
        prop_assert_eq!(Exit::Pass.worst(left), left);
        prop_assert_eq!(Exit::Bug.worst(left), Exit::Bug);
    }
}

fn exit() -> impl Strategy<Value = Exit> {
    proptest::sample::select(Exit::BY_PRECEDENCE.to_vec())
}

#[test]
fn order_of_verdicts() {
    let inconclusive = || Verdict::Inconclusive { why: "z".to_owned() };
    let fail = || Verdict::Fail { why: "a".to_owned() };
    assert!(Verdict::Pass < inconclusive() && inconclusive() < fail());
    assert_eq!(
        [Verdict::Pass.to_string(), inconclusive().to_string(), fail().to_string()],
        ["pass", "inconclusive: z", "fail: a"]
    );
    for verdict in [Verdict::Pass, inconclusive(), fail()] {
        let json = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
    }
}

#[test]
fn exit_codes() {
    let codes: Vec<u8> = Exit::BY_PRECEDENCE.iter().map(|exit| exit.code()).collect();
    assert_eq!(codes, [70, 5, 8, 7, 6, 2, 1, 143, 130, 3, 4, 0]);
    let mut meanings: Vec<&str> = Exit::BY_PRECEDENCE.iter().map(|exit| exit.meaning()).collect();
    meanings.sort_unstable();
    meanings.dedup();
    assert_eq!(meanings.len(), codes.len(), "each says something of its own");
}

#[test]
fn gates() {
    #[track_caller]
    fn check(name: &str, expect: u8, change: impl FnOnce(&mut GateFacts)) {
        let mut facts = GateFacts { selected: 1, ..GateFacts::default() };
        change(&mut facts);
        assert_eq!(gate(&facts).code(), expect, "{name}");
    }
    let inconclusive = || Verdict::Inconclusive { why: String::new() };
    let fail = || Verdict::Fail { why: String::new() };
    let failed = || StageResult::Failed { error: String::new() };
    let rolled_back = || StageResult::RolledBack { reason: String::new() };
    let not_back = || StageResult::RollbackFailed { error: String::new() };

    check("one pass", 0, |facts| facts.verdicts.push(Verdict::Pass));
    check("stages only", 0, |facts| facts.stages.push(StageResult::Done));
    check("nothing selected", 4, |facts| facts.selected = 0);
    check("selected, but nothing came of it", 3, |_| {});
    check("one of two verdicts", 3, |facts| {
        facts.selected = 2;
        facts.verdicts.push(Verdict::Pass);
    });
    check("inconclusive beside a pass", 3, |facts| facts.verdicts.extend([Verdict::Pass, inconclusive()]));
    check("fail beside inconclusive", 1, |facts| facts.verdicts.extend([inconclusive(), fail(), Verdict::Pass]));
    check("a stage failed", 1, |facts| facts.stages.extend([StageResult::Done, failed()]));
    check("a rule does not hold", 1, |facts| {
        facts.rules_unmet = 1;
        facts.verdicts.push(Verdict::Pass);
    });
    check("a rule does not hold, and nobody can tell", 1, |facts| {
        facts.rules_unmet = 1;
        facts.verdicts.push(inconclusive());
    });
    check("rolled back", 7, |facts| facts.stages.push(rolled_back()));
    check("rolled back, and a promise broken", 7, |facts| {
        facts.stages.push(rolled_back());
        facts.verdicts.push(fail());
    });
    check("roll-back failed", 8, |facts| facts.stages.extend([rolled_back(), not_back()]));
    check("environment", 6, |facts| {
        facts.is_environment = true;
        facts.verdicts.push(fail());
    });
    check("not cleaned up", 5, |facts| {
        facts.is_unclean = true;
        facts.stages.push(not_back());
    });
    check("interrupted", 130, |facts| {
        facts.interrupt = Some(Interrupt::Interrupt);
        facts.verdicts.extend([Verdict::Pass, inconclusive()]);
    });
    check("terminated", 143, |facts| {
        facts.interrupt = Some(Interrupt::Terminate);
        facts.stages.push(StageResult::Cancelled);
    });
    check("interrupted after a failure", 1, |facts| {
        facts.interrupt = Some(Interrupt::Interrupt);
        facts.verdicts.push(fail());
    });
    check("interrupted and not cleaned up", 5, |facts| {
        facts.interrupt = Some(Interrupt::Interrupt);
        facts.is_unclean = true;
    });
}

#[test]
fn a_verdict_is_the_same_from_a_replayed_outcome() {
    let run = run(plan(), outage(3_000));
    let journal: Vec<String> = run.sorted().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let mut outcome = Outcome::new(&run.plan);
    for line in journal {
        outcome.apply(&serde_json::from_str(&line).unwrap());
    }
    assert_eq!(judge(&run.plan, &outcome), verdict(&run));
}
