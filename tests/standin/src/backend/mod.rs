//! The backend: HTTP and WebSocket service, stateless but for its caches.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use self::app::App;
use self::cache::Cache;
use self::catalog::Catalog;
use self::flaw::Flaw;
use self::gemini::Gemini;
use self::manual::Manuals;
use self::metrics::Metrics;
use self::redis_link::{AfterLoss, RedisLink};
use self::usage::Usage;
use crate::log::Log;
use crate::serve::{self, Drain, Terminate};

mod answer;
mod app;
mod cache;
mod catalog;
mod debug;
mod flaw;
mod gemini;
mod http;
mod manual;
mod metrics;
mod protocol;
mod redis_link;
mod socket;
mod sse;
mod text;
mod usage;

/// How long connecting to the model or to a maker's site may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection to them is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Steps of the flaw `leaks-memory`, a second.
const LEAKS_PER_SECOND: u64 = 4;

/// Settings of the backend: each has its flag and its environment variable.
#[derive(Args)]
pub(crate) struct Options {
    /// Address to listen on
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8000")]
    listen: SocketAddr,
    /// Address of Redis
    #[arg(long, env = "REDIS_URL", default_value = "redis://redis:6379", hide_env_values = true)]
    redis_url: String,
    /// Deadline of each Redis operation, in milliseconds
    #[arg(long, env = "REDIS_TIMEOUT_MS", default_value_t = 1000)]
    redis_timeout_ms: u64,
    /// Directory with one JSON file a brand
    #[arg(long, env = "CATALOG_DIR", default_value = "/catalog")]
    catalog_dir: PathBuf,
    /// Entries of the cache in memory
    #[arg(long, env = "l1_max_size", default_value = "1000")]
    l1_max_size: NonZeroUsize,
    /// Where the Gemini API is
    #[arg(long, env = "GEMINI_BASE_URL", default_value = "http://outside:8080")]
    gemini_base_url: String,
    /// Which model answers
    #[arg(long, env = "GEMINI_MODEL", default_value = "gemini-2.0-flash")]
    gemini_model: String,
    /// Key of the Gemini API
    #[arg(long, env = "GEMINI_API_KEY", hide_env_values = true)]
    gemini_api_key: Option<String>,
    /// Deadline of a whole answer of the model, in seconds: twice what the runbook calls degraded
    #[arg(long, env = "LLM_TIMEOUT_SECONDS", default_value_t = 10.0)]
    llm_timeout_seconds: f64,
    /// Deadline of fetching a manual, in seconds
    #[arg(long, env = "PDF_TIMEOUT_SECONDS", default_value_t = 30.0)]
    pdf_timeout_seconds: f64,
    /// Longest time from SIGTERM to the end, in seconds
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = serve::DRAIN_LIMIT.as_secs_f64())]
    drain_seconds: f64,
    /// Version of this build, as `/health` tells it
    #[arg(long, env = "APP_VERSION", default_value = "dev")]
    app_version: String,
    /// Memory that the container may use, in bytes, where no cgroup tells
    #[arg(long, env = "MEMORY_LIMIT_BYTES")]
    memory_limit_bytes: Option<u64>,
    /// CPU that the container may use, in thousandths, where no cgroup tells
    #[arg(long, env = "CPU_LIMIT_MILLIS")]
    cpu_limit_millis: Option<u32>,
    /// What is wrong with this build; nothing by default
    #[arg(long, env = "BUILD_FLAW", value_enum)]
    build_flaw: Option<Flaw>,
    /// How long the flaw `slow-start` does nothing, in seconds
    #[arg(long, env = "SLOW_START_SECONDS", default_value_t = 25.0)]
    slow_start_seconds: f64,
    /// How fast the flaw `leaks-memory` leaks, in MiB a second
    #[arg(long, env = "LEAK_MIB_PER_SECOND", default_value_t = 4)]
    leak_mib_per_second: u64,
    /// How long the flaw `drops-sockets` keeps a socket on average, in seconds
    #[arg(long, env = "DROP_SOCKETS_SECONDS", default_value_t = 5.0)]
    drop_sockets_seconds: f64,
}

/// Serves until SIGTERM, and until drained.
///
/// # Errors
/// A sentence that finishes "failed to …", where the settings or the catalog are no good,
/// or the address is taken.
pub(crate) async fn run(options: Options, mut terminate: Terminate, log: Log) -> Result<(), String> {
    let flaw = options.build_flaw;
    let hang_up = signal(SignalKind::hangup()).map_err(|error| format!("listen for SIGHUP: {error}"))?;
    log.info("main", "starting", &[("version", options.app_version.as_str().into())]);
    if flaw == Some(Flaw::CrashLoop) {
        return Err("start: this build crashes".to_owned());
    }
    if flaw == Some(Flaw::SlowStart) {
        let slow = seconds("SLOW_START_SECONDS", options.slow_start_seconds)?;
        tokio::select! {
            () = sleep(slow) => {}
            () = terminate.received() => return Ok(()),
        }
    }
    let (listen, leak) = (options.listen, options.leak_mib_per_second << 20);
    let drain = Drain::within(seconds("DRAIN_SECONDS", options.drain_seconds)?);
    let app = Arc::new(build(options, log)?);
    let listener = serve::bind(listen, log).await?;

    let mut background = JoinSet::new();
    background.spawn(keep_redis(Arc::clone(&app)));
    background.spawn(reload_on(hang_up, Arc::clone(&app)));
    if flaw == Some(Flaw::LeaksMemory) {
        background.spawn(leak_memory(leak / LEAKS_PER_SECOND));
    }
    app.metrics.background_tasks.set(i64::try_from(background.len()).unwrap_or(i64::MAX));

    let terminated = async {
        terminate.received().await;
        if flaw == Some(Flaw::NoDrain) {
            std::process::exit(0);
        }
    };
    serve::serve(listener, http::router(app, drain.clone()), drain, terminated, log).await;
    background.shutdown().await;
    Ok(())
}

/// The world outside is a double that speaks plain HTTP, and an image of a program has no roots.
fn trusts_nobody() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions need")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn build(options: Options, log: Log) -> Result<App, String> {
    let metrics = Arc::new(Metrics::new()?);
    let redis_timeout = Duration::from_millis(options.redis_timeout_ms);
    let redis = Arc::new(RedisLink::new(&options.redis_url, redis_timeout, Arc::clone(&metrics), log)?);
    let cache = Arc::new(Cache::new(options.l1_max_size, Arc::clone(&redis), Arc::clone(&metrics)));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(trusts_nobody())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .no_proxy()
        .build()
        .map_err(|error| format!("build the HTTP client: {error}"))?;
    // An empty key is sent like any other: whether one is good is for the API to say.
    let key = options.gemini_api_key.map(|key| key.trim().to_owned());
    let gemini = Gemini::new(
        client.clone(),
        &options.gemini_base_url,
        options.gemini_model,
        key,
        seconds("LLM_TIMEOUT_SECONDS", options.llm_timeout_seconds)?,
    );
    let manuals = Manuals {
        client,
        cache: Arc::clone(&cache),
        timeout: seconds("PDF_TIMEOUT_SECONDS", options.pdf_timeout_seconds)?,
        metrics: Arc::clone(&metrics),
        log,
    };
    let drop_sockets = match options.build_flaw {
        Some(Flaw::DropsSockets) => Some(seconds("DROP_SOCKETS_SECONDS", options.drop_sockets_seconds)?),
        _ => None,
    };
    let catalog = Catalog::load(&options.catalog_dir)?;
    log.info("catalog", "catalog loaded", &[("product_count", catalog.product_count().into())]);
    Ok(App {
        catalog: RwLock::new(Arc::new(catalog)),
        catalog_directory: options.catalog_dir,
        redis,
        cache,
        manuals,
        gemini,
        metrics,
        usage: Usage::new(options.memory_limit_bytes, options.cpu_limit_millis),
        started: Instant::now(),
        version: options.app_version,
        flaw: options.build_flaw,
        drop_sockets,
        log,
        leak: debug::Leak::default(),
    })
}

fn seconds(name: &str, value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value).map_err(|error| format!("read {name} = {value}: {error}"))
}

async fn keep_redis(app: Arc<App>) {
    let after_loss = if app.flaw == Some(Flaw::NeverReconnects) { AfterLoss::GiveUp } else { AfterLoss::Reconnect };
    app.redis.keep(after_loss).await;
}

async fn reload_on(mut hang_up: Signal, app: Arc<App>) {
    while hang_up.recv().await.is_some() {
        app.reload_catalog();
    }
}

/// Takes memory and writes to it, since untouched memory costs nothing.
async fn leak_memory(bytes: u64) {
    let mut leaked = Vec::new();
    let mut ticks = interval(Duration::from_secs(1) / LEAKS_PER_SECOND as u32);
    loop {
        ticks.tick().await;
        leaked.push(vec![0xa5_u8; usize::try_from(bytes).unwrap_or(usize::MAX)]);
        std::hint::black_box(&leaked);
    }
}
