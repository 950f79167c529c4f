//! `list`, `plan`, `rbac`, `lint` and `schema`: scenario files, without a cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness::access::Access;
use harness::config::{Config, SuiteConfig};
use harness::run::select::{self, Choice, SelectError};
use harness::scenario;
use harness::verdict::Exit;
use serde_json::json;

use crate::fail::Failure;
use crate::{Output, Shared, say};

/// Which scenarios.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Chosen {
    /// Scenarios (`redis-lost`) or variants (`redis-lost/killed`); all where none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only variants of this suite.
    #[arg(long)]
    suite: Option<String>,
    /// Only variants whose id contains this.
    #[arg(long, value_name = "PART")]
    filter: Option<String>,
    /// Directory of scenario files; the one of gate.toml where absent.
    #[arg(long, value_name = "DIRECTORY")]
    scenarios: Option<PathBuf>,
}

/// List scenarios.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    chosen: Chosen,
}

/// Show what scenarios would touch.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    chosen: Chosen,
}

/// Print what rehearsing scenarios needs to be allowed.
#[derive(Debug, clap::Args)]
pub(crate) struct Rbac {
    #[command(flatten)]
    chosen: Chosen,
}

/// Check scenario files.
#[derive(Debug, clap::Args)]
pub(crate) struct Lint {
    /// Files to check; every file of the scenario directory where none is given.
    files: Vec<PathBuf>,
}

impl Chosen {
    /// The suite of gate.toml that is asked for by name, if it says more than its scenarios.
    pub(crate) fn suite<'a>(&self, config: &'a Config) -> Option<&'a SuiteConfig> {
        config.suites.get(self.suite.as_ref()?)
    }

    /// Whether only some scenarios are asked for, by name or by a part of it.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.names.is_empty() || self.filter.is_some()
    }

    /// The plans that are meant; `suite` is what is chosen where nothing is.
    pub(crate) fn plans(&self, config: &Config, suite: Option<&str>) -> anyhow::Result<Vec<scenario::plan::Plan>> {
        let directory = self.scenarios.as_ref().unwrap_or(&config.system.scenarios);
        let plans = select::load(directory, &config.root).map_err(invalid)?;
        let suite = self.suite.clone().or_else(|| suite.filter(|_| !self.is_narrowed()).map(str::to_owned));
        let included = suite.as_ref().and_then(|suite| config.suites.get(suite));
        let included = included.iter().flat_map(|suite| suite.includes.clone());
        let suites = suite.iter().cloned().chain(included).collect();
        let choice = Choice { names: self.names.clone(), suites, filter: self.filter.clone() };
        let chosen = select::choose(plans, &choice).map_err(invalid)?;
        if chosen.is_empty() {
            let failure = Failure::new(Exit::NothingSelected, "no scenario is chosen by these names and filters");
            return Err(failure.hint("`cargo xtask list` shows what there is").into());
        }
        Ok(chosen)
    }
}

pub(crate) fn list(command: &List, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = config(&shared.config)?;
    let plans = command.chosen.plans(&config, None)?;
    match shared.output {
        Output::Json => {
            let row = |plan: &scenario::plan::Plan| json!({ "id": plan.id, "title": plan.title, "suites": plan.suites, "file": plan.file, "line": plan.line });
            say::result(serde_json::to_string_pretty(&plans.iter().map(row).collect::<Vec<_>>())?)?;
        }
        Output::Human => {
            let width = plans.iter().map(|plan| plan.id.0.len()).max().unwrap_or(0);
            for plan in &plans {
                say::result(format!("{:width$}  {}  [{}]", plan.id.0, plan.title, plan.suites.join(", ")))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn plan(command: &Plan, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = config(&shared.config)?;
    let plans = command.chosen.plans(&config, None)?;
    match shared.output {
        Output::Json => say::result(serde_json::to_string_pretty(&plans)?)?,
        Output::Human => {
            plans.iter().try_for_each(|plan| say::result(describe(plan, &config.system.namespace)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn rbac(command: &Rbac, shared: &Shared) -> anyhow::Result<ExitCode> {
    let config = config(&shared.config)?;
    let plans = command.chosen.plans(&config, None)?;
    let namespace = &config.system.namespace;
    let access = Access::rehearsing(&plans, namespace);
    match shared.output {
        Output::Json => say::result(serde_json::to_string_pretty(&access.grants().collect::<Vec<_>>())?)?,
        Output::Human => say::result(access.manifest(namespace).trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn lint(command: &Lint, shared: &Shared) -> anyhow::Result<ExitCode> {
    let plans = if command.files.is_empty() {
        let config = config(&shared.config)?;
        select::load(&config.system.scenarios, &config.root)
    } else {
        select::load_files(&command.files, Path::new(""))
    };
    let plans = plans.map_err(invalid)?;
    match shared.output {
        Output::Json => {
            say::result(json!({ "valid": plans.iter().map(|plan| plan.id.to_string()).collect::<Vec<_>>() }))?;
        }
        Output::Human if shared.quiet => {}
        Output::Human => say::result(format!("{} variants are valid", plans.len()))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn schema() -> anyhow::Result<ExitCode> {
    say::result(scenario::file::schema().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads `gate.toml`.
pub(crate) fn config(path: &Path) -> anyhow::Result<Config> {
    Ok(Config::load(path).map_err(Failure::from)?)
}

fn invalid(error: SelectError) -> Failure {
    let hint = match &error {
        SelectError::Invalid(_) => "`cargo xtask schema` prints what a scenario file may say",
        SelectError::Io { .. } => "the directory stands in gate.toml under [system] scenarios, or in --scenarios",
        SelectError::Twice { .. } => "give one of them another name",
        SelectError::Unknown { .. } => "`cargo xtask list` shows what there is",
    };
    Failure::of(Exit::Usage, &error).hint(hint)
}

fn describe(plan: &scenario::plan::Plan, namespace: &str) -> String {
    use std::fmt::Write as _;

    use harness::duration::text;
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string can be written to");
    line(format!("{}  {}", plan.id, plan.title));
    line(format!("  promise   {}: {} ({})", plan.promise.document, plan.promise.says, plan.promise.section));
    for need in &plan.needs {
        line(format!("  needs     {need}, and is skipped where there is none"));
    }
    line(format!("  breaks    {} in namespace {namespace}", fault_words(&plan.fault)));
    for step in &plan.remedy {
        line(format!("  then      {}", step.command.text));
    }
    line(format!("  budget    {} from the {}", text(plan.budget.max), from_words(plan.budget.from)));
    for check in &plan.checks {
        line(format!("  samples   {} every {}", check.name, text(check.interval)));
    }
    if let Some(through) = through_words(&plan.through) {
        line(format!("  through   {through}"));
    }
    let load = &plan.load;
    line(format!(
        "  load      {} requests/s, {} sockets through service {}",
        load.requests_per_second, load.sockets, plan.service
    ));
    if plan.exclusive {
        line("  alone     no other scenario runs beside it".to_owned());
    }
    out
}

fn fault_words(fault: &harness::fault::Fault) -> String {
    use harness::fault::Fault;
    match fault {
        Fault::PodSignal(fault) => format!("{} to the first pod of {}", fault.signal, fault.of),
        Fault::PodDelete(fault) => format!("the first pod of {} is deleted", fault.of),
        Fault::RolloutRestart(fault) => format!("the rollout of {} is restarted", fault.workload),
        Fault::Scale(fault) => format!("{} is scaled to {}", fault.workload, fault.replicas),
        Fault::Secret(fault) => format!(
            "key `{}` of secret/{} is replaced by {}, and {} is restarted",
            fault.key, fault.name, fault.value, fault.restart
        ),
        Fault::LlmDouble(fault) => format!("the LLM's double answers `{}`", fault.answers),
        Fault::Traffic(trick) => format!("the traffic: {trick};"),
        Fault::Annotate(annotate) => annotate.told(),
        Fault::Leak(leak) => format!("the first pod of {} leaks memory until it is killed", leak.of),
        Fault::Node(node) => format!("{}, with whatever runs on it,", node.told()),
        Fault::Kubelet(kubelet) => format!("the kubelet of {} is stopped", kubelet.of),
        Fault::ApiServer(away) => {
            format!("the API server is away for {}, felt", harness::duration::text(away.lasts))
        }
        Fault::Registry(registry) => {
            format!("the local registry is stopped while every pod of {} pulls anew", registry.during)
        }
        Fault::NetworkCut(cut) => format!("a NetworkPolicy cuts {} off from {}", cut.from, cut.to),
        Fault::Chaos(chaos) => format!("a {} of Chaos Mesh is created", chaos.kind),
    }
}

/// What stands between clients and the Service.
fn through_words(through: &scenario::plan::Through) -> Option<String> {
    use scenario::plan::Through;
    match through {
        Through::Direct => None,
        Through::Proxy(proxy) => Some(match &proxy.ingress {
            None => "the fault proxy".to_owned(),
            Some(ingress) if proxy.time_scale == 1 => {
                format!("the fault proxy, as the load balancer of ingress {ingress}")
            }
            Some(ingress) => format!(
                "the fault proxy, as the load balancer of ingress {ingress}; its idle timeout acts {} times shorter",
                proxy.time_scale
            ),
        }),
    }
}

fn from_words(from: scenario::plan::BudgetFrom) -> &'static str {
    match from {
        scenario::plan::BudgetFrom::Fault => "fault",
        scenario::plan::BudgetFrom::Remedy => "first remedy step",
    }
}
