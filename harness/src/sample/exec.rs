//! A command in a container, through the API server, as `kubectl exec` does it.
//!
//! The protocol is `v4.channel.k8s.io` (seen on 1.36): a frame's first byte is its channel, 1
//! for what the command printed, 2 for its errors, 3 for how it ended.

use bytes::{BufMut, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;

use super::door::{Door, Failure};
use super::websocket::{Refused, handshake};

/// Longer output is not read to its end.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const RESULT: u8 = 3;

/// How a command ended.
#[derive(Deserialize)]
struct Ended {
    status: String,
    #[serde(default)]
    message: String,
}

/// Runs a command in the pod's only container, or in its default one; returns what it printed.
///
/// # Errors
/// [`Failure::Theirs`] where the container does not run or the command failed, [`Failure::Ours`]
/// for whatever kept us from asking. Dropping the future gives up.
pub(crate) async fn exec(door: &Door, namespace: &str, pod: &str, command: &[String]) -> Result<String, Failure> {
    let words: String = command.iter().map(|word| format!("&command={}", in_query(word))).collect();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/exec?stdout=true&stderr=true{words}");
    let mut socket = handshake(door, &path, Some("v4.channel.k8s.io")).await.map_err(refused)?;
    let (mut output, mut errors) = (BytesMut::new(), BytesMut::new());
    loop {
        let frame = match socket.next().await {
            Some(Ok(Message::Binary(frame))) => frame,
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return Err(Failure::Ours("API server: exec ended early".to_owned())),
            Some(Err(error)) => return Err(Failure::Ours(format!("API server: {error}"))),
        };
        let Some((channel, bytes)) = frame.split_first() else { continue };
        if output.len() + errors.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(Failure::Theirs("output without an end".to_owned()));
        }
        match *channel {
            OUTPUT => output.put_slice(bytes),
            ERRORS => errors.put_slice(bytes),
            RESULT => return ended(bytes, &errors).map(|()| String::from_utf8_lossy(&output).into_owned()),
            other => return Err(Failure::Ours(format!("API server: a frame on channel {other}"))),
        }
    }
}

/// What is no answer of the API server's own is the kubelet's, about the container.
fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Answered { code: 400 | 500, api: None } => Failure::Theirs("the container does not run".to_owned()),
        other => other.by_the_way(),
    }
}

fn ended(result: &[u8], errors: &[u8]) -> Result<(), Failure> {
    let ended: Ended =
        serde_json::from_slice(result).map_err(|error| Failure::Ours(format!("API server: exec ended so: {error}")))?;
    if ended.status == "Success" {
        return Ok(());
    }
    let said = String::from_utf8_lossy(errors);
    let said = said.lines().next().unwrap_or_default();
    Err(Failure::Theirs(format!("{} {said}", ended.message).trim_end().to_owned()))
}

/// A word as it stands in a query.
fn in_query(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    word.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_they_are() {
        for (word, expect) in [("sh", "sh"), ("a b", "a%20b"), ("$A|b&c=1", "%24A%7Cb%26c%3D1"), ("é", "%C3%A9")] {
            assert_eq!(in_query(word), expect);
        }
    }

    #[test]
    fn only_a_success_is_one() {
        let check = |result: &str, errors: &str, expect: Result<(), &str>| match (
            ended(result.as_bytes(), errors.as_bytes()),
            expect,
        ) {
            (Ok(()), Ok(())) => {}
            (Err(Failure::Theirs(text) | Failure::Ours(text)), Err(expect)) => assert!(text.contains(expect), "{text}"),
            (seen, expect) => panic!("{result}: {seen:?}, not {expect:?}"),
        };
        check(r#"{"metadata":{},"status":"Success"}"#, "", Ok(()));
        check(
            r#"{"status":"Failure","message":"exit code 127"}"#,
            "sh: sha256sum: not found\n",
            Err("127 sh: sha256sum"),
        );
        check("", "", Err("exec ended so"));
    }
}
