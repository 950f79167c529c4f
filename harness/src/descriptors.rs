//! How many sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open descriptors to the most that the system allows: thousands of sockets
/// need more than a shell gives by default, and this needs no privilege. Programs started from
/// here on have it too. Where even that is refused, the socket that is one too many says so.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
