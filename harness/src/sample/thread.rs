//! Work on an operating system thread with a runtime of its own.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::system::SystemError;

/// A thread that is always waited for: it must be told to end before this is dropped.
pub(crate) struct Thread<T> {
    name: &'static str,
    handle: Option<JoinHandle<()>>,
    result: Option<oneshot::Receiver<Result<T, SystemError>>>,
}

impl<T: Send + 'static> Thread<T> {
    /// Runs a future to its end on a new thread, where nothing else delays it.
    ///
    /// # Errors
    /// [`SystemError`] where there is no thread or no runtime to be had.
    pub(crate) fn start(
        name: &'static str,
        work: impl Future<Output = Result<T, SystemError>> + Send + 'static,
    ) -> Result<Self, SystemError> {
        let failed =
            |error: std::io::Error| SystemError { message: format!("start the {name}: {error}"), transient: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (tell, result) = oneshot::channel();
        let run = move || {
            // Nobody listens where the observing was dropped.
            let _ = tell.send(runtime.block_on(work));
        };
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { name, handle: Some(handle), result: Some(result) })
    }

    /// What it came to, once; `None` where that was asked before. Cancel-safe.
    ///
    /// # Errors
    /// What the work returned, and that it crashed.
    pub(crate) async fn ended(&mut self) -> Result<Option<T>, SystemError> {
        let Some(result) = &mut self.result else { return Ok(None) };
        let result = result.await;
        self.result = None;
        // The result was sent, or its sender dropped, as the thread's last act.
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
        match result {
            Ok(result) => result.map(Some),
            Err(_) => Err(SystemError { message: format!("the {} crashed", self.name), transient: false }),
        }
    }
}
