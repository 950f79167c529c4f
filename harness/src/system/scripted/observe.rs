//! Observing a script: the plan's schedule on looks that cost nothing but virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::world::{World, whom};
use super::{Mode, Script, Whom};
use crate::clock::RunClock;
use crate::event::{LoadSecond, Offset, PodFacts, Sample, Subject, What};
use crate::load::generator::LIGHT_INTERVAL;
use crate::load::tally::Tally;
use crate::sample::door::Failure;
use crate::sample::judge::{Answer, Times, judge};
use crate::sample::schedule::{Grid, Pace, paces, phase};
use crate::sample::{Check, Target};
use crate::scenario::plan::{Plan, PlannedCheck};
use crate::system::{Observation, Observations, Rate, Request, SystemError};

/// Observes until cancelled.
pub(super) async fn observe(
    script: &Script,
    plan: &Plan,
    clock: RunClock,
    mut world: watch::Receiver<World>,
    mut rate: watch::Receiver<Rate>,
    into: Observations,
    cancel: CancellationToken,
) -> Result<(), SystemError> {
    let mut observer = Observer::new(script, plan, clock, world.clone());
    let mut looks = FuturesUnordered::new();
    observer.repace(&rate.borrow_and_update());
    loop {
        for observation in observer.outbox.drain(..) {
            // The engine reads as long as it observes; what it does not read is not wanted.
            if into.send(observation).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Ok(()) = rate.changed() => observer.repace(&rate.borrow_and_update()),
            Ok(()) = world.changed() => observer.follow_pods(),
            Some(sample) = looks.next(), if !looks.is_empty() => observer.outbox.push(Observation::Record(What::Sample(sample))),
            () = sleep_until(clock.instant(observer.next())) => {
                for due in observer.due() {
                    looks.push(observer.look(due).boxed());
                }
            }
        }
    }
    let rest = observer.tally.finish(clock.now());
    observer.load(rest);
    for observation in observer.outbox.drain(..) {
        // As above.
        let _ = into.send(observation).await;
    }
    Ok(())
}

struct Observer<'a> {
    script: &'a Script,
    plan: &'a Plan,
    clock: RunClock,
    world: watch::Receiver<World>,
    chance: fastrand::Rng,
    outbox: Vec<Observation>,
    pods: Vec<PodFacts>,
    paces: Vec<Pace>,
    series: BTreeMap<(usize, Subject), Grid>,
    requests: Option<Grid>,
    light: Option<Grid>,
    tally: Tally,
    next_stall: Option<Offset>,
    /// Until when each pod is busy with something else.
    busy: Vec<Offset>,
}

/// A look whose time has come.
struct Due {
    check: usize,
    subject: Subject,
    intended: Offset,
}

impl<'a> Observer<'a> {
    fn new(script: &'a Script, plan: &'a Plan, clock: RunClock, world: watch::Receiver<World>) -> Self {
        let now = clock.now();
        let requests = (plan.load.requests_per_second > 0.0)
            .then(|| Grid::new(now, Duration::from_secs_f64(1.0 / plan.load.requests_per_second)));
        let mut observer = Self {
            script,
            plan,
            clock,
            world,
            chance: fastrand::Rng::with_seed(script.seed),
            outbox: Vec::new(),
            pods: Vec::new(),
            paces: Vec::new(),
            series: BTreeMap::new(),
            requests,
            light: None,
            tally: Tally::new(now),
            next_stall: None,
            busy: vec![Offset::ZERO; script.pods.max(1) as usize],
        };
        observer.next_stall = observer.stall_after(now);
        observer.follow_pods();
        observer
    }

    fn stall_after(&mut self, now: Offset) -> Option<Offset> {
        let noise = self.script.noise?;
        Some(now + noise.every.mul_f64(2.0 * self.chance.f64()))
    }

    fn repace(&mut self, rate: &Rate) {
        self.paces = paces(self.plan, self.script.pods as usize, rate);
        for pace in &self.paces {
            let (check, interval, reason) = (pace.check.clone(), pace.interval, pace.reason.clone());
            self.outbox.push(Observation::Record(What::SamplingAt { check, interval, reason }));
        }
        self.light = match (rate.light_load, self.light.take()) {
            (true, running @ Some(_)) => running,
            (true, None) => Some(Grid::new(self.clock.now(), LIGHT_INTERVAL)),
            (false, _) => None,
        };
        self.series.clear();
        self.follow_pods();
    }

    /// Tells what a watch would tell, and follows with the series.
    fn follow_pods(&mut self) {
        let now = self.clock.now();
        let pods = self.world.borrow().pods(now);
        for gone in self.pods.iter().filter(|pod| pods.iter().all(|other| other.uid != pod.uid)) {
            let what = What::PodGone { name: gone.name.clone(), uid: gone.uid.clone() };
            self.outbox.push(Observation::Record(what));
        }
        for pod in pods.iter().filter(|pod| !self.pods.contains(pod)) {
            self.outbox.push(Observation::Record(What::PodSeen(pod.clone())));
        }
        self.pods = pods;
        let mut wanted = BTreeMap::new();
        for (place, (check, pace)) in self.plan.checks.iter().zip(&self.paces).enumerate() {
            for subject in self.subjects(check) {
                let first = now + phase(self.script.seed, &check.name, &subject, pace.interval);
                let key = (place, subject);
                let grid = self.series.remove(&key).unwrap_or(Grid::new(first, pace.interval));
                wanted.insert(key, grid);
            }
        }
        self.series = wanted;
    }

    fn subjects(&self, check: &PlannedCheck) -> Vec<Subject> {
        match check.check.target() {
            Some(Target::Service) | None => vec![Subject::Service],
            Some(Target::EachPod) => self
                .pods
                .iter()
                .filter(|pod| pod.workload.as_ref() == Some(&self.plan.workload))
                .map(|pod| Subject::Pod { name: pod.name.clone(), uid: pod.uid.clone() })
                .collect(),
        }
    }

    /// When something happens next.
    fn next(&self) -> Offset {
        let now = self.clock.now();
        let grids = self.series.values().chain(&self.requests).chain(&self.light).map(Grid::next);
        let sight = self.world.borrow().next_sight(now);
        grids.chain(self.next_stall).chain(sight).min().unwrap_or(now + Duration::from_secs(1))
    }

    /// Lets everything happen whose time has come; returns the looks among it.
    fn due(&mut self) -> Vec<Due> {
        let now = self.clock.now();
        self.follow_pods();
        if let (Some(at), Some(noise)) = (self.next_stall, self.script.noise)
            && at <= now
        {
            let until = now + noise.length_max.mul_f64(self.chance.f64());
            self.busy.iter_mut().for_each(|busy| *busy = (*busy).max(until));
            self.next_stall = self.stall_after(now);
        }
        while let Some(intended) = self.requests.as_mut().and_then(|grid| grid.due(now)) {
            let request = self.request(intended);
            self.tally.request(request.intended, request.latency);
        }
        while let Some(intended) = self.light.as_mut().and_then(|grid| grid.due(now)) {
            self.request(intended);
        }
        if self.requests.is_some() {
            let seconds = self.tally.complete(now);
            self.load(seconds);
        }
        let mut due = Vec::new();
        for ((check, subject), grid) in &mut self.series {
            while let Some(intended) = grid.due(now) {
                due.push(Due { check: *check, subject: subject.clone(), intended });
            }
        }
        due
    }

    fn load(&mut self, seconds: Vec<LoadSecond>) {
        if self.requests.is_some() {
            self.outbox.extend(seconds.into_iter().map(|second| Observation::Record(What::Load(second))));
        }
    }

    fn request(&mut self, intended: Offset) -> Request {
        let place = self.chance.usize(..self.busy.len());
        let wait = self.busy[place].since(intended);
        let jitter = self.script.latency.mul_f64(self.chance.f64());
        let up = self.world.borrow().down(Whom::Service, intended).is_none();
        let request = Request { intended, latency: up.then_some(wait + self.script.latency + jitter) };
        self.outbox.push(Observation::Request(request));
        request
    }

    /// One look, from its being sent to its sample.
    fn look(&mut self, due: Due) -> impl Future<Output = Sample> + Send + use<> {
        let planned = self.plan.checks[due.check].clone();
        let is_redis = matches!(planned.check, Check::Redis(_));
        let who = if is_redis { Whom::Redis } else { whom(&due.subject) };
        let place = match who {
            Whom::Pod(place) => Some(place as usize),
            Whom::Service | Whom::Workload => Some(self.chance.usize(..self.busy.len())),
            Whom::Redis => None,
        };
        let mut wait = Duration::ZERO;
        if let Some(busy) = place.and_then(|place| self.busy.get_mut(place)) {
            let start = (*busy).max(due.intended);
            *busy = start + self.script.costs.get(&planned.name).copied().unwrap_or_default();
            wait = busy.since(due.intended);
        }
        let takes = wait + self.script.latency.mul_f64(1.0 + self.chance.f64());
        let (clock, world, slow) = (self.clock, self.world.clone(), planned.slow.unwrap_or(self.plan.slow));
        async move {
            let sent = clock.now();
            let until = due.intended + planned.timeout;
            let answer = timeout_at(clock.instant(until), answer(clock, world, who, takes)).await.ok();
            let done = clock.now();
            let times = Times { intended: due.intended, done, stalled: Duration::ZERO };
            let seen = judge(answer.as_ref(), times, slow, planned.timeout);
            let value = answer.and_then(Result::ok).flatten().filter(|_| is_redis);
            Sample { check: planned.name, subject: due.subject, intended: due.intended, sent, done, seen, value }
        }
    }
}

/// What someone answers, and when.
async fn answer(clock: RunClock, mut world: watch::Receiver<World>, who: Whom, takes: Duration) -> Answer {
    loop {
        let now = clock.now();
        let (down, end) = {
            let world = world.borrow_and_update();
            (world.down(who, now), world.next_end(who, now))
        };
        match down {
            None => break,
            Some(Mode::Refuses) => return Err(Failure::Theirs("refused".to_owned())),
            Some(Mode::Unseen) => return Err(Failure::Ours("connect the API server: refused".to_owned())),
            Some(Mode::Hangs) => tokio::select! {
                biased;
                () = sleep_until(clock.instant(end.unwrap_or_default())), if end.is_some() => {}
                changed = world.changed() => if changed.is_err() { std::future::pending::<()>().await },
            },
        }
    }
    let answers = clock.now() + takes;
    sleep_until(clock.instant(answers)).await;
    Ok(Some(world.borrow().run_id(clock.now())))
}
