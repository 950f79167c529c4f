//! Calls to a system whose API has weather: bounded, tried again where that can help,
//! and never able to take the engine down with them.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{sleep, timeout_at};

use crate::clock::RunClock;
use crate::duration;
use crate::system::SystemError;

/// Pause between two tries.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What a patient call came to.
#[derive(Debug)]
pub(super) struct Tried<T> {
    pub(super) result: Result<T, SystemError>,
    /// Tries that met with weather.
    pub(super) retries: u32,
    /// What the last of them said.
    pub(super) weather: Option<String>,
}

/// How long to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// With one try; what takes longer is weather.
    pub each: Duration,
    /// With all of them.
    pub within: Duration,
}

/// Tries until it succeeds, fails for good, or time is over. A panic fails for good.
pub(super) async fn patiently<T, F, C>(clock: RunClock, patience: Patience, mut attempt: C) -> Tried<T>
where
    F: Future<Output = Result<T, SystemError>>,
    C: FnMut() -> F,
{
    let until = clock.now() + patience.within;
    let (mut retries, mut weather) = (0, None::<String>);
    let result = loop {
        let give_up = until.min(clock.now() + patience.each);
        let last = match timeout_at(clock.instant(give_up), AssertUnwindSafe(attempt()).catch_unwind()).await {
            Ok(Ok(Ok(value))) => break Ok(value),
            Ok(Ok(Err(error))) if !error.transient => break Err(error),
            Ok(Ok(Err(error))) => error.message,
            Ok(Err(panic)) => break Err(crashed(&*panic)),
            Err(_) => "no answer".to_owned(),
        };
        retries += 1;
        if clock.now() + RETRY_PAUSE >= until {
            let message = format!("gave up after {}; last seen: {last}", duration::text(patience.within));
            break Err(SystemError { message, transient: true });
        }
        weather = Some(last);
        sleep(RETRY_PAUSE).await;
    };
    Tried { result, retries, weather }
}

/// A panic as an error that is no weather.
pub(super) fn crashed(panic: &(dyn Any + Send)) -> SystemError {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    SystemError { message: format!("crashed: {}", said.unwrap_or("without a word")), transient: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(transient: bool) -> Result<u32, SystemError> {
        Err(SystemError { message: "503".to_owned(), transient })
    }

    async fn check(
        within: u64,
        answer: impl Fn(u32) -> Result<u32, SystemError>,
        expect: Result<u32, &str>,
        retries: u32,
    ) {
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            std::future::ready(answer(attempts))
        };
        let tried = patiently(RunClock::start(), patience(within), attempt).await;
        assert_eq!(tried.result.map_err(|error| error.message), expect.map_err(str::to_owned));
        assert_eq!(tried.retries, retries);
    }

    fn patience(within: u64) -> Patience {
        Patience { each: Duration::from_millis(400), within: Duration::from_millis(within) }
    }

    #[tokio::test(start_paused = true)]
    async fn weather_is_ridden_out_and_the_rest_is_not() {
        check(1000, Ok, Ok(1), 0).await;
        check(1000, |attempt| if attempt < 3 { error(true) } else { Ok(attempt) }, Ok(3), 2).await;
        check(1000, |_| error(false), Err("503"), 0).await;
        check(1000, |_| error(true), Err("gave up after 1s; last seen: 503"), 4).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_or_panics_comes_back() {
        let clock = RunClock::start();
        let hung = patiently(clock, patience(1000), std::future::pending::<Result<(), SystemError>>).await;
        assert_eq!(hung.retries, 2);
        assert_eq!(hung.result.unwrap_err().message, "gave up after 1s; last seen: no answer");
        let crashed = patiently(clock, patience(1000), || async {
            if clock.now().nanos() < u64::MAX { panic!("index out of bounds") } else { Ok(()) }
        });
        assert_eq!(crashed.await.result.unwrap_err().message, "crashed: index out of bounds");
    }
}
