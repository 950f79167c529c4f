//! A file as a stream, for bodies of requests.

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// How much of a file is read at a time, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// The content of a file, piece by piece.
pub(crate) fn pieces(file: File) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(file, async |mut file: File| {
        let mut piece = vec![0; PIECE_BYTES];
        let count = file.read(&mut piece).await?;
        piece.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(piece), file)))
    })
}
