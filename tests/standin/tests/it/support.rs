//! Starts and stops what the tests need, and waits for states.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longest wait for anything: a machine under load is slow, but not that slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Pause between looks at something that cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_standin");
/// A key that the double accepts.
pub(crate) const KEY: &str = "a-key-of-more-than-twenty-characters";

/// A client of plain HTTP: no roots are read for it.
pub(crate) fn client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

pub(crate) async fn get(url: String) -> reqwest::Result<reqwest::Response> {
    client().get(url).send().await
}

/// Looks again and again until `look` gives a value.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// A running part of the stand-in.
pub(crate) struct Part {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    address: Option<SocketAddr>,
}

impl Part {
    /// Starts a part on a free port and waits until it listens.
    pub(crate) async fn start(part: &str, settings: &[(&str, &str)]) -> Self {
        let mut part = Self::launch(part, settings);
        let line = part.logged("listening").await;
        part.address = Some(line["address"].as_str().unwrap().parse().unwrap());
        part
    }

    /// Starts a part and does not wait.
    pub(crate) fn launch(part: &str, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg(part)
            .env_clear()
            .env("LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                sink.lock().unwrap().push(serde_json::from_str(&line).expect("a log line is a JSON object"));
            }
        });
        Self { child, lines, address: None }
    }

    /// All log lines so far.
    pub(crate) fn all_lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// All log lines with this message so far.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        self.all_lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// Waits for a log line with this message.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        eventually(&format!("log line `{message}`"), async || self.lines(message).into_iter().next()).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits for the process's end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.expect("the process ends").unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = get(self.url(path)).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// A metric's value; 0 where its series does not exist.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = get(self.url("/metrics")).await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until `/ready` answers with this status.
    pub(crate) async fn ready_is(&self, status: u16) {
        eventually(&format!("/ready answers {status}"), async || (self.get("/ready").await.0 == status).then_some(()))
            .await;
    }

    pub(crate) async fn socket(&self) -> Socket {
        self.socket_at("/ws?client_id=test").await
    }

    pub(crate) async fn socket_at(&self, path: &str) -> Socket {
        self.try_socket(path).await.expect("a socket")
    }

    /// `None` where it is refused.
    pub(crate) async fn try_socket(&self, path: &str) -> Option<Socket> {
        connect_async(format!("ws://{}{path}", self.address())).await.ok().map(|(socket, _)| Socket(socket))
    }
}

/// A client's end of a WebSocket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn say(&mut self, message: &Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.try_send(message).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, message: Message) -> Result<(), Error> {
        self.0.send(message).await
    }

    pub(crate) async fn ask(&mut self, product: &str, question: &str) {
        let message = json!({"type": "query", "product_id": product, "question": question, "scenario": "general"});
        self.say(&message).await;
    }

    /// The next frame that is no ping; `None` at the stream's end.
    pub(crate) async fn next(&mut self) -> Option<Result<Message, Error>> {
        loop {
            let frame = timeout(DEADLINE, self.0.next()).await.expect("a frame comes");
            if !matches!(frame, Some(Ok(Message::Ping(_) | Message::Pong(_)))) {
                return frame;
            }
        }
    }

    /// The next JSON object.
    pub(crate) async fn hear(&mut self) -> Value {
        match self.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text frame: {other:?}"),
        }
    }

    /// Everything up to the end of an answer.
    pub(crate) async fn hear_answer(&mut self) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let message = self.hear().await;
            let last = matches!(message["type"].as_str(), Some("final_answer" | "error"));
            heard.push(message);
            if last {
                return heard;
            }
        }
    }

    /// Closes as a client should, and waits for the server's close.
    pub(crate) async fn say_goodbye(mut self) {
        self.0.close(None).await.unwrap();
        while let Some(Ok(_)) = self.next().await {}
    }

    /// The code of the server's close; `None` where the stream ended without one.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// The words of an answer.
pub(crate) fn content(answer: &[Value]) -> String {
    let chunks = answer.iter().filter(|message| message["type"] == "answer_chunk");
    chunks.map(|chunk| chunk["content"].as_str().unwrap()).collect()
}

/// A Redis of our own, on a free port.
pub(crate) struct Redis {
    port: u16,
    child: Option<Child>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        // Free now; another process could take it before Redis does, which then does not come up.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { port, child: None };
        redis.come_back().await;
        redis
    }

    /// Starts it, on its port, and waits until it answers.
    pub(crate) async fn come_back(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        eventually("Redis answers", async || (self.command(&["PING"]).await == "PONG").then_some(())).await;
    }

    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id().unwrap();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    }

    /// What `redis-cli` says to a command.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Redis, the double and a backend, which is ready.
pub(crate) struct Stack {
    pub(crate) backend: Part,
    pub(crate) outside: Part,
    pub(crate) redis: Redis,
    pub(crate) catalog: Catalog,
}

impl Stack {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let stack = Self::start_not_ready(settings).await;
        stack.backend.ready_is(200).await;
        stack
    }

    pub(crate) async fn start_not_ready(settings: &[(&str, &str)]) -> Self {
        let (redis, outside) = (Redis::start().await, Part::start("outside", &[("ACCEPTED_KEY", KEY)]).await);
        let catalog = Catalog::copy(&outside.url(""));
        let backend = backend(&redis, &outside, &catalog, settings).await;
        Self { backend, outside, redis, catalog }
    }

    /// Switches the double.
    pub(crate) async fn outside_is(&self, change: &Value) {
        let request = client().put(self.outside.url("/control")).json(change);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// One more backend on the same Redis.
    pub(crate) async fn another_backend(&self, settings: &[(&str, &str)]) -> Part {
        backend(&self.redis, &self.outside, &self.catalog, settings).await
    }
}

async fn backend(redis: &Redis, outside: &Part, catalog: &Catalog, settings: &[(&str, &str)]) -> Part {
    let (redis, outside) = (redis.url(), outside.url(""));
    let mut all = vec![
        ("REDIS_URL", redis.as_str()),
        ("GEMINI_BASE_URL", outside.as_str()),
        ("GEMINI_API_KEY", KEY),
        ("CATALOG_DIR", catalog.path().to_str().unwrap()),
        ("APP_VERSION", "v3.3.0"),
    ];
    // Later ones win.
    all.extend_from_slice(settings);
    Part::start("backend", &all).await
}

/// The shipped catalog, with manuals at an address of ours.
pub(crate) struct Catalog(TempDir);

impl Catalog {
    pub(crate) fn copy(manuals_at: &str) -> Self {
        let copy = TempDir::new().unwrap();
        for (name, text) in shipped_catalog() {
            std::fs::write(copy.path().join(name), text.replace("http://outside:8080", manuals_at)).unwrap();
        }
        Self(copy)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Names and texts of the catalog's files.
pub(crate) fn shipped_catalog() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("catalog");
    let mut files: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}
