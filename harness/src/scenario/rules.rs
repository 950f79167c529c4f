//! What makes a scenario impossible although every field of it is of the right form.

use std::time::Duration;

use super::needs::Need;
use super::plan::{CheckName, Cost, LoadPlan, PlannedCheck, Proof, Through};
use crate::duration;
use crate::fault::Fault;
use crate::runbook::is_annotation;
use crate::salted::is_variable;
use crate::sample::schedule::COSTLY_SLOWDOWN;
use crate::sample::{AnsweredBy, Check, MetricCheck, MetricRule};

/// An API server that is away for longer finds nodes that it has not heard of for so long that
/// it gives them up: 40 s in older versions.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// A streak may have gaps of up to three intervals: `hold` must outlast one of them.
const INTERVALS_IN_HOLD_MIN: u32 = 4;

/// What is wrong with what a check looks at.
pub(super) fn check_is_wrong(check: &Check, load: &LoadPlan) -> Option<String> {
    let (path, status, pointers): (&str, u16, Vec<&String>) = match check {
        Check::Http(http) => (&http.path, http.status, http.json.keys().collect()),
        Check::Websocket(websocket) => (&websocket.path, 101, Vec::new()),
        Check::Question(question) => {
            if let Some(wrong) = answer_is_wrong(&question.answered_by) {
                return Some(wrong);
            }
            (&question.path, 101, vec![&question.answered_by.text])
        }
        Check::Survival(survival) if survival.end.is_empty() => {
            return Some("`end` names no key: every message would be one".to_owned());
        }
        Check::Survival(survival) => (&survival.path, 101, Vec::new()),
        Check::Environment(environment) => {
            let variable = &environment.variable;
            return (!is_variable(variable)).then(|| format!("`{variable}` can be no variable of an environment"));
        }
        Check::Log(log) => {
            return log.fields.is_empty().then(|| "`fields` names none: every line would match".to_owned());
        }
        Check::LlmDouble(double) => {
            return double.counts.is_empty().then(|| "`counts` names no counter: their sum is always 0".to_owned());
        }
        Check::Redis(redis) if redis.port == 0 => return Some("no process listens at port 0".to_owned()),
        Check::Redis(_) | Check::Cluster(_) => return None,
        Check::Sockets(_) if load.sockets == 0 => return Some("the load holds no `sockets` to look at".to_owned()),
        Check::Sockets(_) => return None,
        Check::Metric(metric) => {
            if let Some(wrong) = metric_is_wrong(metric, load) {
                return Some(wrong);
            }
            (&metric.path, 200, Vec::new())
        }
    };
    if !is_path(path) {
        return Some(format!("`{path}` is no path: it starts with `/` and has no spaces"));
    }
    if !(100..600).contains(&status) {
        return Some(format!("{status} is no HTTP status: they go from 100 to 599"));
    }
    let pointer = pointers.into_iter().find(|pointer| !pointer.starts_with('/'))?;
    Some(format!("`{pointer}` is no JSON pointer: write `/{pointer}`"))
}

/// What is wrong with what a good answer is said to be.
pub(super) fn answer_is_wrong(by: &AnsweredBy) -> Option<String> {
    let empty = |name: &str| Some(format!("`{name}` names no key: every message would be one"));
    if by.chunk.is_empty() {
        return empty("chunk");
    }
    if by.end.is_empty() {
        return empty("end");
    }
    by.excuses.iter().any(|excuse| excuse.trim().is_empty()).then(|| "an empty excuse is in every answer".to_owned())
}

fn metric_is_wrong(metric: &MetricCheck, load: &LoadPlan) -> Option<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':');
    if metric.name.is_empty() || !metric.name.chars().all(is_part) {
        return Some(format!("`{}` is no name of a metric", metric.name));
    }
    let held = load.sockets + load.sockets_backing_off;
    (metric.rule == MetricRule::OpenSockets && held == 0)
        .then(|| "the load holds no `sockets` that the metric could count".to_owned())
}

/// What keeps a proof from ever being seen.
pub(super) fn proof_is_wrong<'a>(
    proof: &Proof,
    load: &LoadPlan,
    kind: &impl Fn(&CheckName) -> Option<&'a Check>,
) -> Option<String> {
    match proof {
        Proof::SocketsClosed(closed) => {
            let held = load.sockets;
            (closed.at_least == 0 || closed.at_least > held)
                .then(|| format!("`sockets-closed` wants {} of the {held} sockets of the load", closed.at_least))
        }
        Proof::MetricFell(moved) | Proof::MetricRose(moved) => {
            // A name that is not known is told by itself.
            let is_metric = kind(&moved.check).is_none_or(|check| matches!(check, Check::Metric(_)));
            if !is_metric {
                return Some(format!("check `{}` reads no metric", moved.check));
            }
            (moved.by == 0).then(|| "a metric moves `by` at least 1".to_owned())
        }
        Proof::AnyOf(all) => all.iter().find_map(|one| proof_is_wrong(one, load, kind)),
        Proof::PodReplaced(_)
        | Proof::ContainerReplaced(_)
        | Proof::PodGone(_)
        | Proof::PodNotReady(_)
        | Proof::ContainerEnded(_)
        | Proof::CheckFailed(_)
        | Proof::ValueChanged(_)
        | Proof::ValueChangedEverywhere(_)
        | Proof::Grew(_) => None,
    }
}

/// What is wrong with a fault beside what stands between clients and the Service.
pub(super) fn fault_is_wrong(fault: &Fault, through: &Through) -> Option<String> {
    match (fault, through) {
        (Fault::Traffic(_), Through::Direct) => {
            Some("a `traffic` fault needs the fault proxy: add `through: { proxy: {} }`".to_owned())
        }
        (Fault::Traffic(trick), Through::Proxy(_)) => trick.wrong(),
        (Fault::Annotate(annotate), _) if !is_annotation(&annotate.key) => {
            Some(format!("`{}` is no name of an annotation: write `NAME` or `DOMAIN/NAME`", annotate.key))
        }
        (
            Fault::PodSignal(_)
            | Fault::PodDelete(_)
            | Fault::Scale(_)
            | Fault::RolloutRestart(_)
            | Fault::Annotate(_)
            | Fault::Secret(_)
            | Fault::LlmDouble(_)
            | Fault::Leak(_)
            | Fault::Node(_)
            | Fault::Kubelet(_)
            | Fault::Registry(_)
            | Fault::Chaos(_),
            _,
        ) => None,
        (Fault::ApiServer(fault), _) => {
            let most = duration::text(AWAY_MAX);
            (fault.lasts > AWAY_MAX).then(|| format!("without an API server for more than {most} nodes count as lost"))
        }
        (Fault::NetworkCut(cut), _) => {
            (cut.from == cut.to).then(|| format!("`{}` cannot be cut off from itself", cut.from))
        }
    }
}

/// What a scenario with such a fault must say beside it.
pub(super) fn needs_are_wrong(fault: &Fault, needs: &[Need], exclusive: bool) -> Option<String> {
    if let Some(need) = fault.needs().filter(|need| !needs.contains(need)) {
        let name = need.name();
        return Some(match need {
            Need::LlmDouble => format!("the fault is one of the LLM's double: say `needs: [{name}]`"),
            Need::Debug | Need::Nodes | Need::Registry | Need::NetworkPolicy | Need::ChaosMesh => {
                format!("the fault is not possible everywhere: say `needs: [{name}]`")
            }
        });
    }
    let missing = fault.touches_neighbours() && !exclusive;
    missing.then(|| "the fault is felt in every namespace of the cluster: say `exclusive: true`".to_owned())
}

/// A path as it stands in a request.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(char::is_whitespace)
}

/// The shortest `hold` beside a check that decides about recovery.
pub(super) fn hold_least(check: &PlannedCheck) -> Duration {
    slowest(check) * INTERVALS_IN_HOLD_MIN
}

/// Time between two looks on one series.
fn slowest(check: &PlannedCheck) -> Duration {
    match check.cost {
        Cost::Low => check.interval,
        Cost::High => check.interval * COSTLY_SLOWDOWN,
    }
}

/// What is wrong with `hold` beside the interval of a check that decides about recovery.
pub(super) fn hold_is_wrong(hold: Duration, check: &PlannedCheck) -> Option<String> {
    let (interval, least) = (slowest(check), hold_least(check));
    let check = &check.name;
    (hold < least).then(|| {
        let (hold, interval, least) = (duration::text(hold), duration::text(interval), duration::text(least));
        format!("`hold` ({hold}) holds too few samples of check `{check}`, one every {interval}: at least {least}")
    })
}

/// The checks that a proof names.
pub(super) fn checks_of(proof: &Proof) -> Vec<&CheckName> {
    match proof {
        Proof::CheckFailed(name)
        | Proof::ValueChanged(name)
        | Proof::ValueChangedEverywhere(name)
        | Proof::Grew(name) => vec![name],
        Proof::MetricFell(moved) | Proof::MetricRose(moved) => vec![&moved.check],
        Proof::AnyOf(all) => all.iter().flat_map(checks_of).collect(),
        Proof::PodReplaced(_)
        | Proof::ContainerReplaced(_)
        | Proof::PodGone(_)
        | Proof::PodNotReady(_)
        | Proof::ContainerEnded(_)
        | Proof::SocketsClosed(_) => Vec::new(),
    }
}

/// Whether the proof, or a part of it, is a choice among nothing.
pub(super) fn has_empty_choice(proof: &Proof) -> bool {
    match proof {
        Proof::AnyOf(all) => all.is_empty() || all.iter().any(has_empty_choice),
        Proof::PodReplaced(_)
        | Proof::ContainerReplaced(_)
        | Proof::PodGone(_)
        | Proof::PodNotReady(_)
        | Proof::ContainerEnded(_)
        | Proof::CheckFailed(_)
        | Proof::ValueChanged(_)
        | Proof::ValueChangedEverywhere(_)
        | Proof::Grew(_)
        | Proof::SocketsClosed(_)
        | Proof::MetricFell(_)
        | Proof::MetricRose(_) => false,
    }
}
