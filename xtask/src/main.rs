//! `cargo xtask`: parse, call one harness function, print.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod bench;
mod checklist;
mod cluster;
mod contract;
mod develop;
mod display;
mod doctor;
mod e2e;
mod fail;
mod gate;
mod heal;
mod release;
mod report;
mod say;
mod scenario;
mod signals;
mod soak;

/// The release gate that rehearses the runbook.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
struct Shared {
    /// What to build, where the manifests are, which suites and clusters there are.
    #[arg(long, global = true, value_name = "FILE", default_value = "gate.toml")]
    config: std::path::PathBuf,
    /// How results are printed on standard output.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
    /// Only results, no narrative on standard error.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Every event on standard error.
    #[arg(short, long, global = true)]
    verbose: bool,
}

/// Form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Human,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build, push, install, roll out, smoke-test, rehearse, and give a verdict.
    Gate(gate::Gate),
    /// Rehearse scenarios against what is installed, without releasing anything.
    Run(gate::Run),
    /// List scenarios and the suites they belong to.
    List(scenario::List),
    /// Show what scenarios would touch, and touch nothing.
    Plan(scenario::Plan),
    /// Print the account and roles that a rehearsal on a cluster of others needs.
    Rbac(scenario::Rbac),
    /// Check scenario files.
    Lint(scenario::Lint),
    /// Print the JSON schema of scenario files.
    Schema,
    /// Build the images of the system.
    Build(release::Build),
    /// Push the built images to where the cluster pulls from.
    Push(release::Push),
    /// Roll the built release out, and back if it is bad.
    Deploy(release::Deploy),
    /// Go back to an earlier revision.
    Rollback(release::Rollback),
    /// Check that the installed release answers.
    Smoke(release::Smoke),
    /// Watch the installed release under load, against the runbook's key metrics.
    Soak(soak::Soak),
    /// Go through the pre-deployment checklist of the runbook.
    Checklist(checklist::Checklist),
    /// Put right what dead runs left broken.
    Heal(heal::Heal),
    /// Render a run's reports again from its journal.
    Report(report::Report),
    /// Start, look at and stop the embedded cluster.
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Check that a cluster behaves as the harness and the runbook rely on.
    Contract(contract::Contract),
    /// A cluster, the gate and the contracts on it, and the cluster away again.
    E2e(e2e::EndToEnd),
    /// Say what this machine lacks.
    Doctor,
    /// Format, lints and every test: what CI runs.
    Test(develop::Test),
    /// Measure this project's own figures.
    Bench(bench::Bench),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    // Not for people: the processes that this program starts as itself.
    let mut raw = std::env::args_os().skip(1);
    match raw.next().as_ref().and_then(|first| first.to_str()) {
        Some("embedded-cluster") => return embedded_cluster::launch::main(&raw.collect::<Vec<_>>()),
        Some(harness::guardian::SUBCOMMAND) => {
            return raw.next().map_or(ExitCode::from(2), |ledger| harness::guardian::main(ledger.as_ref()));
        }
        _ => {}
    }
    let arguments = Arguments::parse();
    let done = dispatch(&arguments);
    done.unwrap_or_else(|error| fail::print(&error))
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let shared = &arguments.shared;
    match &arguments.command {
        Command::Gate(command) => gate::gate(command, shared),
        Command::Run(command) => gate::run(command, shared),
        Command::List(command) => scenario::list(command, shared),
        Command::Plan(command) => scenario::plan(command, shared),
        Command::Rbac(command) => scenario::rbac(command, shared),
        Command::Lint(command) => scenario::lint(command, shared),
        Command::Schema => scenario::schema(),
        Command::Build(command) => release::build(command, shared),
        Command::Push(command) => release::push(command, shared),
        Command::Deploy(command) => release::deploy(command, shared),
        Command::Rollback(command) => release::rollback(command, shared),
        Command::Smoke(command) => release::smoke(command, shared),
        Command::Soak(command) => soak::soak(command, shared),
        Command::Checklist(command) => checklist::checklist(command, shared),
        Command::Heal(command) => heal::heal(command, shared),
        Command::Report(command) => report::report(command, shared),
        Command::Cluster(command) => cluster::cluster(command, shared),
        Command::Contract(command) => contract::contract(command, shared),
        Command::E2e(command) => e2e::end_to_end(command, shared),
        Command::Doctor => doctor::doctor(shared),
        Command::Test(command) => develop::test(command, shared),
        Command::Bench(command) => bench::bench(command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "cargo-xtask", &mut script);
            say::result(String::from_utf8(script)?.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
