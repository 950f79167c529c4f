//! Images: a deterministic OCI writer.
//!
//! The same inputs give the same digests on every machine: layers are uncompressed tars
//! with sorted entries, no times and no owners, and documents are written key by key in a
//! fixed order. What is made lands in an OCI layout on disk.

pub mod archive;
pub mod document;
pub mod host;
pub mod layer;
pub mod layout;

mod digest;
mod error;
pub(crate) mod pieces;

pub use digest::{Digest, Hashing};
pub use error::ImageError;
