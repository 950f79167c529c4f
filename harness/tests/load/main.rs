//! The load on real sockets.

#[path = "../sample/server.rs"]
mod server;
mod sockets;
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use harness::system::Rate;
use server::{Mode, Server};
use support::{Loading, plan};

#[tokio::test(flavor = "multi_thread")]
async fn good_requests_are_counted_and_half_of_them_open_a_connection() {
    let server = Server::start().await;
    let loading = Loading::start(plan(100.0, 0), None, server.address);
    let requests = loading.requests(100).await;
    assert!(requests.iter().all(|request| request.latency.is_some()), "{requests:?}");
    let seconds = loading.end().await;
    assert!(seconds.iter().map(|second| second.requests_good).sum::<u32>() >= 100);
    assert_eq!(seconds.iter().map(|second| second.requests_lost).sum::<u32>(), 0);
    let share = server.connections.load(Ordering::Relaxed) as f64 / *server.requests.borrow() as f64;
    assert!((0.45..0.75).contains(&share), "{share} connections a request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_stays_open_while_requests_hang() {
    let server = Server::start().await;
    server.mode.send_replace(Mode::Hangs);
    let loading = Loading::start(plan(50.0, 0), None, server.address);
    let requests = loading.requests(50).await;
    assert!(requests.iter().all(|request| request.latency.is_none()), "lost after two seconds: {requests:?}");
    // They were sent one after the other, 20 ms apart, and not each after the one before was lost.
    let mut intended: Vec<_> = requests.iter().map(|request| request.intended).collect();
    intended.sort_unstable();
    assert!(intended.windows(2).all(|two| two[1].since(two[0]) < Duration::from_secs(1)), "{intended:?}");
    assert!(*server.requests.borrow() >= 50, "the server had them all at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_slow_and_refused_requests_are_lost() {
    for mode in [Mode::NotReady, Mode::Slow(Duration::from_millis(2_500)), Mode::BreaksOff] {
        let server = Server::start().await;
        server.mode.send_replace(mode);
        let loading = Loading::start(plan(20.0, 0), None, server.address);
        let requests = loading.requests(10).await;
        assert!(requests.iter().all(|request| request.latency.is_none()), "{mode:?}: {requests:?}");
        assert!(loading.end().await.iter().all(|second| second.requests_good == 0), "{mode:?}");
    }
    let server = Server::start().await;
    let address = server.kill().await;
    let loading = Loading::start(plan(20.0, 0), None, address);
    assert!(loading.requests(10).await.iter().all(|request| request.latency.is_none()));
    let _server = Server::restart(address).await;
    while loading.requests(1).await[0].latency.is_none() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_light_load_runs_only_when_wanted_and_leaves_no_seconds() {
    let server = Server::start().await;
    let loading = Loading::start(plan(0.0, 0), Some("/ping"), server.address);
    loading.rate.send_replace(Rate { light_load: true, ..Rate::full() });
    assert!(loading.requests(5).await.iter().all(|request| request.latency.is_some()));
    loading.rate.send_replace(Rate { light_load: false, ..Rate::full() });
    assert!(loading.end().await.is_empty());
}
