//! Load on an open schedule: HTTP requests and held WebSockets, through the Service.

pub mod counting;
pub mod generator;
pub mod punctuality;
pub(crate) mod requests;
pub(crate) mod sockets;
pub mod table;
pub mod tally;

use std::time::Duration;

/// A request without a complete 2xx this long after its intended start is lost; a socket
/// that is not back this long after its end is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
