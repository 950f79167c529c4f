//! Carrying out probes and hooks: one timed look at a container.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::probe::{Handler, Probe, ProbeKind, Streak};
use super::recorder::Recorder;
use super::{Live, join};
use crate::events::Severity;

/// How much of an executed check's output goes into its event.
const OUTPUT_MAX: usize = 10 * 1024;

/// What a probe came to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) kind: ProbeKind,
    pub(super) good: bool,
}

/// Where looks go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: Ipv4Addr,
    pub(super) program: std::path::PathBuf,
    pub(super) live: Live,
}

/// Probes until the task is aborted; startup probes end with their verdict. `started` opens
/// once the container counts as started.
pub(super) async fn run(
    kind: ProbeKind,
    probe: Probe,
    target: Target,
    recorder: Recorder,
    mut started: watch::Receiver<bool>,
    verdicts: mpsc::Sender<Verdict>,
) {
    let first = Instant::now() + probe.initial_delay;
    if kind != ProbeKind::Startup && started.wait_for(|started| *started).await.is_err() {
        return;
    }
    sleep_until(first).await;
    let mut ticks = interval_at(Instant::now(), probe.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streak = Streak::new(&probe);
    loop {
        ticks.tick().await;
        let result = look(&probe.handler, &target, probe.timeout).await;
        if let Err(reason) = &result {
            recorder.container(Severity::Warning, "Unhealthy", &format!("{} probe failed: {reason}", kind.label()));
        }
        let Some(good) = streak.push(result.is_ok()) else { continue };
        if verdicts.send(Verdict { kind, good }).await.is_err() || kind == ProbeKind::Startup {
            return;
        }
    }
}

/// One look.
///
/// # Errors
/// Why it failed, in the kubelet's words.
pub(super) async fn look(handler: &Handler, target: &Target, deadline: Duration) -> Result<(), String> {
    match handler {
        Handler::Http { tls: true, .. } => Err("HTTPS checks are not supported by the embedded cluster".to_owned()),
        Handler::Http { host, port, path, headers, tls: false } => {
            let socket = format!("{}:{port}", host.clone().unwrap_or_else(|| target.address.to_string()));
            let url = format!("http://{socket}{path}");
            match timeout(deadline, get(&socket, path, headers)).await {
                Ok(Ok(code)) if (200..400).contains(&code) => Ok(()),
                Ok(Ok(code)) => Err(format!("HTTP probe failed with statuscode: {code}")),
                Ok(Err(reason)) => Err(format!("Get \"{url}\": {reason}")),
                Err(_) => Err(format!(
                    "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                )),
            }
        }
        Handler::Tcp { host, port } => {
            let socket = format!("{}:{port}", host.clone().unwrap_or_else(|| target.address.to_string()));
            match timeout(deadline, TcpStream::connect(&socket)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(dial_error(&socket, &error)),
                Err(_) => Err(format!("dial tcp {socket}: i/o timeout")),
            }
        }
        Handler::Exec { command } => execute(command, target, deadline).await,
    }
}

/// The status code of one request on a connection of its own.
async fn get(socket: &str, path: &str, headers: &[(String, String)]) -> Result<u16, String> {
    let stream = TcpStream::connect(socket).await.map_err(|error| dial_error(socket, &error))?;
    let local = stream.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let failed = |error: hyper::Error| match std::error::Error::source(&error) {
        _ if error.is_incomplete_message() => "EOF".to_owned(),
        Some(source) if source.to_string().contains("reset by peer") => {
            format!("read tcp {local}->{socket}: read: connection reset by peer")
        }
        _ => error.to_string(),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut request = http::Request::get(path)
        .header("Host", socket)
        .header("User-Agent", "kube-probe/1.36")
        .header("Accept", "*/*")
        .header("Connection", "close");
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("host")
            && let Some(all) = request.headers_mut()
        {
            all.remove("host");
        }
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    // The connection must be driven for the answer to come; it may end before it.
    tokio::select! {
        biased;
        answer = &mut answer => answer.map(|answer| answer.status().as_u16()).map_err(failed),
        ended = &mut connection => match (ended, answer.await) {
            (_, Ok(answer)) => Ok(answer.status().as_u16()),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(failed(error)),
        },
    }
}

fn dial_error(socket: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {socket}: {reason}")
}

/// Runs a command in the container; its output is the reason where it fails.
async fn execute(argv: &[String], target: &Target, deadline: Duration) -> Result<(), String> {
    let mut command = join::command(&target.program, &target.live, argv, false);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| error.to_string())?;
    let Ok(finished) = timeout(deadline, child.wait_with_output()).await else {
        return Err(format!("command timed out: \"{}\" timed out after {}s", argv.join(" "), deadline.as_secs()));
    };
    let output = finished.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = output.stdout;
    text.extend_from_slice(&output.stderr);
    text.truncate(OUTPUT_MAX);
    Err(String::from_utf8_lossy(&text).into_owned())
}
