//! The open-schedule sampler, on a thread and a runtime of its own.
//!
//! Every look starts when its grid says so, whether or not earlier ones have come back.
//! What keeps us from looking makes a sample missing, never bad.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::cluster::ClusterLook;
use super::door::Door;
use super::double::DoubleLook;
use super::environment::EnvironmentLook;
use super::http::HttpLook;
use super::judge::{Answer, Times, judge, slipped};
use super::log::LogLook;
use super::metric::MetricLook;
use super::pulse::{BEAT, Pulse};
use super::question::QuestionLook;
use super::redis::RedisLook;
use super::schedule::{Grid, Pace, paces, phase};
use super::sockets::SocketsLook;
use super::survival::SurvivalLook;
use super::websocket::WebsocketLook;
use super::{Check, Pods, Target};
use crate::clock::RunClock;
use crate::double::control_path;
use crate::event::{Offset, PodFacts, Sample, Seen, Subject, What};
use crate::load::table::SocketTable;
use crate::salted;
use crate::scenario::plan::{CheckName, Plan};
use crate::system::{Observation, Observations, Rate, SystemError};

/// Looks in flight at once, all series together; beyond it a sample is missing.
pub const IN_FLIGHT_MAX: usize = 256;
/// Highest slip that is told apart: a minute, in microseconds.
const SLIP_MICROS_MAX: u64 = 60_000_000;

/// What the sampler needs.
pub struct Sampler {
    /// What to sample.
    pub plan: Arc<Plan>,
    /// The run's clock.
    pub clock: RunClock,
    /// Seed of where in their intervals series start.
    pub seed: u64,
    /// The Service.
    pub service: Door,
    /// The API server, for looks at single pods; absent where the plan has none.
    pub api: Option<Door>,
    /// The pods' namespace.
    pub namespace: String,
    /// How fast.
    pub rate: watch::Receiver<Rate>,
    /// The pods that there are.
    pub pods: watch::Receiver<Pods>,
    /// Which sockets the load holds; checks tell it of theirs.
    pub sockets: Arc<SocketTable>,
    /// Where samples go.
    pub into: Observations,
    /// Ends it.
    pub cancel: CancellationToken,
}

/// How punctual the sampler was.
#[derive(Debug, Clone)]
pub struct Punctuality {
    /// From intended to sent, in microseconds.
    pub slip_micros: Histogram<u64>,
    /// Samples that the record had no room for.
    pub dropped: u64,
}

impl Punctuality {
    /// One line for the report.
    #[must_use]
    pub fn note(&self) -> String {
        let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
        let dropped = if self.dropped == 0 { String::new() } else { format!("; {} did not fit", self.dropped) };
        format!(
            "sampling slip: p50 {:.1} ms, p99 {:.1} ms, highest {:.1} ms of {} samples{dropped}",
            millis(self.slip_micros.value_at_quantile(0.5)),
            millis(self.slip_micros.value_at_quantile(0.99)),
            millis(self.slip_micros.max()),
            self.slip_micros.len(),
        )
    }
}

/// One check at one subject, with its grid.
struct Series {
    place: Arc<Place>,
    grid: Grid,
    started: u64,
}

/// What a look needs to know, shared by all looks of a series.
struct Place {
    check: CheckName,
    subject: Subject,
    slow: Duration,
    timeout: Duration,
    look: Look,
}

enum Look {
    Http(HttpLook),
    Redis(Box<RedisLook>),
    Websocket(WebsocketLook),
    Question(Box<QuestionLook>),
    Sockets(SocketsLook),
    Metric(Box<MetricLook>),
    Survival(Box<SurvivalLook>),
    Environment(Box<EnvironmentLook>),
    Log(Box<LogLook>),
    LlmDouble(Box<DoubleLook>),
    Cluster(Box<ClusterLook>),
}

impl Look {
    /// What a look brings back, and for what moment it holds, where that is not its own.
    async fn look(&self, fresh: bool) -> (Answer, Option<Offset>) {
        let answer = match self {
            Self::Http(look) => look.look(fresh).await,
            Self::Redis(look) => look.look(fresh).await,
            Self::Websocket(look) => look.look().await,
            Self::Question(look) => look.look().await,
            Self::Survival(look) => look.look().await,
            Self::Environment(look) => look.look().await,
            Self::Log(look) => look.look().await,
            Self::LlmDouble(look) => look.look().await,
            Self::Cluster(look) => look.look().await,
            Self::Metric(look) => look.look().await,
            Self::Sockets(look) => return look.look(),
        };
        (answer, None)
    }

    /// Whether it opens a WebSocket at the system.
    const fn opens_socket(&self) -> bool {
        match self {
            Self::Websocket(_) | Self::Question(_) | Self::Survival(_) => true,
            Self::Http(_)
            | Self::Redis(_)
            | Self::Metric(_)
            | Self::Sockets(_)
            | Self::Environment(_)
            | Self::Log(_)
            | Self::LlmDouble(_)
            | Self::Cluster(_) => false,
        }
    }
}

/// A look's own WebSocket, as long as it may be open.
struct OwnSocket {
    table: Arc<SocketTable>,
    clock: RunClock,
}

impl OwnSocket {
    fn open(table: &Arc<SocketTable>, clock: RunClock) -> Self {
        table.check_began(clock.now());
        Self { table: Arc::clone(table), clock }
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        self.table.check_ended(self.clock.now());
    }
}

impl Sampler {
    /// Samples until cancelled, then records what is in flight as missing and returns.
    /// To be run on a runtime that nothing else uses.
    ///
    /// # Errors
    /// [`SystemError`] where a check crashed or needs a way that is not there.
    pub async fn run(mut self) -> Result<Punctuality, SystemError> {
        let histogram = Histogram::new_with_bounds(1, SLIP_MICROS_MAX, 3).expect("the bounds are valid");
        let mut punctuality = Punctuality { slip_micros: histogram, dropped: 0 };
        let mut series: HashMap<(CheckName, Subject), Series> = HashMap::new();
        let mut looks = JoinSet::new();
        let mut current = Vec::new();
        let pulse = Arc::new(Pulse::default());
        self.repace(&mut current, &mut series)?;
        loop {
            let now = self.clock.now();
            let next = series.values().map(|one| one.grid.next()).fold(now + BEAT, Offset::min);
            pulse.beat(now, next);
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => break,
                Ok(()) = self.rate.changed() => self.repace(&mut current, &mut series)?,
                Ok(()) = self.pods.changed() => self.follow_pods(&current, &mut series)?,
                Some(ended) = looks.join_next(), if !looks.is_empty() => punctuality.take_in(ended)?,
                () = sleep_until(self.clock.instant(next)) => self.start_due(&mut series, &mut looks, &pulse),
            }
        }
        while let Some(ended) = looks.join_next().await {
            punctuality.take_in(ended)?;
        }
        Ok(punctuality)
    }

    /// Applies the rate that is wanted now, and says so in the record.
    fn repace(
        &mut self,
        current: &mut Vec<Pace>,
        series: &mut HashMap<(CheckName, Subject), Series>,
    ) -> Result<(), SystemError> {
        let rate = self.rate.borrow_and_update().clone();
        let steady = self.pods.borrow().iter().filter(|pod| self.is_sampled(pod)).count();
        *current = paces(&self.plan, steady, &rate);
        for pace in current.iter() {
            let (check, interval, reason) = (pace.check.clone(), pace.interval, pace.reason.clone());
            // A full record loses a line about the pace, not the pace: the note of what did not fit tells.
            let _ = self.into.try_send(Observation::Record(What::SamplingAt { check, interval, reason }));
        }
        series.clear();
        self.follow_pods(current, series)
    }

    /// Makes the series that there should be, and drops those of pods that are gone.
    fn follow_pods(
        &mut self,
        current: &[Pace],
        series: &mut HashMap<(CheckName, Subject), Series>,
    ) -> Result<(), SystemError> {
        let pods = Arc::clone(&self.pods.borrow_and_update());
        let now = self.clock.now();
        let mut wanted = HashSet::new();
        for (planned, pace) in self.plan.checks.iter().zip(current) {
            for subject in self.subjects(&planned.check, &pods) {
                let key = (planned.name.clone(), subject.clone());
                wanted.insert(key.clone());
                if series.contains_key(&key) {
                    continue;
                }
                let first = now + phase(self.seed, &planned.name, &subject, pace.interval);
                let look = self.look(&planned.check, &subject)?;
                let (check, slow, timeout) =
                    (planned.name.clone(), planned.slow.unwrap_or(self.plan.slow), planned.timeout);
                let place = Arc::new(Place { check, subject, slow, timeout, look });
                series.insert(key, Series { place, grid: Grid::new(first, pace.interval), started: 0 });
            }
        }
        series.retain(|key, _| wanted.contains(key));
        Ok(())
    }

    fn subjects(&self, check: &Check, pods: &Pods) -> Vec<Subject> {
        match check.target() {
            // Without a choice whichever pod is the first one: the series is the workload's.
            Some(Target::Service) | None => vec![Subject::Service],
            Some(Target::EachPod) => pods
                .iter()
                .filter(|pod| self.is_sampled(pod))
                .map(|pod| Subject::Pod { name: pod.name.clone(), uid: pod.uid.clone() })
                .collect(),
        }
    }

    /// A pod on its way out serves nobody who asks the workload.
    fn is_sampled(&self, pod: &PodFacts) -> bool {
        pod.workload.as_ref() == Some(&self.plan.workload) && !pod.terminating
    }

    fn look(&self, check: &Check, subject: &Subject) -> Result<Look, SystemError> {
        let namespace = || self.namespace.clone();
        Ok(match check {
            Check::Http(http) => {
                let (door, path) = self.way(subject, &http.path)?;
                Look::Http(HttpLook::new(door, path, http.clone()))
            }
            Check::Websocket(websocket) => {
                let (door, path) = self.way(subject, &websocket.path)?;
                Look::Websocket(WebsocketLook { door, path })
            }
            Check::Question(question) => {
                let (door, path) = self.way(subject, &question.path)?;
                Look::Question(Box::new(QuestionLook { door, path, check: question.clone() }))
            }
            Check::Sockets(_) => Look::Sockets(SocketsLook::new(Arc::clone(&self.sockets), self.clock)),
            Check::Metric(metric) => Look::Metric(Box::new(MetricLook {
                increase: Mutex::default(),
                door: self.api_door()?,
                namespace: self.namespace.clone(),
                port: self.plan.port,
                workload: self.plan.workload.clone(),
                check: metric.clone(),
                pods: self.pods.clone(),
                table: Arc::clone(&self.sockets),
                clock: self.clock,
                kept: Mutex::default(),
            })),
            Check::Survival(survival) => {
                let (door, path) = self.way(subject, &survival.path)?;
                Look::Survival(Box::new(SurvivalLook { door, path, check: survival.clone() }))
            }
            Check::Redis(redis) => {
                let look = RedisLook::new(self.api_door()?, namespace(), redis.clone(), self.pods.clone());
                Look::Redis(Box::new(look))
            }
            Check::Environment(environment) => {
                let pod = match subject {
                    Subject::Pod { name, .. } => name.clone(),
                    Subject::Service => unreachable!("its target is each pod"),
                };
                let variable = environment.variable.clone();
                let salt = salted::salt(self.seed, &variable);
                let (door, namespace) = (self.api_door()?, namespace());
                Look::Environment(Box::new(EnvironmentLook { door, namespace, pod, variable, salt }))
            }
            Check::Log(log) => {
                let look = LogLook::new(self.api_door()?, namespace(), log.clone(), self.pods.clone());
                Look::Log(Box::new(look))
            }
            Check::LlmDouble(double) => {
                let (door, path) = (self.api_door()?, control_path(&self.namespace));
                Look::LlmDouble(Box::new(DoubleLook { door, path, counts: double.counts.clone() }))
            }
            Check::Cluster(cluster) => Look::Cluster(Box::new(ClusterLook::new(self.api_door()?, *cluster))),
        })
    }

    /// The way to a subject, and the path as it stands in a request on that way.
    fn way(&self, subject: &Subject, path: &str) -> Result<(Door, String), SystemError> {
        match subject {
            Subject::Service => Ok((self.service.clone(), path.to_owned())),
            Subject::Pod { name, .. } => {
                let place = format!("/api/v1/namespaces/{}/pods/{name}:{}/proxy", self.namespace, self.plan.port);
                Ok((self.api_door()?, format!("{place}{path}")))
            }
        }
    }

    fn api_door(&self) -> Result<Door, SystemError> {
        self.api.clone().ok_or_else(|| SystemError {
            message: "look at a single pod: there is no API server to go through".to_owned(),
            transient: false,
        })
    }

    fn start_due(
        &self,
        series: &mut HashMap<(CheckName, Subject), Series>,
        looks: &mut JoinSet<Started>,
        pulse: &Arc<Pulse>,
    ) {
        let now = self.clock.now();
        for one in series.values_mut() {
            while let Some(intended) = one.grid.due(now) {
                let fresh = one.started.is_multiple_of(2);
                one.started += 1;
                let slip = slipped(intended, self.clock.now(), one.grid.interval());
                let full = (looks.len() >= IN_FLIGHT_MAX)
                    .then(|| Seen::Missing { reason: format!("{IN_FLIGHT_MAX} looks are in flight already") });
                let unsent = slip.or(full);
                let start = Start {
                    place: Arc::clone(&one.place),
                    intended,
                    fresh,
                    unsent,
                    clock: self.clock,
                    pulse: Arc::clone(pulse),
                    into: self.into.clone(),
                    sockets: Arc::clone(&self.sockets),
                    service: self.service.clone(),
                    cancel: self.cancel.clone(),
                };
                looks.spawn(start.go());
            }
        }
    }
}

/// What a look leaves for the statistics.
struct Started {
    slip: Duration,
    recorded: bool,
}

/// One look, about to start.
struct Start {
    place: Arc<Place>,
    intended: Offset,
    fresh: bool,
    /// What keeps it from being sent, where something does.
    unsent: Option<Seen>,
    clock: RunClock,
    pulse: Arc<Pulse>,
    into: Observations,
    sockets: Arc<SocketTable>,
    /// Knows what the way to the system may be to blame for.
    service: Door,
    cancel: CancellationToken,
}

impl Start {
    async fn go(self) -> Started {
        let Self { place, intended, clock, .. } = &self;
        let started = clock.now();
        let (seen, value, done, of) = match &self.unsent {
            Some(unsent) => (unsent.clone(), None, started, None),
            None => self.look().await,
        };
        // What is told of an earlier moment was so then, and not when we asked.
        let sent = of.unwrap_or(started);
        let (check, subject) = (place.check.clone(), place.subject.clone());
        let sample = Sample { check, subject, intended: *intended, sent, done, seen, value };
        // Waiting for room would delay looks: a full record is counted and told instead.
        let put = self.into.try_send(Observation::Record(What::Sample(sample)));
        Started { slip: started.since(*intended), recorded: !matches!(put, Err(mpsc::error::TrySendError::Full(_))) }
    }

    async fn look(&self) -> (Seen, Option<String>, Offset, Option<Offset>) {
        let Self { place, intended, clock, .. } = self;
        let _own = place.look.opens_socket().then(|| OwnSocket::open(&self.sockets, *clock));
        let until = clock.instant(*intended + place.timeout);
        let looked = tokio::select! {
            biased;
            looked = timeout_at(until, place.look.look(self.fresh)) => looked.ok(),
            () = self.cancel.cancelled() => {
                let reason = "observing ended before the answer".to_owned();
                return (Seen::Missing { reason }, None, clock.now(), None);
            }
        };
        let (answer, of) = looked.map_or((None, None), |(answer, of)| (Some(answer), of));
        let done = clock.now();
        let times = Times { intended: *intended, done, stalled: self.pulse.stalled(*intended, done) };
        let seen = self.excused(judge(answer.as_ref(), times, place.slow, place.timeout), of, done);
        (seen, answer.and_then(Result::ok).flatten(), done, of)
    }
}

impl Start {
    /// What is bad while the way to the system does not work says nothing about the system.
    fn excused(&self, seen: Seen, of: Option<Offset>, done: Offset) -> Seen {
        let from = of.map_or(self.intended, |of| of.min(self.intended));
        match seen {
            Seen::Bad { reason } => match self.service.excuse(self.clock.instant(from), self.clock.instant(done)) {
                Some(excuse) => Seen::Missing { reason: excuse },
                None => Seen::Bad { reason },
            },
            Seen::Good | Seen::Missing { .. } => seen,
        }
    }
}

impl Punctuality {
    fn take_in(&mut self, ended: Result<Started, tokio::task::JoinError>) -> Result<(), SystemError> {
        let started =
            ended.map_err(|crash| SystemError { message: format!("check crashed: {crash}"), transient: false })?;
        self.slip_micros.saturating_record(u64::try_from(started.slip.as_micros()).unwrap_or(u64::MAX));
        self.dropped += u64::from(!started.recorded);
        Ok(())
    }
}
