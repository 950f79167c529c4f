//! Is the stopwatch right? Outages of a process that logs its own truth, against what the
//! sampler and the outcome make of them.
//!
//! The process closes its port, or stands still, for a random time, and says when it began
//! and ended, on CLOCK_MONOTONIC. The real sampler looks at it over real sockets, and the
//! outcome's interval must contain the truth, every time.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Pods;
use super::door::Door;
use super::sampler::{Punctuality, Sampler};
use super::thread::Thread;
use crate::clock::RunClock;
use crate::event::{Event, Offset, What};
use crate::load::table::SocketTable;
use crate::outcome::{Outcome, Recovery};
use crate::system::{Observation, Rate, SystemError};

mod plan;
mod service;

pub use service::serve;

/// Time between two looks: the figures are stated at this spacing.
pub const SPACING: Duration = Duration::from_millis(20);
/// A right answer that takes longer is a bad sample.
pub const SLOW: Duration = Duration::from_millis(100);
/// How long good samples must last.
const HOLD: Duration = Duration::from_millis(200);
/// A process that is let run so much too late after an outage was down for longer than it
/// knows: there is no truth in such a trial, and another one is made in its place.
const LATE_MAX: Duration = Duration::from_millis(20);
/// One trial takes well below a second; a machine may stand still meanwhile.
const TRIAL_WITHIN: Duration = Duration::from_secs(30);
/// How long the process may take to start, to act, or to say so.
const WORD_WITHIN: Duration = Duration::from_secs(10);

/// So many trials may always be void.
const VOID_MIN: usize = 100;

/// How the process fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// It closes its port and its connections.
    Refuses,
    /// It stands still.
    Hangs,
}

impl Outage {
    /// Long enough to be seen, short enough for many trials.
    fn length(self, chance: &mut fastrand::Rng) -> Duration {
        let least = match self {
            Self::Refuses => Duration::from_millis(50),
            // What is shorter than `slow` is no outage.
            Self::Hangs => SLOW + Duration::from_millis(50),
        };
        least + Duration::from_millis(150).mul_f64(chance.f64())
    }

    fn word(self) -> &'static str {
        match self {
            Self::Refuses => "refuse",
            Self::Hangs => "hang",
        }
    }
}

/// How to start the process: a program and arguments that lead to [`serve`].
#[derive(Debug, Clone)]
pub struct Program {
    /// The program, usually this one.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// One trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// How the process failed.
    pub outage: Outage,
    /// It was down for at least this long, by its own log.
    pub truth_min: Duration,
    /// And for at most this long.
    pub truth_max: Duration,
    /// The measured interval's lower end.
    pub lower: Duration,
    /// The measured interval's upper end.
    pub upper: Duration,
}

impl Trial {
    /// Whether the truth lies inside the interval. The process can tell its truth only to
    /// within the microseconds that opening and closing a port take it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lower <= self.truth_max && self.truth_min <= self.upper
    }

    /// The interval's width.
    #[must_use]
    pub fn width(&self) -> Duration {
        self.upper.saturating_sub(self.lower)
    }
}

/// What all trials came to.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Every trial, in order.
    pub trials: Vec<Trial>,
    /// Trials that were made again because the process was not let run.
    pub void: usize,
    /// How punctual the samplers were, one for each process.
    pub punctuality: Vec<Punctuality>,
}

impl Truth {
    /// Trials whose interval contains the truth.
    #[must_use]
    pub fn held(&self) -> usize {
        self.trials.iter().filter(|trial| trial.holds()).count()
    }

    /// The 99th percentile of the interval's width over trials of one sort.
    #[must_use]
    pub fn width_p99(&self, outage: Outage) -> Duration {
        let mut widths = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid");
        for trial in self.trials.iter().filter(|trial| trial.outage == outage) {
            widths.saturating_record(u64::try_from(trial.width().as_micros()).unwrap_or(u64::MAX));
        }
        Duration::from_micros(widths.value_at_quantile(0.99))
    }
}

/// The trials could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The process could not be started, or stopped listening to us.
    #[error("run the truthful process: {0}")]
    Process(#[from] std::io::Error),
    /// The process did not say what it should.
    #[error("hear `{expected}` from the truthful process; last heard: {heard}")]
    Silent {
        /// What was waited for.
        expected: &'static str,
        /// What came.
        heard: String,
    },
    /// The sampler failed.
    #[error(transparent)]
    Sampler(#[from] SystemError),
    /// The machine is too busy for any truth.
    #[error("find {done} trials with a truth: in {void} others the process was not let run")]
    Busy {
        /// Trials without one.
        void: usize,
        /// Trials with one.
        done: usize,
    },
    /// A trial did not come to a recovery.
    #[error("see trial {trial} recover: {seen:?} after {} s", TRIAL_WITHIN.as_secs())]
    Unrecovered {
        /// Its number, from 0.
        trial: usize,
        /// What the outcome said.
        seen: Recovery,
    },
}

/// Carries out so many trials with so many processes at once, each with a sampler and a fold
/// of its own. Ends all of them however it goes.
///
/// # Errors
/// [`TruthError`] where a trial could not be carried out; an interval that misses the
/// truth is no error here but a [`Trial`] that does not hold.
pub async fn measure(program: &Program, trials: usize, processes: usize, seed: u64) -> Result<Truth, TruthError> {
    let processes = processes.max(1);
    let lanes = (0..processes).map(|lane| {
        let share = trials / processes + usize::from(lane < trials % processes);
        lane_of(program, share, seed.wrapping_add(lane as u64))
    });
    let mut truth = Truth { trials: Vec::new(), void: 0, punctuality: Vec::new() };
    for lane in futures_util::future::try_join_all(lanes).await? {
        truth.trials.extend(lane.trials);
        truth.void += lane.void;
        truth.punctuality.extend(lane.punctuality);
    }
    Ok(truth)
}

/// The trials of one process, refusing and hanging in turns.
async fn lane_of(program: &Program, trials: usize, seed: u64) -> Result<Truth, TruthError> {
    let mut process = Process::start(program).await?;
    let clock = RunClock::start();
    let (into, seen) = mpsc::channel(4096);
    let (_rate, rate) = watch::channel(Rate::full());
    let (_pods, pods) = watch::channel(Pods::from([]));
    let cancel = CancellationToken::new();
    let _ends_sampler = cancel.clone().drop_guard();
    let sampler = Sampler {
        plan: Arc::new(plan::plan()),
        clock,
        seed,
        service: Door::direct(process.address),
        api: None,
        namespace: String::new(),
        rate,
        pods,
        sockets: Arc::new(SocketTable::new(0)),
        into,
        cancel: cancel.clone(),
    };
    let mut sampling = Thread::start("sampler", sampler.run())?;
    let mut record = Record { clock, seen, outcome: Outcome::new(&plan::plan()) };
    let mut chance = fastrand::Rng::with_seed(seed);
    let (mut done, mut void) = (Vec::new(), 0);
    while done.len() < trials {
        let outage = if done.len().is_multiple_of(2) { Outage::Refuses } else { Outage::Hangs };
        let length = outage.length(&mut chance);
        let trial = trial(done.len() + void, outage, length, &mut process, &mut record).await?;
        if process.late().await? <= LATE_MAX {
            done.push(trial);
        } else {
            void += 1;
        }
        if void > trials.max(VOID_MIN) {
            return Err(TruthError::Busy { void, done: done.len() });
        }
    }
    cancel.cancel();
    let punctuality = sampling.ended().await?.expect("it is asked once");
    Ok(Truth { trials: done, void, punctuality: vec![punctuality] })
}

/// What is known in one trial.
struct Record {
    clock: RunClock,
    seen: mpsc::Receiver<Observation>,
    outcome: Outcome,
}

impl Record {
    fn apply(&mut self, what: What) {
        self.outcome.apply(&Event { at: self.clock.now(), scenario: None, what });
    }

    /// Takes in the next observation; whether the sampler is still there.
    async fn next(&mut self) -> bool {
        let next = self.seen.recv().await;
        if let Some(Observation::Record(what)) = next {
            self.apply(what);
            return true;
        }
        next.is_some()
    }

    async fn until(&mut self, is: impl Fn(&Self) -> bool) {
        while !is(self) && self.next().await {}
    }
}

async fn trial(
    number: usize,
    outage: Outage,
    length: Duration,
    process: &mut Process,
    record: &mut Record,
) -> Result<Trial, TruthError> {
    let restarts = u32::try_from(number).unwrap_or(u32::MAX);
    record.outcome = Outcome::new(&plan::plan());
    record.apply(What::Evidence { pods: vec![plan::pod(restarts)] });
    let stuck = |record: &Record| TruthError::Unrecovered { trial: number, seen: record.outcome.recovery() };
    let steady = record.until(|record| record.outcome.is_steady(record.clock.now(), HOLD));
    if tokio::time::timeout(TRIAL_WITHIN, steady).await.is_err() {
        return Err(stuck(record));
    }
    record.apply(What::FaultSent);
    process.order(outage, length).await?;
    let began = process.hear("down").await?;
    // The process' own word is the second channel.
    record.apply(What::PodSeen(plan::pod(restarts + 1)));
    let ended = process.hear("up").await?;
    let recovered = record.until(|record| matches!(record.outcome.recovery(), Recovery::Recovered { .. }));
    let _ = tokio::time::timeout(TRIAL_WITHIN, recovered).await;
    let Recovery::Recovered { lower, upper, .. } = record.outcome.recovery() else { return Err(stuck(record)) };
    let (truth_min, truth_max) = (ended.0.since(began.1), ended.1.since(began.0));
    Ok(Trial { outage, truth_min, truth_max, lower, upper })
}

/// The process, and what it says. It is killed when this is dropped.
struct Process {
    address: std::net::SocketAddr,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Process {
    async fn start(program: &Program) -> Result<Self, TruthError> {
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = child.stdin.take().expect("it is piped");
        let said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut process = Self { address: ([127, 0, 0, 1], 0).into(), orders, said, _child: child };
        let heard = process.line("listening").await?;
        let unclear = || TruthError::Silent { expected: "listening ADDRESS", heard: heard.clone() };
        process.address = heard.parse().map_err(|_| unclear())?;
        Ok(process)
    }

    async fn order(&mut self, outage: Outage, length: Duration) -> Result<(), TruthError> {
        let order = format!("{} {}\n", outage.word(), length.as_nanos());
        Ok(self.orders.write_all(order.as_bytes()).await?)
    }

    /// How late it was let run since its last outage, at most.
    async fn late(&mut self) -> Result<Duration, TruthError> {
        self.orders.write_all(b"late\n").await?;
        let heard = self.line("late").await?;
        let nanos = heard.parse().map(Duration::from_nanos);
        nanos.map_err(|_| TruthError::Silent { expected: "late", heard })
    }

    /// The two times that follow a word.
    async fn hear(&mut self, word: &'static str) -> Result<(Offset, Offset), TruthError> {
        let heard = self.line(word).await?;
        let nanos = |text: &str| text.parse().ok().map(|nanos| Offset::from_duration(Duration::from_nanos(nanos)));
        let times = heard.split_once(' ').and_then(|(before, after)| Some((nanos(before)?, nanos(after)?)));
        times.ok_or(TruthError::Silent { expected: word, heard })
    }

    /// What follows a word on its line.
    async fn line(&mut self, word: &'static str) -> Result<String, TruthError> {
        let silent = |heard: &str| TruthError::Silent { expected: word, heard: heard.to_owned() };
        let line = tokio::time::timeout(WORD_WITHIN, self.said.next_line()).await;
        let line = line.map_err(|_| silent("nothing"))??.ok_or_else(|| silent("its end"))?;
        let rest = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' '));
        rest.map(str::to_owned).ok_or_else(|| silent(&line))
    }
}
