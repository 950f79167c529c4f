//! The cryptography of HTTP clients that bring none of their own.

use tokio_rustls::rustls::crypto::ring;

/// Makes ring the process's cryptography, unless it has some already. Every `reqwest` client is
/// built after this: without it, building one panics.
pub(crate) fn install_provider() {
    // An error says that there is one already.
    let _ = ring::default_provider().install_default();
}
