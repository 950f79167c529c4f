//! Commands in containers, over a WebSocket.
//!
//! Channels: 0 stdin, 1 stdout, 2 stderr, 3 how it ended, 4 the terminal's size (read and
//! not used), 255 closes another one (version 5 of the protocol).

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::api::Api;
use crate::api::log::choose_container;
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::respond::{self, Answer};
use crate::api::websocket::{self, Opened};
use crate::node::ContainerRef;
use crate::status::Status;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const RESULT: u8 = 3;
const CLOSE: u8 = 255;

/// The version of the protocol that can close stdin.
const V5: &str = "v5.channel.k8s.io";

/// How much output goes into one frame, in bytes.
const FRAME: usize = 32 * 1024;

/// How long output may go on after the command has ended: a process that it left behind may hold it open.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// `GET` and `POST` of a pod's exec.
pub(super) fn exec(api: &Arc<Api>, place: &Place, query: &Query, request: Request<Incoming>) -> Result<Answer, Status> {
    let key = place.key();
    let pod = api.store.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    let container = choose_container(&pod, query.get("container"))?;
    let wanted = Streams {
        input: query.flag("stdin"),
        output: query.flag("stdout"),
        errors: query.flag("stderr"),
        terminal: query.flag("tty"),
    };
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", key.name)));
    }
    if !(wanted.input || wanted.output || wanted.errors) {
        return Ok(respond::text(400, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    websocket::check_upgrade(request.headers())?;
    let argv: Vec<String> = query.all("command").map(str::to_owned).collect();
    let container = ContainerRef { namespace: key.namespace, pod: key.name, container };
    // Asked before the upgrade, so that a client that falls back to SPDY is told the same.
    let command = match api.node.exec(&container, &argv, wanted.terminal) {
        Ok(command) => command,
        // kubectl shows the text of such an answer as it is.
        Err(status) => return Ok(respond::text(status.code, status.message)),
    };
    let instead = "use a client that runs commands over WebSockets (kubectl 1.30 or later)";
    let opened = websocket::open(request, &[V5, "v4.channel.k8s.io"], instead)?;
    let Opened { answer, protocol, socket } = opened;
    api.spawn(async move {
        if let Some(socket) = socket.await {
            Session { argv, wanted, closes: protocol == V5 }.run(command, socket).await;
        }
    });
    Ok(answer)
}

#[derive(Debug, Clone, Copy)]
struct Streams {
    input: bool,
    output: bool,
    errors: bool,
    terminal: bool,
}

/// What a WebSocket runs on: an upgraded connection, in tests a pipe.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;

struct Session {
    argv: Vec<String>,
    wanted: Streams,
    /// Whether the client can close stdin, and reads the wording of version 5.
    closes: bool,
}

impl Session {
    /// Runs the command until it ends or the client goes. The command is killed with its client.
    async fn run<S: Stream>(self, mut command: Command, socket: WebSocketStream<S>) {
        let piped = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
        command
            .stdin(piped(self.wanted.input))
            .stdout(piped(self.wanted.output))
            .stderr(piped(self.wanted.errors && !self.wanted.terminal))
            .kill_on_drop(true);
        let (mut to_client, from_client) = socket.split();
        let result = match command.spawn() {
            Ok(mut child) => {
                let input = feed(from_client, child.stdin.take());
                let output = self.drive(&mut child, &mut to_client);
                tokio::select! {
                    result = output => result,
                    () = input => return,
                }
            }
            Err(error) => Some(internal(&format!("error executing command in container: {error}"))),
        };
        let Some(result) = result else { return };
        // A client that has gone needs no result.
        let _ = to_client.send(frame(RESULT, result.to_string().as_bytes())).await;
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = to_client.send(Message::Close(Some(close))).await;
    }

    /// Carries the output to the client; the result of the command, or `None` where the client has gone.
    async fn drive<S: Stream>(&self, child: &mut Child, to_client: &mut Sink<S>) -> Option<Value> {
        // Kubernetes opens with an empty frame, so that the client knows that it is connected.
        to_client.send(frame(STDOUT, b"")).await.ok()?;
        let mut output = child.stdout.take();
        let mut errors = child.stderr.take();
        let (mut output_block, mut error_block) = (vec![0; FRAME], vec![0; FRAME]);
        let mut ended = None;
        let mut drain_until = None;
        while output.is_some() || errors.is_some() || ended.is_none() {
            tokio::select! {
                read = read_some(&mut output, &mut output_block), if output.is_some() => {
                    pass(read, STDOUT, &output_block, &mut output, to_client).await?;
                }
                read = read_some(&mut errors, &mut error_block), if errors.is_some() => {
                    pass(read, STDERR, &error_block, &mut errors, to_client).await?;
                }
                status = child.wait(), if ended.is_none() => {
                    ended = Some(status);
                    drain_until = Some(tokio::time::Instant::now() + DRAIN_MAX);
                }
                () = until(drain_until), if drain_until.is_some() => break,
            }
        }
        Some(match ended? {
            Ok(status) => self.result(status),
            Err(error) => internal(&format!("error executing command in container: {error}")),
        })
    }

    fn result(&self, status: ExitStatus) -> Value {
        use std::os::unix::process::ExitStatusExt;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        if code == 0 {
            return json!({"metadata": {}, "status": "Success"});
        }
        let why = if self.closes {
            format!("command terminated with exit code {code}")
        } else {
            format!("error executing command [{}], exit code {code}", self.argv.join(" "))
        };
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: {why}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        })
    }
}

fn internal(why: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError",
        "message": format!("Internal error occurred: {why}"), "details": {"causes": [{"message": why}]},
        "code": 500,
    })
}

/// Carries the client's frames to the command's stdin; ends when the client goes.
async fn feed<S: Stream>(mut from_client: SplitStream<WebSocketStream<S>>, mut stdin: Option<ChildStdin>) {
    while let Some(Ok(message)) = from_client.next().await {
        if message.is_close() {
            return;
        }
        let Some(bytes) = payload(message).filter(|bytes| !bytes.is_empty()) else { continue };
        let (channel, payload) = (bytes[0], &bytes[1..]);
        match (channel, stdin.take()) {
            (STDIN, Some(mut pipe)) => {
                // A command that reads no more gets no more.
                let fed = async { pipe.write_all(payload).await.and(pipe.flush().await) };
                stdin = fed.await.is_ok().then_some(pipe);
            }
            (CLOSE, _) if payload == [STDIN] => {}
            (_, pipe) => stdin = pipe,
        }
    }
}

async fn read_some(from: &mut Option<impl AsyncRead + Unpin>, block: &mut [u8]) -> std::io::Result<usize> {
    match from {
        Some(from) => from.read(block).await,
        None => Ok(0),
    }
}

/// Sends what was read; at the end of the output closes it. `None` where the client has gone.
async fn pass<T, S: Stream>(
    read: std::io::Result<usize>,
    channel: u8,
    block: &[u8],
    from: &mut Option<T>,
    to_client: &mut Sink<S>,
) -> Option<()> {
    match read {
        Ok(0) | Err(_) => *from = None,
        Ok(length) => to_client.send(frame(channel, &block[..length])).await.ok()?,
    }
    Some(())
}

async fn until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

/// What a message carries: clients send text frames as well as binary ones, and mean the same.
pub(super) fn payload(message: Message) -> Option<Bytes> {
    match message {
        Message::Binary(bytes) => Some(bytes),
        Message::Text(text) => Some(text.into()),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => None,
    }
}

/// One message on a channel.
pub(super) fn frame(channel: u8, payload: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(payload.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(payload);
    Message::Binary(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// Runs `sh -c script`; the client sends these frames and reads to the end.
    async fn run(closes: bool, script: &str, input: Vec<Message>) -> Vec<(u8, String)> {
        let (server, client) = tokio::io::duplex(64 * 1024);
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let mut client: WebSocketStream<DuplexStream> =
            WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        let wanted = Streams { input: true, output: true, errors: true, terminal: false };
        let session = Session { argv, wanted, closes }.run(command, server);
        let talk = async move {
            for message in input {
                client.send(message).await.unwrap();
            }
            let mut frames: Vec<(u8, String)> = Vec::new();
            while let Some(Ok(message)) = client.next().await {
                match message {
                    Message::Binary(bytes) => {
                        frames.push((bytes[0], String::from_utf8(bytes[1..].to_vec()).unwrap()));
                    }
                    Message::Close(frame) => frames.push((CLOSE, frame.unwrap().code.to_string())),
                    _ => {}
                }
            }
            frames
        };
        tokio::join!(session, talk).1
    }

    fn on(frames: &[(u8, String)], channel: u8) -> String {
        frames.iter().filter(|frame| frame.0 == channel).map(|frame| frame.1.as_str()).collect()
    }

    #[tokio::test]
    async fn output_and_exit_code_are_as_recorded() {
        for (closes, message) in [
            (true, "command terminated with non-zero exit code: command terminated with exit code 3"),
            (
                false,
                "command terminated with non-zero exit code: error executing command \
                [sh -c echo out; echo err >&2; exit 3], exit code 3",
            ),
        ] {
            let frames = run(closes, "echo out; echo err >&2; exit 3", Vec::new()).await;
            assert_eq!(frames[0], (STDOUT, String::new()), "an empty frame opens");
            assert_eq!((on(&frames, STDOUT), on(&frames, STDERR)), ("out\n".to_owned(), "err\n".to_owned()));
            let result: Value = serde_json::from_str(&on(&frames, RESULT)).unwrap();
            assert_eq!((&result["reason"], &result["message"]), (&json!("NonZeroExitCode"), &json!(message)));
            assert_eq!(result["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
            assert_eq!(frames.last(), Some(&(CLOSE, "1000".to_owned())));
        }
    }

    #[tokio::test]
    async fn a_killed_command_counts_from_128() {
        let frames = run(true, "kill -9 $$", Vec::new()).await;
        assert!(on(&frames, RESULT).contains("exit code 137"), "{frames:?}");
    }

    #[tokio::test]
    async fn stdin_is_carried_and_closed() {
        let input = vec![frame(STDIN, b"hel"), frame(STDIN, b"lo"), frame(CLOSE, &[STDIN])];
        let frames = run(true, "cat", input).await;
        assert_eq!(on(&frames, STDOUT), "hello");
        assert_eq!(on(&frames, RESULT), r#"{"metadata":{},"status":"Success"}"#);
    }

    #[tokio::test]
    async fn stdin_may_come_as_text() {
        let input = vec![Message::text("\0hello"), frame(CLOSE, &[STDIN])];
        assert_eq!(on(&run(true, "cat", input).await, STDOUT), "hello");
    }

    #[tokio::test]
    async fn much_output_comes_through_whole() {
        let frames = run(true, "head -c 1000000 /dev/zero | tr '\\0' x", Vec::new()).await;
        assert_eq!(on(&frames, STDOUT).len(), 1_000_000);
    }

    #[tokio::test]
    async fn output_held_open_by_a_child_does_not_hold_the_result() {
        let frames = run(true, "sleep 60 & echo done", Vec::new()).await;
        assert_eq!(on(&frames, STDOUT), "done\n");
        assert!(on(&frames, RESULT).contains("Success"), "{frames:?}");
    }
}
