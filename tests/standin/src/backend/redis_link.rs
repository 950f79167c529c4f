//! The connection to Redis, which comes back by itself.
//!
//! A broken connection tells of itself; a Redis that hangs does not. So every operation
//! has a short deadline, a PING goes out each second even when nobody asks, and the first
//! operation that breaks or runs late takes the connection away. From then on everybody
//! is told "not connected" at once, until a new connection has answered a PING.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::metrics::{Metrics, seconds};
use crate::log::Log;

/// How long a cached value lives in Redis.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
/// Time between PINGs that nobody asked for.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Pause before the second attempt to connect; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Keys of this service in Redis.
const PREFIX: &str = "hsc-jit:";

/// What happens after the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterLoss {
    Reconnect,
    /// The flaw `never-reconnects`.
    GiveUp,
}

/// The one connection to Redis, or the lack of it.
pub(crate) struct RedisLink {
    client: Client,
    config: AsyncConnectionConfig,
    current: Mutex<Current>,
    lost: Notify,
    metrics: Arc<Metrics>,
    log: Log,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// Counts connections: a late failure on an old one must not take the new one away.
    generation: u64,
}

impl RedisLink {
    /// `timeout` is the deadline of connecting and of each operation.
    ///
    /// # Errors
    /// A sentence, where the address is not one of a Redis.
    pub(crate) fn new(url: &str, timeout: Duration, metrics: Arc<Metrics>, log: Log) -> Result<Self, String> {
        // The error of the crate does not quote the address, which may carry a password.
        let client = Client::open(url).map_err(|error| format!("read the address of Redis: {error}"))?;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        Ok(Self { client, config, current: Mutex::default(), lost: Notify::new(), metrics, log })
    }

    /// Keeps the link up until cancelled; with [`AfterLoss::GiveUp`] until its first loss.
    pub(crate) async fn keep(&self, after_loss: AfterLoss) {
        loop {
            self.connect().await;
            while self.is_connected() {
                tokio::select! {
                    () = self.lost.notified() => {}
                    () = sleep(PING_EVERY) => {
                        self.ping().await;
                    }
                }
            }
            if after_loss == AfterLoss::GiveUp {
                return;
            }
        }
    }

    /// Whether Redis answers a PING in time, now. At once `false` while there is no connection.
    pub(crate) async fn ping(&self) -> bool {
        let started = Instant::now();
        let answer: Option<String> = self.run("ping", redis::cmd("PING")).await;
        let answered = answer.as_deref() == Some("PONG");
        if answered {
            self.metrics.redis_ping.observe(seconds(started.elapsed()));
        }
        answered
    }

    /// The cached value; `None` also where Redis is away.
    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let mut command = redis::cmd("GET");
        command.arg(format!("{PREFIX}{key}"));
        self.run::<Option<String>>("get", command).await.flatten()
    }

    /// Caches the value for its time to live, if Redis is there.
    pub(crate) async fn set(&self, key: &str, value: &str) {
        let mut command = redis::cmd("SET");
        command.arg(format!("{PREFIX}{key}")).arg(value).arg("EX").arg(TIME_TO_LIVE.as_secs());
        self.run::<()>("set", command).await;
    }

    /// Writes down a key that nobody has; whether nobody had it. Without Redis nobody has.
    pub(crate) async fn claim(&self, key: &str) -> bool {
        let mut command = redis::cmd("SET");
        command.arg(format!("{PREFIX}{key}")).arg(1).arg("NX").arg("EX").arg(TIME_TO_LIVE.as_secs());
        self.run::<Option<String>>("set", command).await != Some(None)
    }

    /// Forgets a key.
    pub(crate) async fn release(&self, key: &str) {
        let mut command = redis::cmd("DEL");
        command.arg(format!("{PREFIX}{key}"));
        self.run::<()>("set", command).await;
    }

    /// `None` where there is no connection, or the operation failed, which is counted and logged.
    async fn run<T: FromRedisValue>(&self, operation: &str, command: redis::Cmd) -> Option<T> {
        let (mut connection, generation) = {
            let current = self.current();
            (current.connection.clone()?, current.generation)
        };
        match command.query_async(&mut connection).await {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed(operation, &error, generation);
                None
            }
        }
    }

    async fn connect(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connected_and_answering().await {
                Ok(connection) => {
                    let mut current = self.current();
                    current.connection = Some(connection);
                    current.generation += 1;
                    drop(current);
                    self.log.info("redis", "redis connected", &[]);
                    return;
                }
                Err(error) => {
                    self.metrics.redis_errors.with_label_values(&["connect"]).inc();
                    self.log.warning("redis", "redis connect error", &[("error", error.to_string().into())]);
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A Redis that still loads its data accepts connections, but answers no PING.
    async fn connected_and_answering(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let _: String = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(connection)
    }

    fn failed(&self, operation: &str, error: &RedisError, generation: u64) {
        self.metrics.redis_errors.with_label_values(&[operation]).inc();
        // A Redis that refuses a command (out of memory, read only) is still connected; one
        // that refuses a PING is of no use.
        let fatal = operation == "ping" || error.is_io_error() || error.is_unrecoverable_error();
        let mut current = self.current();
        if fatal && current.generation == generation && current.connection.take().is_some() {
            self.lost.notify_one();
            self.log.error(
                "redis",
                "redis connection lost",
                &[("operation", operation.into()), ("error", error.to_string().into())],
            );
        } else if !fatal {
            self.log.warning(
                "redis",
                "redis error",
                &[("operation", operation.into()), ("error", error.to_string().into())],
            );
        }
    }

    fn is_connected(&self) -> bool {
        self.current().connection.is_some()
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
