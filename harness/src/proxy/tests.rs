//! Every trick against real sockets. Nothing here is timed for speed: what must not happen is
//! given a while to happen, what must happen is waited for.

use std::future::Future;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener as Listening, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::api::Connections;
use super::remote::RemoteError;
use super::*;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// What does not happen within this time does not happen.
const A_WHILE: Duration = Duration::from_millis(200);

/// A proxy before a server that says everything back.
struct Place {
    proxy: Proxy,
    _server: JoinSet<()>,
}

async fn place() -> Place {
    place_with(None).await
}

async fn place_with(idle_timeout: Option<Duration>) -> Place {
    let listening = Listening::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let upstream = listening.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut socket, _)) = listening.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = socket.split();
                // How it ends shows at the client.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let proxy = Proxy::start(Options { upstream, clock: RunClock::start(), seed: 1, idle_timeout }).unwrap();
    Place { proxy, _server: server }
}

impl Place {
    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }

    /// A client whose connection goes all the way.
    async fn connected(&self) -> TcpStream {
        let mut client = self.client().await;
        assert_eq!(echo(&mut client, b"hello").await, b"hello");
        client
    }

    async fn set(&self, trick: Trick) {
        self.proxy.remote().set(&[trick]).await.unwrap();
    }

    async fn heal(&self) {
        self.proxy.remote().clear().await.unwrap();
    }

    /// Waits until connections are counted so.
    async fn counted(&self, are: impl Fn(&Connections) -> bool) {
        let counting = async { while !are(&self.proxy.remote().state().await.unwrap().connections) {} };
        timeout(PATIENCE, counting).await.expect("connections were not counted so");
    }
}

async fn patiently<T>(waited_for: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waited_for).await.expect("nothing happened")
}

async fn echo(client: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    client.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    patiently(client.read_exact(&mut back)).await.unwrap();
    back
}

/// How a connection ends: what is read at its end.
async fn end(client: &mut TcpStream) -> Result<usize, std::io::ErrorKind> {
    patiently(client.read(&mut [0; 16])).await.map_err(|error| error.kind())
}

async fn is_silent(client: &mut TcpStream) -> bool {
    timeout(A_WHILE, client.read(&mut [0; 16])).await.is_err()
}

#[tokio::test]
async fn without_tricks_it_passes_everything_on_closes_too() {
    let place = place().await;
    let mut client = place.connected().await;
    client.shutdown().await.unwrap();
    assert_eq!(end(&mut client).await, Ok(0), "the server closed after us");
    place.counted(|connections| connections.open == 0).await;
    let state = place.proxy.remote().state().await.unwrap();
    assert_eq!(state.connections, Connections { accepted: 1, open: 0, reset: 0, cut: 0, idle: 0 });
    place.proxy.end().await.unwrap();
}

#[tokio::test]
async fn a_reset_hits_every_open_connection_and_no_new_one() {
    let place = place().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(place.connected().await);
    }
    place.set(Trick::Reset {}).await;
    for client in &mut clients {
        assert_eq!(end(client).await, Err(std::io::ErrorKind::ConnectionReset));
    }
    place.connected().await;
    place.counted(|connections| connections.reset == 20).await;
}

#[tokio::test]
async fn a_reset_reaches_the_service_too() {
    let listening = Listening::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let upstream = listening.local_addr().unwrap();
    let proxy = Proxy::start(Options { upstream, clock: RunClock::start(), seed: 1, idle_timeout: None }).unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = patiently(listening.accept()).await.unwrap();
    proxy.remote().set(&[Trick::Reset {}]).await.unwrap();
    assert_eq!(end(&mut server).await, Err(std::io::ErrorKind::ConnectionReset));
    drop(client);
}

#[tokio::test]
async fn a_cut_closes_without_a_reset() {
    let place = place().await;
    let mut client = place.connected().await;
    place.set(Trick::Cut {}).await;
    assert_eq!(end(&mut client).await, Ok(0));
    place.connected().await;
    place.counted(|connections| connections.cut == 1).await;
}

#[tokio::test]
async fn a_half_open_connection_is_silent_even_about_closes_and_new_ones_get_through() {
    let place = place().await;
    let mut client = place.connected().await;
    let mut leaving = place.connected().await;
    place.set(Trick::HalfOpen { of: Of::Live, lasts: None }).await;
    client.write_all(b"lost").await.unwrap();
    leaving.shutdown().await.unwrap();
    assert!(is_silent(&mut client).await);
    assert!(is_silent(&mut leaving).await, "a close is not passed on either");
    place.connected().await;
    place.heal().await;
    assert_eq!(end(&mut client).await, Err(std::io::ErrorKind::ConnectionReset), "it lost bytes");
    assert_eq!(end(&mut leaving).await, Ok(0), "it lost none, so its close is passed on now");
}

#[tokio::test]
async fn silence_of_every_connection_holds_for_new_ones_until_its_time_is_over() {
    let place = place().await;
    let mut kept = place.connected().await;
    let lasts = Some(Duration::from_millis(600));
    place.set(Trick::HalfOpen { of: Of::Every, lasts }).await;
    let (mut asking, mut waiting) = (place.client().await, place.client().await);
    asking.write_all(b"anybody there?").await.unwrap();
    assert!(is_silent(&mut asking).await);
    assert_eq!(end(&mut asking).await, Err(std::io::ErrorKind::ConnectionReset), "over, and it lost bytes");
    assert_eq!(echo(&mut waiting, b"hello").await, b"hello");
    assert_eq!(echo(&mut kept, b"hello").await, b"hello");
    assert_eq!(place.proxy.remote().state().await.unwrap().tricks, []);
    place.proxy.remote().renew().await.expect("its own end is no lost lease");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_that_moves_is_not() {
    let place = place_with(Some(Duration::from_secs(600))).await;
    let (mut idle, mut busy) = (place.connected().await, place.connected().await);
    place.set(Trick::IdleTimeout { after: Duration::from_millis(400), lasts: None }).await;
    let using = async {
        loop {
            assert_eq!(echo(&mut busy, b"typing").await, b"typing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = end(&mut idle) => assert_eq!(ended, Ok(0)),
        () = using => {}
    }
    assert_eq!(echo(&mut busy, b"still here").await, b"still here");
    place.counted(|connections| connections.idle == 1).await;
    place.heal().await;
    assert!(is_silent(&mut busy).await, "the load balancer's own timeout is in force again");
}

#[tokio::test]
async fn the_load_balancers_own_idle_timeout_can_be_changed_for_live_connections() {
    let place = place().await;
    let mut client = place.connected().await;
    assert!(is_silent(&mut client).await);
    place.proxy.set_idle_timeout(Some(Duration::from_millis(50)));
    assert_eq!(end(&mut client).await, Ok(0));
}

#[tokio::test]
async fn refused_is_refused_and_the_port_stays() {
    let place = place().await;
    let mut client = place.connected().await;
    place.set(Trick::Refuse { lasts: None }).await;
    let refused = TcpStream::connect(place.proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(echo(&mut client, b"open ones go on").await, b"open ones go on");
    place.heal().await;
    place.connected().await;
}

#[tokio::test]
async fn latency_delays_each_way_and_keeps_the_order() {
    let place = place().await;
    let mut client = place.connected().await;
    let by = Duration::from_millis(100);
    let jitter = Some(Duration::from_millis(50));
    place.set(Trick::Latency { by, jitter, lasts: None }).await;
    let clock = RunClock::start();
    for text in [b"one", b"two"] {
        client.write_all(text).await.unwrap();
    }
    let mut back = [0; 6];
    patiently(client.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"onetwo");
    assert!(clock.now().since(crate::event::Offset::ZERO) >= by * 2);
    client.write_all(b"held back").await.unwrap();
    place.heal().await;
    let mut back = [0; 9];
    patiently(client.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"held back", "nothing that was lifted holds anything back");
}

#[tokio::test]
async fn little_bandwidth_takes_its_time() {
    let place = place().await;
    let mut client = place.connected().await;
    let bytes_per_second = std::num::NonZeroU64::new(10_000).unwrap();
    place.set(Trick::Bandwidth { bytes_per_second, lasts: None }).await;
    let clock = RunClock::start();
    assert_eq!(echo(&mut client, &[7; 5_000]).await, [7; 5_000]);
    // Half a second, less the first portion, which goes at once.
    assert!(clock.now().since(crate::event::Offset::ZERO) >= Duration::from_millis(440));
}

#[tokio::test]
async fn a_slow_close_is_passed_on_later() {
    let place = place().await;
    let mut client = place.connected().await;
    place.set(Trick::SlowClose { by: A_WHILE * 2, lasts: None }).await;
    client.shutdown().await.unwrap();
    assert!(is_silent(&mut client).await, "the server does not know yet");
    assert_eq!(end(&mut client).await, Ok(0));
}

#[tokio::test]
async fn a_service_that_is_not_there_shows_as_a_reset() {
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let proxy = Proxy::start(Options { upstream, clock: RunClock::start(), seed: 1, idle_timeout: None }).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(end(&mut client).await, Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn tricks_end_when_nobody_renews_their_lease() {
    let place = place().await;
    let mut client = place.connected().await;
    place.set(Trick::HalfOpen { of: Of::Live, lasts: None }).await;
    let silent = RunClock::start();
    client.write_all(b"lost").await.unwrap();
    assert_eq!(end(&mut client).await, Err(std::io::ErrorKind::ConnectionReset));
    assert!(silent.now().since(crate::event::Offset::ZERO) >= LEASE - A_WHILE);
    assert!(matches!(place.proxy.remote().renew().await, Err(RemoteError::LeaseLost)));
    place.heal().await;
    place.proxy.remote().renew().await.expect("nobody who holds nothing loses it");
}

#[tokio::test]
async fn nobody_without_the_token_is_let_in() {
    let place = place().await;
    let remote = place.proxy.remote();
    let stranger = Remote::new(remote.api(), remote.proxy().to_owned(), SecretString::from("guess"));
    for error in [stranger.set(&[Trick::Reset {}]).await.unwrap_err(), stranger.clear().await.unwrap_err()] {
        assert!(matches!(error, RemoteError::Refused { status: 401, .. }), "{error}");
    }
    let mut client = place.connected().await;
    assert!(stranger.set(&[Trick::Reset {}]).await.is_err());
    assert_eq!(echo(&mut client, b"hello").await, b"hello");
    let instance = remote::instance(remote.api()).await.unwrap().unwrap();
    assert_eq!((instance.proxy.as_str(), instance.clear), (remote.proxy(), true));
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_its_reason() {
    let place = place().await;
    let zero = Trick::IdleTimeout { after: Duration::ZERO, lasts: None };
    let error = place.proxy.remote().set(&[zero]).await.unwrap_err();
    assert_eq!(error.to_string(), "the fault proxy refused: 400 the time must be above zero");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is sent, in whatever pieces, comes out as it went in, through delays and pacing.
    #[test]
    fn bytes_pass_unchanged(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40_000), 1..12),
        trick in prop_oneof![
            Just(None),
            Just(Some(Trick::Latency { by: Duration::from_millis(2), jitter: Some(Duration::from_millis(3)), lasts: None })),
            Just(Some(Trick::Bandwidth { bytes_per_second: std::num::NonZeroU64::new(20_000_000).unwrap(), lasts: None })),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = place().await;
            let client = place.connected().await;
            place.proxy.remote().set(trick.as_slice()).await.unwrap();
            let (mut reading, mut writing) = client.into_split();
            let sent = pieces.concat();
            let sending = async {
                for (number, piece) in pieces.iter().enumerate() {
                    writing.write_all(piece).await.unwrap();
                    // Lifted while bytes are on their way.
                    if number == pieces.len() / 2 {
                        place.heal().await;
                    }
                }
                writing.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            let (read, ()) = patiently(async { tokio::join!(reading.read_to_end(&mut back), sending) }).await;
            read.unwrap();
            assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
        });
    }
}
