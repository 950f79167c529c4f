//! The form of a scenario file, and how it becomes plans: one a variant.
//!
//! Errors point at line and column. Everything that can be found wrong without a cluster
//! is found here, so that a [`Plan`] exists only if it is valid.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::needs::Need;
use super::plan::{
    Budget, BudgetFrom, CheckName, Cost, Expect, LoadPlan, Plan, PlannedCheck, Promise, Proof, ProxyPlan, Role,
    ScenarioId, Step, Symptom, Through, WorkloadRef,
};
use super::rules;
use crate::duration;
use crate::fault::Fault;
use crate::runbook::command::{Command, is_name};
use crate::sample::Check;
use load::LoadForm;

mod load;

/// A sample's interval is this part of the budget: 60 s are seen in steps of 300 ms.
const INTERVALS_IN_BUDGET: u32 = 200;
/// The longest budget: a gate that could stay open for longer would never be waited for.
const BUDGET_MAX: Duration = Duration::from_secs(3600);
/// Samples are never closer together.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Samples are never further apart, unless they are costly.
const INTERVAL_MAX: Duration = Duration::from_millis(500);
/// What a good answer may take by default.
const SLOW: Duration = Duration::from_secs(1);
/// When a sample without an answer is given up by default.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long good samples must last by default: longer than three restarts of a crash loop
/// that a readiness probe with a period of 1 s and a threshold of 3 lets through.
const HOLD: Duration = Duration::from_secs(8);
/// How long the steady state may take to appear by default.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);
/// Samples per pod and second by default, all checks together.
const SAMPLES_PER_POD_SECOND_MAX: f64 = 5.0;
/// So many times shorter may a load balancer's idle timeout act: 60 s act as 200 ms.
const TIME_SCALE_MAX: u32 = 300;

/// A scenario file: one claim of a runbook, broken in one way or in several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "Gameday scenario")]
struct ScenarioFile {
    /// Its name: lowercase letters, digits and dashes.
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// The claim, in one line.
    title: String,
    /// The suites it belongs to.
    #[serde(default)]
    suites: Vec<String>,
    /// What the system's surroundings must have; where it is absent the scenario is skipped by name.
    #[serde(default)]
    needs: Vec<Need>,
    /// What the runbook promises.
    promise: Promise,
    /// The workload whose pods are sampled one by one: `deployment/NAME` or `statefulset/NAME`.
    workload: WorkloadRef,
    /// The Service that users go through.
    service: String,
    /// The port of the workload's pods.
    port: u16,
    /// What stands between clients (load, and checks with target `service`) and the Service;
    /// nothing where absent.
    #[serde(default)]
    through: Option<ThroughForm>,
    /// What is looked at.
    checks: Vec<CheckForm>,
    /// The load while measuring; none where absent.
    #[serde(default)]
    load: Option<LoadForm>,
    /// How long good samples must last to count as recovered, such as `8s`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    hold: Option<Spanned<String>>,
    /// The latest good answer, from the intended start of its sample.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    slow: Option<Spanned<String>>,
    /// How long the steady state may take to appear before anything is broken.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    settle_within: Option<Spanned<String>>,
    /// Samples per pod and second, all checks together, at most. Raise it only for checks that
    /// are known to be cheap.
    #[serde(default)]
    #[schemars(with = "Option<f64>")]
    samples_per_pod_second_max: Option<Spanned<f64>>,
    /// Whether it runs alone, with every other lane idle: for faults that neighbours would feel,
    /// and for figures that neighbours would spoil.
    #[serde(default)]
    exclusive: bool,
    /// The ways in which it is broken.
    #[schemars(with = "Vec<VariantForm>")]
    variants: Vec<Spanned<VariantForm>>,
}

/// A check with its name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CheckForm {
    /// Its name.
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// What it looks at.
    check: Check,
    /// `recovery` (the default) decides, `proof` only shows whether the fault took effect, and an
    /// `invariant` must stay good throughout.
    #[serde(default)]
    role: Option<Role>,
    /// What one sample costs the system; `high` is sampled at a quarter of the rate.
    #[serde(default)]
    cost: Option<Cost>,
    /// When a sample without an answer is given up.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    timeout: Option<Spanned<String>>,
    /// The latest good answer of this check, where it is not the scenario's: a question takes longer
    /// than a health check.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    slow: Option<Spanned<String>>,
}

/// What stands between clients and the Service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ThroughForm {
    /// Nothing of ours.
    Direct,
    /// The fault proxy, which `traffic` faults need.
    Proxy(ProxyForm),
}

/// The fault proxy between clients and the Service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ProxyForm {
    /// The Ingress whose load balancer it plays: idle connections are closed after the time that
    /// its annotation `nginx.ingress.kubernetes.io/proxy-read-timeout` says, 60 s by default.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    ingress: Option<Spanned<String>>,
    /// So many times shorter does that time act; the report says so.
    #[serde(default)]
    #[schemars(with = "Option<u32>")]
    time_scale: Option<Spanned<u32>>,
}

/// One way to break it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct VariantForm {
    /// Its name: lowercase letters, digits and dashes.
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// What happens, in one line; the scenario's title where absent.
    #[serde(default)]
    title: Option<String>,
    /// What the surroundings must have for this variant, beside what the file needs.
    #[serde(default)]
    needs: Vec<Need>,
    /// What stands between clients and the Service, where another than in the rest of the file.
    #[serde(default)]
    through: Option<ThroughForm>,
    /// What is broken.
    #[schemars(with = "Fault")]
    fault: Spanned<Fault>,
    /// What shows that it took effect: all of these.
    #[schemars(with = "Vec<Proof>")]
    proof: Spanned<Vec<Proof>>,
    /// Whether a fault that nobody felt may pass; `required` where absent.
    #[serde(default)]
    symptom: Option<Symptom>,
    /// What the runbook says to do, in order; empty where it says to wait.
    #[serde(default)]
    remedy: Vec<StepForm>,
    /// The longest allowed recovery.
    budget: BudgetForm,
}

/// One remedy step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StepForm {
    /// The runbook's command, as it stands there: `kubectl …`.
    #[schemars(with = "String")]
    run: Spanned<Command>,
    /// `no-recovery` for a step that is known not to help; the next one follows after `watch`.
    /// `part` for one that the next step completes, at once.
    #[serde(default)]
    expect: Option<Expect>,
    /// How long to watch before the next step.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    watch: Option<Spanned<String>>,
}

/// The longest allowed recovery.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BudgetForm {
    /// How long, such as `60s`.
    #[schemars(with = "String")]
    max: Spanned<String>,
    /// Counted from the fault, or from the first remedy step when it is sent.
    #[schemars(with = "BudgetFrom")]
    from: Spanned<BudgetFrom>,
    /// Where the figure comes from: document and words.
    source: String,
}

/// Something wrong in a scenario file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file, as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, in characters.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message } = self;
        write!(formatter, "{file}:{line}:{column}: {message}")
    }
}

/// The plans of a scenario file, in the order of its variants. `file` is for messages and
/// reports; nothing is read.
///
/// # Errors
/// Everything that is wrong with it, by place. A file that is not of the form has one error.
pub fn plans(file: &str, text: &str) -> Result<Vec<Plan>, Vec<Diagnostic>> {
    let options = serde_saphyr::options! { with_snippet: false };
    let form: ScenarioFile = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let location = error.location();
        let (line, column) = location.map_or((1, 1), |place| (place.line(), place.column()));
        // The library puts the place behind its message; it stands in front here.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        vec![Diagnostic { file: file.to_owned(), line, column, message }]
    })?;
    let mut reader = Reader { file, wrong: Vec::new() };
    let plans = reader.scenario(form);
    reader.wrong.sort();
    reader.wrong.dedup();
    if reader.wrong.is_empty() { Ok(plans) } else { Err(reader.wrong) }
}

/// The JSON schema of scenario files, for editors.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(ScenarioFile);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema has string keys only");
    text.push('\n');
    text
}

struct Reader<'a> {
    file: &'a str,
    wrong: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn scenario(&mut self, form: ScenarioFile) -> Vec<Plan> {
        self.name(&form.name);
        let slow = self.duration(form.slow.as_ref(), SLOW);
        let hold = self.duration(form.hold.as_ref(), HOLD);
        let settle_within = self.duration(form.settle_within.as_ref(), SETTLE_WITHIN);
        let rate = form.samples_per_pod_second_max;
        let samples_per_pod_second_max = rate.as_ref().map_or(SAMPLES_PER_POD_SECOND_MAX, |rate| rate.value);
        if let Some(rate) = rate.filter(|rate| !(rate.value > 0.0 && rate.value.is_finite())) {
            self.say(&rate, "the number of samples must be above zero");
        }
        let load = self.load(form.load);
        let through = self.through(form.through.as_ref());
        self.checks(&form.checks, &load, &form.name);
        if form.variants.is_empty() {
            self.say(&form.name, "the scenario has no variants: it breaks nothing");
        }
        let mut names = BTreeSet::new();
        let mut plans = Vec::new();
        for variant in form.variants {
            let line = variant.referenced.line();
            let variant = variant.value;
            self.name(&variant.name);
            if !names.insert(variant.name.value.clone()) {
                self.say(&variant.name, format!("variant `{}` stands twice", variant.name.value));
            }
            let mut needs = form.needs.clone();
            needs.extend(variant.needs.iter().filter(|need| !form.needs.contains(need)));
            if let Some(wrong) = rules::needs_are_wrong(&variant.fault.value, &needs, form.exclusive) {
                self.say(&variant.fault, wrong);
            }
            let budget = self.budget(&variant);
            let through = variant.through.as_ref().map_or_else(|| through.clone(), |own| self.through(Some(own)));
            if let Some(wrong) = rules::fault_is_wrong(&variant.fault.value, &through) {
                self.say(&variant.fault, wrong);
            }
            self.proof(&variant.proof, &form.checks, &load);
            let checks: Vec<_> = form.checks.iter().map(|check| self.check(check, budget.max, slow)).collect();
            for check in checks.iter().filter(|check| check.role == Role::Recovery) {
                if let Some(wrong) = rules::hold_is_wrong(hold, check) {
                    self.say(form.hold.as_ref().unwrap_or(&form.name), wrong);
                }
            }
            plans.push(Plan {
                id: ScenarioId(format!("{}/{}", form.name.value, variant.name.value)),
                title: variant.title.unwrap_or_else(|| form.title.clone()),
                file: self.file.to_owned(),
                line,
                suites: form.suites.clone(),
                round: None,
                needs,
                promise: form.promise.clone(),
                workload: form.workload.clone(),
                service: form.service.clone(),
                port: form.port,
                through,
                checks,
                fault: variant.fault.value,
                proof: variant.proof.value,
                symptom: variant.symptom.unwrap_or(Symptom::Required),
                remedy: self.remedy(variant.remedy),
                budget,
                hold,
                slow,
                settle_within,
                samples_per_pod_second_max,
                load: load.clone(),
                exclusive: form.exclusive,
            });
        }
        plans
    }

    fn checks(&mut self, checks: &[CheckForm], load: &LoadPlan, scenario: &Spanned<String>) {
        let mut names = BTreeSet::new();
        for check in checks {
            self.name(&check.name);
            if !names.insert(&check.name.value) {
                self.say(&check.name, format!("check `{}` stands twice", check.name.value));
            }
            if check.check.only_reads() && check.role != Some(Role::Proof) {
                self.say(
                    &check.name,
                    "this check reads a value, which is neither good nor bad: it needs `role: proof`",
                );
            }
            if let Some(wrong) = rules::check_is_wrong(&check.check, load) {
                self.say(&check.name, wrong);
            }
        }
        if !checks.iter().any(|check| check.role.unwrap_or(Role::Recovery) == Role::Recovery) {
            self.say(scenario, "no check decides about recovery: every one has another role");
        }
    }

    fn check(&mut self, form: &CheckForm, budget: Duration, slow: Duration) -> PlannedCheck {
        let cost = form.cost.unwrap_or(Cost::Low);
        let interval = (budget / INTERVALS_IN_BUDGET).clamp(INTERVAL_MIN, INTERVAL_MAX);
        let own_slow = form.slow.as_ref().map(|own| self.duration(Some(own), slow));
        let slow = own_slow.unwrap_or(slow);
        let timeout = self.duration(form.timeout.as_ref(), TIMEOUT.max(slow));
        if let Some(place) = form.timeout.as_ref().filter(|_| timeout < slow) {
            self.say(place, format!("a timeout below `slow` ({}) makes good answers bad", duration::text(slow)));
        }
        PlannedCheck {
            name: CheckName(form.name.value.clone()),
            check: form.check.clone(),
            role: form.role.unwrap_or(Role::Recovery),
            cost,
            interval,
            timeout,
            slow: own_slow,
        }
    }

    fn through(&mut self, form: Option<&ThroughForm>) -> Through {
        let Some(ThroughForm::Proxy(form)) = form else { return Through::Direct };
        if let Some(ingress) = form.ingress.as_ref().filter(|ingress| !is_name(&ingress.value)) {
            self.say(ingress, format!("`{}` is no name of an Ingress", ingress.value));
        }
        if let Some(scale) = &form.time_scale {
            if !(1..=TIME_SCALE_MAX).contains(&scale.value) {
                self.say(scale, format!("`time-scale` goes from 1 to {TIME_SCALE_MAX}"));
            }
            if form.ingress.is_none() {
                self.say(scale, "`time-scale` shortens a load balancer's idle timeout: name its `ingress`");
            }
        }
        Through::Proxy(ProxyPlan {
            ingress: form.ingress.as_ref().map(|ingress| ingress.value.clone()),
            time_scale: form.time_scale.as_ref().map_or(1, |scale| scale.value),
        })
    }

    fn budget(&mut self, variant: &VariantForm) -> Budget {
        let form = &variant.budget;
        let max = self.duration(Some(&form.max), Duration::from_secs(1));
        if max < INTERVAL_MIN * 3 {
            let least = duration::text(INTERVAL_MIN * 3);
            self.say(
                &form.max,
                format!(
                    "a budget below {least} cannot be measured with samples every {}",
                    duration::text(INTERVAL_MIN)
                ),
            );
        }
        if max > BUDGET_MAX {
            let (given, most) = (duration::text(max), duration::text(BUDGET_MAX));
            self.say(&form.max, format!("a budget of {given} would keep the gate open for as long: at most {most}"));
        }
        if form.from.value == BudgetFrom::Remedy && variant.remedy.is_empty() {
            self.say(&form.from, "the budget counts from the remedy, and there is no remedy");
        }
        Budget { max, from: form.from.value, source: form.source.clone() }
    }

    fn remedy(&mut self, steps: Vec<StepForm>) -> Vec<Step> {
        let last = steps.len().saturating_sub(1);
        let mut remedy = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            let expect = step.expect.unwrap_or(Expect::Recovery);
            match expect {
                Expect::NoRecovery | Expect::Part if index == last => {
                    self.say(&step.run, "the last step of a remedy must be one that recovers");
                }
                Expect::Part => {
                    if let Some(watch) = &step.watch {
                        self.say(watch, "the next step follows a part of a remedy at once: nothing is watched");
                    }
                }
                _ if step.watch.is_none() && index != last => {
                    self.say(&step.run, "a step that another one follows needs `watch`: how long before the next one");
                }
                Expect::NoRecovery | Expect::Recovery => {}
            }
            let watch = self.duration_or_zero(step.watch.as_ref());
            remedy.push(Step { command: step.run.value, expect, watch });
        }
        remedy
    }

    fn proof(&mut self, proof: &Spanned<Vec<Proof>>, checks: &[CheckForm], load: &LoadPlan) {
        if proof.value.is_empty() {
            self.say(proof, "a fault without proof can never pass: name what shows that it took effect");
        }
        if proof.value.iter().any(rules::has_empty_choice) {
            self.say(proof, "`any-of` needs something to choose from");
        }
        let kind = |name: &CheckName| checks.iter().find(|check| check.name.value == name.0).map(|check| &check.check);
        for wrong in proof.value.iter().filter_map(|proof| rules::proof_is_wrong(proof, load, &kind)) {
            self.say(proof, wrong);
        }
        for name in proof.value.iter().flat_map(rules::checks_of) {
            let decides = |check: &&CheckForm| check.name.value == name.0 && check.role != Some(Role::Proof);
            if checks.iter().any(|check| decides(&check)) {
                self.say(proof, format!("check `{name}` decides about recovery: a proof needs one with `role: proof`"));
            }
            if !checks.iter().any(|check| check.name.value == name.0) {
                let known: Vec<_> = checks.iter().map(|check| format!("`{}`", check.name.value)).collect();
                self.say(proof, format!("the proof names check `{name}`; there are {}", known.join(", ")));
            }
        }
    }

    fn name(&mut self, name: &Spanned<String>) {
        let valid = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        if name.value.is_empty() || !name.value.chars().all(valid) {
            self.say(name, format!("`{}` is no name: use lowercase letters, digits and dashes", name.value));
        }
    }

    fn duration(&mut self, text: Option<&Spanned<String>>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        match duration::parse(&text.value) {
            Ok(Duration::ZERO) => {
                self.say(text, "the time must be above zero");
                default
            }
            Ok(duration) => duration,
            Err(message) => {
                self.say(text, message);
                default
            }
        }
    }

    fn duration_or_zero(&mut self, text: Option<&Spanned<String>>) -> Duration {
        text.map_or(Duration::ZERO, |text| self.duration(Some(text), Duration::ZERO))
    }

    fn say<T>(&mut self, place: &Spanned<T>, message: impl Into<String>) {
        self.wrong.push(Diagnostic {
            file: self.file.to_owned(),
            line: place.referenced.line(),
            column: place.referenced.column(),
            message: message.into(),
        });
    }
}
