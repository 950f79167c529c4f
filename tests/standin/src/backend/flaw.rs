//! Bad builds: one flaw, baked into an image's settings.

use clap::ValueEnum;

/// What is wrong with this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flaw {
    /// After the first loss of Redis it never comes back
    NeverReconnects,
    /// Takes memory that it never gives back
    LeaksMemory,
    /// Lives, but is never ready
    NeverReady,
    /// Exits with an error right after its start
    CrashLoop,
    /// Does nothing for a while before it listens; then it is a good build
    SlowStart,
    /// Lets WebSockets go without a goodbye, now and then and at SIGTERM
    DropsSockets,
    /// Exits at once on SIGTERM, whatever is in flight
    NoDrain,
    /// Remembers who was connected, forgets it only after a goodbye of theirs, and refuses whoever
    /// comes back after anything else
    RefusesReturning,
    /// Counts on, and holds on to, sockets that ended without a goodbye
    LeaksSockets,
    /// A health call holds the event loop for 100 ms
    CostlyHealth,
    /// Keeps a failed answer in the cache as if it were one, and serves it from there
    CachesFailures,
}
