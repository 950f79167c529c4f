//! From what a WebSocket library says to how a socket ended: pure.

use std::io;

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::event::SocketEnd;

/// With a close frame.
pub(super) fn closed(frame: Option<CloseFrame>) -> SocketEnd {
    let code = frame.as_ref().map_or(CloseCode::Status, |frame| frame.code);
    SocketEnd::Closed { code: code.into(), reason: frame.map_or_else(String::new, |frame| frame.reason.to_string()) }
}

/// Without one.
pub(super) fn broken(error: &Error) -> SocketEnd {
    match error {
        Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                SocketEnd::Reset
            }
            io::ErrorKind::UnexpectedEof => SocketEnd::Unclosed,
            _ => SocketEnd::Broken { error: error.to_string() },
        },
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | Error::ConnectionClosed
        | Error::AlreadyClosed => SocketEnd::Unclosed,
        other => SocketEnd::Broken { error: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SocketEndKind;

    #[test]
    fn every_error_is_an_end_of_its_kind() {
        let check = |error: Error, expect: SocketEndKind| assert_eq!(broken(&error).kind(), expect, "{error}");
        let io = |kind: io::ErrorKind| Error::Io(kind.into());
        check(io(io::ErrorKind::ConnectionReset), SocketEndKind::Reset);
        check(io(io::ErrorKind::BrokenPipe), SocketEndKind::Reset);
        check(io(io::ErrorKind::UnexpectedEof), SocketEndKind::Unclosed);
        check(io(io::ErrorKind::TimedOut), SocketEndKind::Broken);
        check(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake), SocketEndKind::Unclosed);
        check(Error::Protocol(ProtocolError::NonZeroReservedBits), SocketEndKind::Broken);
    }

    #[test]
    fn a_close_frame_has_its_code_and_its_reason() {
        let frame = CloseFrame { code: CloseCode::Away, reason: "moving".into() };
        let closed = |frame| match closed(frame) {
            SocketEnd::Closed { code, reason } => (code, reason),
            other => panic!("{other}"),
        };
        assert_eq!(closed(Some(frame)), (1001, "moving".to_owned()));
        assert_eq!(closed(None), (1005, String::new()));
    }
}
