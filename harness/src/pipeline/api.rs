//! Requests to the API server, each with a deadline, and tried again in bad weather.

use std::time::Duration;

use crate::cluster::reason;

/// How long one try may take. The server's own limit for writes is 34 s; it answers in
/// milliseconds, or something is wrong that waiting does not mend.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Pauses before the second, third and fourth try.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(3)];

/// A request failed, in good weather or after four tries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct ApiError {
    /// What was asked.
    pub doing: String,
    /// What the server said, or what was last seen of it.
    pub reason: String,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
}

/// Sends a request that may be repeated. Cancelled by being dropped.
///
/// # Errors
/// [`ApiError`], after at most 64 s.
pub(super) async fn ask<T, F>(doing: &str, request: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = kube::Result<T>>,
{
    let mut pauses = PAUSES.into_iter();
    loop {
        let (error, is_weather) = match tokio::time::timeout(ANSWER_WITHIN, request()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => (described(doing, &error), is_weather(&error)),
            Err(_) => (silent(doing), true),
        };
        match pauses.next() {
            Some(pause) if is_weather => tokio::time::sleep(pause).await,
            _ => return Err(error),
        }
    }
}

/// As [`ask`], for something that may be absent.
pub(super) async fn ask_optional<T, F>(doing: &str, request: impl Fn() -> F) -> Result<Option<T>, ApiError>
where
    F: Future<Output = kube::Result<T>>,
{
    match ask(doing, request).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn described(doing: &str, error: &kube::Error) -> ApiError {
    let status = match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    };
    ApiError { doing: doing.to_owned(), reason: reason(error), status }
}

fn silent(doing: &str) -> ApiError {
    let reason = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
    ApiError { doing: doing.to_owned(), reason, status: None }
}

fn is_weather(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kube::core::Status;

    use super::*;

    async fn tries(code: u16, good_after: u32) -> (u32, Result<(), ApiError>) {
        let count = AtomicU32::new(0);
        let result = ask("get pod `a`", || async {
            if count.fetch_add(1, Ordering::Relaxed) >= good_after {
                return Ok(());
            }
            let status = Status { code, message: "said no".to_owned(), ..Status::default() };
            Err(kube::Error::Api(status.boxed()))
        })
        .await;
        (count.into_inner(), result)
    }

    #[tokio::test(start_paused = true)]
    async fn weather_is_waited_out_and_a_no_is_taken() {
        assert_eq!(tries(200, 0).await, (1, Ok(())));
        assert_eq!(tries(503, 3).await, (4, Ok(())));
        assert_eq!(tries(429, 1).await, (2, Ok(())));
        let error = |status| ApiError { doing: "get pod `a`".into(), reason: "said no".into(), status: Some(status) };
        assert_eq!(tries(500, 9).await, (4, Err(error(500))));
        assert_eq!(tries(404, 9).await, (1, Err(error(404))));
        assert_eq!(tries(422, 9).await, (1, Err(error(422))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends() {
        let error = ask::<(), _>("get pod `a`", std::future::pending).await.unwrap_err();
        assert_eq!(error.to_string(), "get pod `a`: no answer within 15 s");
        let absent = ask_optional::<(), _>("get", || async {
            let status = Status { code: 404, ..Status::default() };
            Err(kube::Error::Api(status.boxed()))
        });
        assert_eq!(absent.await, Ok(None));
    }
}
