//! SIGINT and SIGTERM: the first stops injecting and heals; so does the second, which
//! changes nothing that healing needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::say;

/// Which signal came first.
#[derive(Debug, Clone)]
pub(crate) struct First {
    terminated: Arc<AtomicBool>,
    _listening: Arc<tokio::task::JoinSet<()>>,
}

impl First {
    /// Whether it was SIGTERM.
    pub(crate) fn terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }
}

/// A token that the first signal cancels.
pub(crate) fn cancelled_by_signals() -> anyhow::Result<(CancellationToken, First)> {
    let cancel = CancellationToken::new();
    let terminated = Arc::new(AtomicBool::new(false));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut listening = tokio::task::JoinSet::new();
    let (cancelled, by) = (cancel.clone(), Arc::clone(&terminated));
    listening.spawn(async move {
        loop {
            let by_terminate = tokio::select! {
                _ = interrupt.recv() => false,
                _ = terminate.recv() => true,
            };
            if cancelled.is_cancelled() {
                say::narrative("stopping already: what was broken is being healed");
                continue;
            }
            say::narrative("stopping: healing what is broken, then writing the report");
            by.store(by_terminate, Ordering::Relaxed);
            cancelled.cancel();
        }
    });
    Ok((cancel, First { terminated, _listening: Arc::new(listening) }))
}
