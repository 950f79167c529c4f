//! Something done to the traffic between clients and the Service, by the proxy between them.
//!
//! The proxy lives in the run, so a dead run leaves nothing broken. Healing from outside only
//! verifies that: nobody, or another program, listens at the proxy's address, or its lease has
//! run out because nobody renews it any more.

use std::net::SocketAddr;
use std::time::Duration;

use super::Receipt;
use crate::proxy::remote::{self, RemoteError};
use crate::proxy::{LEASE, Remote, Trick};
use crate::system::SystemError;

/// How long a lease that nobody renews may take to be over.
const CLEAR_WITHIN: Duration = LEASE.saturating_add(Duration::from_secs(2));
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Finds the proxy. Changes nothing.
pub(super) fn prepare(trick: &Trick, proxy: Option<&Remote>) -> Result<Receipt, SystemError> {
    let proxy = required(proxy)?;
    Ok(Receipt::Traffic { api: proxy.api(), proxy: proxy.proxy().to_owned(), trick: trick.clone() })
}

pub(super) async fn inject(receipt: &Receipt, proxy: Option<&Remote>) -> Result<(), SystemError> {
    let Receipt::Traffic { trick, .. } = receipt else { unreachable!("dispatched by kind") };
    let set = required(proxy)?.set(std::slice::from_ref(trick)).await;
    set.map(drop).map_err(from_remote)
}

pub(super) async fn heal(receipt: &Receipt, proxy: Option<&Remote>) -> Result<Vec<String>, SystemError> {
    let Receipt::Traffic { api, proxy: id, .. } = receipt else { unreachable!("dispatched by kind") };
    let mut undone = Vec::new();
    if let Some(proxy) = proxy.filter(|proxy| proxy.proxy() == id) {
        let lifted = proxy.clear().await.map_err(from_remote)?;
        undone.extend(lifted.iter().map(|trick| format!("lifted: {trick}")));
    }
    let clear = async {
        while !is_clear(*api, id).await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(undone)
    };
    tokio::time::timeout(CLEAR_WITHIN, clear).await.unwrap_or_else(|_| {
        let message = format!("see the fault proxy at {api} pass traffic on: its lease is still renewed");
        Err(SystemError { message, transient: true })
    })
}

/// Whether the proxy does nothing to the traffic, or is gone.
async fn is_clear(api: SocketAddr, id: &str) -> Result<bool, SystemError> {
    let instance = remote::instance(api).await.map_err(from_remote)?;
    Ok(instance.is_none_or(|instance| instance.proxy != id || instance.clear))
}

fn required(proxy: Option<&Remote>) -> Result<&Remote, SystemError> {
    proxy.ok_or_else(|| SystemError {
        message: "reach the fault proxy: the scenario does not go through one".to_owned(),
        transient: false,
    })
}

fn from_remote(error: RemoteError) -> SystemError {
    let transient = match error {
        RemoteError::Silent { .. } => true,
        RemoteError::Refused { .. } | RemoteError::LeaseLost => false,
    };
    SystemError { message: error.to_string(), transient }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RunClock;
    use crate::proxy::{Of, Options, Proxy};

    fn proxy() -> Proxy {
        let upstream = "127.0.0.1:1".parse().unwrap();
        Proxy::start(Options { upstream, clock: RunClock::start(), seed: 1, idle_timeout: None }).unwrap()
    }

    const SILENCE: Trick = Trick::HalfOpen { of: Of::Live, lasts: None };

    #[tokio::test]
    async fn the_run_that_broke_it_heals_it_and_says_what_it_lifted() {
        let proxy = proxy();
        let receipt = prepare(&SILENCE, Some(proxy.remote())).unwrap();
        inject(&receipt, Some(proxy.remote())).await.unwrap();
        assert_eq!(proxy.remote().state().await.unwrap().tricks, [SILENCE]);
        let undone = heal(&receipt, Some(proxy.remote())).await.unwrap();
        assert_eq!(undone, [format!("lifted: {SILENCE}")]);
        assert_eq!(heal(&receipt, Some(proxy.remote())).await.unwrap(), Vec::<String>::new(), "safe to repeat");
        proxy.end().await.unwrap();
    }

    #[tokio::test]
    async fn whoever_heals_from_outside_waits_until_the_lease_is_over() {
        let proxy = proxy();
        let receipt = prepare(&SILENCE, Some(proxy.remote())).unwrap();
        inject(&receipt, Some(proxy.remote())).await.unwrap();
        // Nobody renews, and the healer has no token.
        assert_eq!(heal(&receipt, None).await.unwrap(), Vec::<String>::new());
        assert_eq!(proxy.remote().state().await.unwrap().tricks, []);
        assert!(matches!(proxy.remote().renew().await, Err(RemoteError::LeaseLost)));
        proxy.end().await.unwrap();
        assert_eq!(heal(&receipt, None).await.unwrap(), Vec::<String>::new(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_port_that_is_anothers_by_now_is_no_broken_proxy() {
        let (one, other) = (proxy(), proxy());
        inject(&prepare(&SILENCE, Some(other.remote())).unwrap(), Some(other.remote())).await.unwrap();
        let Receipt::Traffic { proxy: id, trick, .. } = prepare(&SILENCE, Some(one.remote())).unwrap() else {
            unreachable!()
        };
        let reused = Receipt::Traffic { api: other.remote().api(), proxy: id, trick };
        heal(&reused, Some(other.remote())).await.unwrap();
        assert_eq!(other.remote().state().await.unwrap().tricks, [SILENCE], "left alone");
    }

    #[test]
    fn there_is_no_such_fault_without_a_proxy() {
        assert!(prepare(&SILENCE, None).unwrap_err().message.starts_with("reach the fault proxy"));
    }
}
