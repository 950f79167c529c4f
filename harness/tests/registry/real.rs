//! Against the reference implementation, where its program is installed: Debian's `docker-registry`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::registry::{Address, Presence, Registry, RegistryError};

use crate::support::{PASSWORD, Place};

/// How long a registry may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// A registry as a process of its own; it ends when this is dropped.
struct Running {
    process: Child,
    address: Address,
    directory: tempfile::TempDir,
}

impl Running {
    /// Starts one on a free port; nothing where the program is not installed.
    fn start(authentication: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().display();
        // `me` with PASSWORD.
        let users = "me:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
        std::fs::write(directory.path().join("users"), users).unwrap();
        let authentication = authentication.replace("USERS", &format!("{data}/users"));
        let config = format!(
            "version: 0.1\nlog: {{ level: info, formatter: json }}\nstorage: {{ filesystem: {{ rootdirectory: {data}/data }} }}\n\
             http: {{ addr: 127.0.0.1:0 }}\n{authentication}"
        );
        let file = directory.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: this machine has no docker-registry");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let log = process.stderr.take().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // It is read to its end, so that the registry never waits for a reader.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let end = rest.find([',', '"']).unwrap_or(rest.len());
                    let _ = tell.send(rest[..end].to_owned());
                }
            }
        });
        let host = told.recv_timeout(LISTENS_WITHIN).expect("the registry says where it listens");
        Some(Self { process, address: Address::parse(&host, false).unwrap(), directory })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Text that no compression and no chance makes small.
fn text(seed: &str) -> String {
    (0..20_000).map(|number| format!("{seed}{number}\n")).collect()
}

#[tokio::test]
async fn a_changed_layer_costs_little_more_than_itself() {
    let Some(running) = Running::start("") else { return };
    let place = Place::new();
    let (base, old, new) = (text("base"), text("old"), text("new"));
    let registry = Registry::connect_as(&running.address, None).await.unwrap();
    let layout = place.layout();
    let first = [place.image("web:v1", &[&base, &old]), place.image("team/db:v1", &[&base])];
    let moved = registry.push(&layout, &first).await.unwrap();
    assert_eq!(moved.blobs, 6, "the common layer moves once: {moved:?}");

    let second = [place.image("web:v2", &[&base, &new]), place.image("team/db:v1", &[&base])];
    let moved = registry.push(&layout, &second).await.unwrap();
    let changed = layout.manifest(&second[0].manifest).unwrap().layers[1].size;
    assert!(moved.bytes >= changed && moved.bytes * 10 <= changed * 11, "{moved:?}, and {changed} bytes changed");

    let again = registry.push(&layout, &second).await.unwrap();
    assert_eq!((again.blobs, again.bytes), (0, 0));
    for (image, repository) in [(&first[0], "web"), (&second[0], "web"), (&second[1], "team/db")] {
        let digest = image.manifest.digest.to_string();
        assert_eq!(registry.presence(repository, &digest).await.unwrap(), Presence::Whole, "{repository}");
    }
    let digest = second[1].manifest.digest.to_string();
    assert_eq!(registry.presence("web", &digest).await.unwrap(), Presence::Absent);
}

#[tokio::test]
async fn the_right_password_opens_it_and_others_do_not() {
    let authentication = "auth: { htpasswd: { realm: double, path: USERS } }\n";
    let Some(running) = Running::start(authentication) else { return };
    let place = Place::new();
    let image = [place.image("web:v1", &["base"])];
    let push = async |password: Option<&str>| {
        let config = password.map(|password| place.docker_config(running.address.host(), password));
        let registry = Registry::connect_as(&running.address, config.as_deref()).await?;
        registry.push(&place.layout(), &image).await
    };
    for password in [None, Some("let me in")] {
        let error = push(password).await.unwrap_err();
        assert!(matches!(error, RegistryError::Refused { .. }), "{error:?}");
    }
    assert_eq!(push(Some(PASSWORD)).await.unwrap().blobs, 3);
}

#[tokio::test]
async fn a_registry_that_cannot_write_says_so() {
    let Some(running) = Running::start("") else { return };
    // A file where its directory would be: even root cannot write there.
    std::fs::write(running.directory.path().join("data"), "").unwrap();
    let place = Place::new();
    let registry = Registry::connect_as(&running.address, None).await;
    let pushed = match registry {
        Ok(registry) => registry.push(&place.layout(), &[place.image("web:v1", &["base"])]).await,
        Err(error) => Err(error),
    };
    let error = pushed.unwrap_err();
    assert!(matches!(error, RegistryError::Answer { status: 500.., .. }), "{error:?}");
}
