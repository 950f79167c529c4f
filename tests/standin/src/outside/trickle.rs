//! Bodies that come in pieces.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::sleep;

/// Time for the first piece to leave: what the server has not written yet goes with the connection.
const BEFORE_CUT: Duration = Duration::from_millis(50);

/// Sends the pieces with a pause before each one.
pub(super) fn pieces(pieces: Vec<Bytes>, pause: Duration) -> Body {
    Body::from_stream(stream::iter(pieces).then(move |piece| async move {
        sleep(pause).await;
        Ok::<_, io::Error>(piece)
    }))
}

/// Sends the first piece, then breaks the connection off.
pub(super) fn cut(pieces: Vec<Bytes>) -> Body {
    let broken = stream::once(async {
        sleep(BEFORE_CUT).await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    Body::from_stream(stream::iter(pieces.into_iter().take(1).map(Ok)).chain(broken))
}
