//! What the harness and the runbook rely on, asked of any Kubernetes cluster.
//!
//! Each contract works in a namespace of its own, through a Kubernetes client alone, and
//! knows nothing of the cluster it runs on: a difference between two clusters is a
//! contract that holds on one of them only.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, StreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

mod apply;
mod deletion;
mod deployments;
mod errors;
mod inside;
mod logs;
mod objects;
mod patching;
mod place;
mod pods;
mod probes;
mod reading;
mod services;
mod stateful_sets;
mod termination;
mod watches;

use place::{Outcome, Place};

/// Longest time of one contract.
const CONTRACT_MAX: Duration = Duration::from_secs(240);

/// Check that a cluster behaves as the harness and the runbook rely on.
#[derive(Debug, Parser)]
struct Arguments {
    /// The kubeconfig; KUBECONFIG or ~/.kube/config where absent.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it; the current one where absent.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// An image with `sh` and busybox's programs that the cluster has or can pull.
    #[arg(long)]
    image: String,
    /// Only contracts whose name contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// How many at a time.
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// How many seconds a contract waits for a state at most.
    #[arg(long, default_value_t = place::WITHIN_DEFAULT.as_secs())]
    within: u64,
    /// Print their names and end.
    #[arg(long)]
    list: bool,
}

/// One behaviour.
struct Contract {
    name: &'static str,
    run: fn(Place) -> LocalBoxFuture<'static, Outcome>,
}

macro_rules! contracts {
    ($($module:ident: $($name:ident)*;)*) => {
        vec![$($(Contract {
            name: concat!(stringify!($module), "/", stringify!($name)),
            run: |place| $module::$name(place).boxed_local(),
        }),*),*]
    };
}

fn all() -> Vec<Contract> {
    contracts! {
        patching: merge_patch_removes_a_null merge_patch_replaces_lists strategic_patch_merges_containers_by_name
            strategic_patch_deletes_by_directive json_patch_adds_replaces_and_removes
            json_patch_whose_test_fails_changes_nothing a_write_without_a_change_keeps_the_version
            a_stale_version_conflicts dry_run_changes_nothing scale_goes_through_its_subresource
            status_is_not_written_through_the_object annotations_count_as_a_generation_of_a_deployment;
        apply: apply_creates_and_is_idempotent a_conflict_names_manager_and_field force_takes_ownership
            a_field_no_longer_applied_goes the_same_value_is_shared lists_are_merged_by_key
            apply_needs_a_manager;
        errors: absent_objects_are_not_found a_second_create_already_exists an_invalid_object_names_its_fields
            strict_validation_refuses_unknown_fields immutable_fields_stay names_are_generated
            a_namespace_that_is_not_there_takes_nothing;
        reading: label_selectors_choose field_selectors_choose lists_come_in_pages versions_grow
            tables_are_made_by_the_server a_list_has_a_version_to_watch_from secrets_are_base64;
        watches: a_watch_tells_what_happens_in_order a_watch_resumes_from_a_version
            a_watch_of_a_selector_tells_who_leaves bookmarks_end_the_initial_events
            a_version_too_old_is_told a_watch_ends_after_its_timeout;
        deletion: background_deletion_takes_dependents foreground_deletion_waits_for_dependents
            orphans_stay_and_are_adopted a_finalizer_holds_its_object a_precondition_is_kept
            a_collection_is_deleted_by_selector a_namespace_goes_with_what_is_in_it
            deleting_twice_does_not_prolong;
        deployments: a_deployment_gets_ready a_rolling_update_keeps_its_promised_pods
            each_template_is_a_revision undo_brings_an_old_revision_back restart_replaces_every_pod
            scaling_is_no_revision a_deleted_pod_is_replaced_by_another a_paused_deployment_waits
            no_progress_is_told_after_the_deadline recreate_ends_the_old_first minimum_ready_time_delays
            observed_generation_follows a_bad_image_keeps_the_old_pods unavailable_one_without_surge
            pods_carry_the_template_hash_and_their_owner;
        stateful_sets: pods_come_in_order pods_go_in_reverse_order a_deleted_pod_comes_back_by_its_name
            a_pod_that_is_not_ready_is_not_replaced_by_an_update an_update_goes_from_the_highest_down
            claims_outlive_their_pods parallel_pods_come_together a_partition_holds_back
            scaled_to_nothing_and_back;
        services: only_ready_pods_are_ready_endpoints a_terminating_pod_leaves_at_once
            names_lead_to_services the_environment_names_services a_service_without_pods_refuses
            headless_names_lead_to_pods node_ports_are_given_and_kept traffic_is_spread;
        probes: readiness_decides_about_ready liveness_restarts_in_place startup_holds_the_others_back
            http_and_tcp_probes_ask_the_pod a_slow_probe_fails_by_its_timeout;
        termination: sigterm_comes_first_and_sigkill_after_the_grace pre_stop_runs_before_sigterm
            the_endpoint_leaves_before_the_process grace_zero_removes_at_once
            the_last_state_of_a_process_is_kept;
        pods: a_crash_loop_backs_off a_missing_image_is_told an_invalid_image_name_is_told
            a_missing_setting_is_told never_restart_keeps_the_exit_code on_failure_restarts_only_failures
            too_much_memory_is_a_kill eviction_honours_the_budget
            events_tell_a_pods_story a_killed_process_is_restarted;
        inside: environment_comes_from_where_it_says variables_expand_in_order volumes_hold_settings
            a_changed_setting_reaches_its_volume an_empty_directory_lives_as_long_as_the_pod
            the_downward_api_names_the_pod exec_tells_streams_and_code exec_of_a_missing_program_fails
            the_first_process_is_number_one hosts_have_their_own_names;
        logs: logs_have_tail_and_timestamps logs_of_the_container_before logs_follow_until_the_end
            logs_of_a_container_that_waits_are_refused logs_since_seconds;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(6)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let chosen: Vec<_> = all().into_iter().filter(|one| one.name.contains(&arguments.filter)).collect();
    if arguments.list {
        chosen.iter().for_each(|one| println!("{}", one.name));
        return Ok(ExitCode::SUCCESS);
    }
    if chosen.is_empty() {
        eprintln!("error: no contract's name contains `{}`\nhint: --list shows them", arguments.filter);
        return Ok(ExitCode::from(4));
    }
    place::wait_at_most(Duration::from_secs(arguments.within));
    let client = client(&arguments).await?;
    let version = client.apiserver_version().await.context("reach the cluster")?;
    eprintln!("{} contracts on Kubernetes {}", chosen.len(), version.git_version);
    let mut results = stream::iter(chosen.into_iter().map(|one| one.hold(&client, &arguments.image)))
        .buffer_unordered(arguments.jobs.max(1));
    let (mut passed, mut failed) = (0u32, 0u32);
    while let Some((name, outcome, took)) = results.next().await {
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok     {name} ({:.1} s)", took.as_secs_f64());
            }
            Err(error) => {
                failed += 1;
                println!("FAILED {name} ({:.1} s): {error:#}", took.as_secs_f64());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl Contract {
    /// Holds it in a namespace of its own, which goes whatever came of it.
    async fn hold(self, client: &Client, image: &str) -> (&'static str, Outcome, Duration) {
        let started = Instant::now();
        let held = async {
            let place = Place::make_namespace(client.clone(), image.to_owned(), self.name).await?;
            let held = tokio::time::timeout(CONTRACT_MAX, (self.run)(place.clone())).await;
            place.remove().await?;
            held.unwrap_or_else(|_| anyhow::bail!("not over after {} s", CONTRACT_MAX.as_secs()))
        };
        let outcome = held.await;
        (self.name, outcome, started.elapsed())
    }
}

async fn client(arguments: &Arguments) -> anyhow::Result<Client> {
    let kubeconfig = match &arguments.kubeconfig {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    let options = KubeConfigOptions { context: arguments.context.clone(), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig.context("read the kubeconfig")?, &options)
        .await
        .context("use the kubeconfig")?;
    // A contract about a refusal must see it: nothing is asked twice behind its back.
    config.default_retry = false;
    Client::try_from(config).context("use the kubeconfig")
}
