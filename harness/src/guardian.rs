//! The second process, which heals when the first is gone.
//!
//! A run starts its guardian before it breaks anything and holds the other end of the
//! guardian's standard input. As long as the run lives, that pipe is open. When it
//! closes without the word `clean`, whatever the reason, the guardian takes over the
//! run's ledger and heals. It stands in a session of its own, so that neither a closed
//! terminal nor a signal to the run's process group reaches it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use crate::heal::{self, HealError};

/// The hidden subcommand that is a guardian.
pub const SUBCOMMAND: &str = "guardian";
/// What a run says before it ends well.
const CLEAN: &[u8] = b"clean\n";
/// What a guardian says once it stands.
const READY: &str = "ready\n";
/// How long the ledger of a run whose pipe is closed may still be locked.
const LOCK_RELEASE_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks at that lock.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// The guardian of a run, seen from the run.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Starts `program guardian LEDGER` and waits until it stands.
    ///
    /// # Errors
    /// What spawning returned, or that the process ended before it was ready.
    pub fn start(program: &Path, ledger: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .arg(ledger)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        let pipe = child.stdin.take();
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout was asked for as a pipe");
        BufReader::new(stdout).read_line(&mut line)?;
        if line != READY {
            let status = child.wait()?;
            return Err(io::Error::other(format!("the guardian did not stand: {status}")));
        }
        Ok(Self { child, pipe })
    }

    /// Lets the guardian go: there is nothing to heal. Returns when it has ended.
    ///
    /// # Errors
    /// What writing or waiting returned; the guardian then heals an empty ledger, or is gone.
    pub fn dismiss(mut self) -> io::Result<()> {
        if let Some(mut pipe) = self.pipe.take() {
            pipe.write_all(CLEAN)?;
        }
        self.child.wait().map(drop)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// The guardian's own main: stands until its standard input ends, then heals if it must.
#[must_use]
pub fn main(ledger: &Path) -> ExitCode {
    // A failure means that it already leads a session, which serves as well.
    let _ = rustix::process::setsid();
    let mut stdout = io::stdout();
    if stdout.write_all(READY.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        return ExitCode::FAILURE;
    }
    let mut said = Vec::new();
    // An error of the pipe is its end.
    let _ = io::stdin().read_to_end(&mut said);
    if said == CLEAN {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(heal_when_released(ledger))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(_)) | Err(_) => ExitCode::from(5),
    }
}

/// The kernel closes the run's pipe and releases its lock while the process ends, in no
/// order that could be relied on; so the lock is looked at until it is free.
async fn heal_when_released(ledger: &Path) -> Result<(), HealError> {
    let looks = LOCK_RELEASE_MAX.as_millis() / LOCK_LOOK.as_millis();
    for _ in 0..looks {
        if !ledger.exists() || heal::heal_dead_run(ledger).await?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(LOCK_LOOK).await;
    }
    Ok(())
}
