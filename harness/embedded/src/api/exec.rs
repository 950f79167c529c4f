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
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::api::Api;
use crate::api::log::choose_container;
use crate::api::place::Place;
use crate::api::query::Query;
use crate::api::respond::{self, Answer};
use crate::api::websocket::{self, Opened, Socket};
use crate::node::ContainerRef;
use crate::object;
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
    if object::name(&pod).is_empty() || pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", key.name)));
    }
    if !(wanted.input || wanted.output || wanted.errors) {
        return Ok(respond::text(400, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    let instead = "use a client that runs commands over WebSockets (kubectl 1.30 or later)";
    let opened = websocket::open(request, &[V5, "v4.channel.k8s.io"], instead)?;
    let argv: Vec<String> = query.all("command").map(str::to_owned).collect();
    let container = ContainerRef { namespace: key.namespace, pod: key.name, container };
    let command = match api.node.exec(&container, &argv, wanted.terminal) {
        Ok(command) => command,
        // kubectl shows the text of such an answer as it is.
        Err(status) => return Ok(respond::text(status.code, status.message)),
    };
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

struct Session {
    argv: Vec<String>,
    wanted: Streams,
    /// Whether the client can close stdin, and reads the wording of version 5.
    closes: bool,
}

impl Session {
    /// Runs the command until it ends or the client goes. The command is killed with its client.
    async fn run(self, mut command: Command, socket: Socket) {
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
    async fn drive(&self, child: &mut Child, to_client: &mut SplitSink<Socket, Message>) -> Option<Value> {
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
async fn feed(mut from_client: SplitStream<Socket>, mut stdin: Option<ChildStdin>) {
    while let Some(Ok(message)) = from_client.next().await {
        let bytes = match message {
            Message::Binary(bytes) if !bytes.is_empty() => bytes,
            Message::Close(_) => return,
            _ => continue,
        };
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
async fn pass<T>(
    read: std::io::Result<usize>,
    channel: u8,
    block: &[u8],
    from: &mut Option<T>,
    to_client: &mut SplitSink<Socket, Message>,
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

/// One message on a channel.
pub(super) fn frame(channel: u8, payload: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(payload.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(payload);
    Message::Binary(Bytes::from(bytes))
}
