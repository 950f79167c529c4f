//! Images of others: pulled once, passed on as they are, and made of installed programs otherwise.

use harness::config::Config;
use harness::event::What;
use harness::image::Digest;
use harness::image::document::INDEX;
use harness::pipeline::{self, BuildError, BuiltRelease, Destination, Supply, Variant};
use harness::registry::{Registry, RegistryError};
use tokio_util::sync::CancellationToken;

use crate::double::{Double, Mood};
use crate::support::Place;

/// The program of a project: an image of others as `other`.
fn config(place: &Place, image: &str) -> Config {
    let text = format!(
        "[system]\nname = \"s\"\nnamespace = \"s\"\nmanifests = \"m\"\nscenarios = \"c\"\nversion = \"v2\"\n\
         previous-version = \"v1\"\n[images.other]\n{image}\n"
    );
    Config::parse(&text, &place.path().join("gate.toml"), place.path()).unwrap()
}

const STAND_IN: &str = "host-binaries = [\"ldd\"]\nentrypoint = [\"ldd\"]";

struct Built {
    release: Result<BuiltRelease, BuildError>,
    facts: Vec<String>,
}

impl Built {
    fn reference(&self) -> &str {
        &self.release.as_ref().unwrap().images["other"].reference
    }
}

async fn build(config: &Config, supply: Supply) -> Built {
    let mut facts = Vec::new();
    let mut sink = |what| {
        if let What::StageFinished { facts: told, .. } = what {
            facts.extend(told);
        }
    };
    let cancel = CancellationToken::new();
    let built = pipeline::build(config, &[Variant::current()], supply, &cancel, &mut sink).await;
    Built { release: built.map(|mut releases| releases.remove(0)), facts }
}

/// A registry that has `web:v1`, and the digest of its manifest.
async fn stocked() -> (Double, Digest) {
    let (place, double) = (Place::new(), Double::start(Mood::Well).await);
    let image = place.image("web:v1", &["base", "web"]);
    let registry = Registry::connect_as(&double.address, None).await.unwrap();
    registry.push(&place.layout(), std::slice::from_ref(&image)).await.unwrap();
    (double, image.manifest.digest)
}

#[tokio::test]
async fn an_image_of_others_is_pulled_once_and_passed_on_with_its_digest() {
    let (theirs, digest) = stocked().await;
    let place = Place::new();
    let config = config(&place, &format!("pull = \"{}/web:v1@{digest}\"", theirs.address));
    let built = build(&config, Supply::Pulled).await;
    assert_eq!(built.reference(), format!("other:v1-{}", digest.short()));
    assert!(built.facts[0].contains("pulled") && built.facts[0].contains("written"), "{:?}", built.facts);

    let asked = theirs.seen.lock().unwrap().requests.len();
    let again = build(&config, Supply::Pulled).await;
    assert!(again.facts[0].ends_with(": unchanged"), "{:?}", again.facts);
    assert_eq!(theirs.seen.lock().unwrap().requests.len(), asked, "nobody was asked the second time");
    let [(image, words)] = pipeline::supplies(&config).try_into().unwrap();
    assert!(image == "other" && words.ends_with(&format!("was pulled as {digest}")), "{words}");

    let ours = Double::start(Mood::Well).await;
    let destination = Destination::Registry(ours.address.clone());
    let release = again.release.unwrap();
    let cancel = CancellationToken::new();
    pipeline::push(&config, std::slice::from_ref(&release), &destination, &cancel, &mut |_| {}).await.unwrap();
    let registry = Registry::connect_as(&ours.address, None).await.unwrap();
    let presence = registry.presence("other", &digest.to_string()).await.unwrap();
    assert_eq!(presence, harness::registry::Presence::Whole);
}

#[tokio::test]
async fn of_several_platforms_this_machines_is_taken() {
    let (theirs, digest) = stocked().await;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let entry = |digest: &Digest, architecture: &str| {
        format!(
            r#"{{"mediaType":"m","size":1,"digest":"{digest}","platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    };
    let index = |ours: &str| {
        let entries = [entry(&Digest::of(b"x"), "s390x"), entry(&digest, ours)].join(",");
        format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entries}]}}"#)
    };
    let put = |name: &str, content: String| {
        let named = ("web".to_owned(), name.to_owned());
        theirs.seen.lock().unwrap().manifests.insert(named, (content.into(), INDEX.to_owned()));
    };
    put("many", index(architecture));
    put("foreign", index("riscv64"));
    let place = Place::new();
    let built = build(&config(&place, &format!("pull = \"{}/web:many\"", theirs.address)), Supply::Pulled).await;
    assert_eq!(built.reference(), format!("other:many-{}", digest.short()));
    let built = build(&config(&place, &format!("pull = \"{}/web:foreign\"", theirs.address)), Supply::Pulled).await;
    let error = built.release.unwrap_err().to_string();
    assert!(error.contains("is not there for linux on "), "{error}");
}

#[tokio::test]
async fn where_it_cannot_be_pulled_installed_programs_stand_in_and_that_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    drop(listener);
    let place = Place::new();
    let alone = build(&config(&place, &format!("pull = \"{host}/web:v1\"")), Supply::Pulled).await;
    let error = alone.release.unwrap_err();
    assert!(matches!(error, BuildError::Registry(RegistryError::Unreachable { .. })), "{error:?}");

    let config = config(&place, &format!("pull = \"{host}/web:v1\"\n{STAND_IN}"));
    let built = build(&config, Supply::Pulled).await;
    let told = format!("other: made of installed ldd, because failed to reach registry `{host}`");
    assert!(built.facts[1].starts_with(&told), "{:?}", built.facts);

    // Somebody listens there now, and would be seen to be asked.
    let listener = std::net::TcpListener::bind(host).unwrap();
    listener.set_nonblocking(true).unwrap();
    let again = build(&config, Supply::Pulled).await;
    assert!(again.facts[1].starts_with(&told), "{:?}", again.facts);
    assert_eq!(again.reference(), built.reference());
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let words = &pipeline::supplies(&config)[0].1;
    assert!(words.starts_with("made of installed programs, because failed to reach registry"), "{words}");
}

#[tokio::test]
async fn the_embedded_cluster_asks_nobody() {
    let (theirs, _) = stocked().await;
    let asked = theirs.seen.lock().unwrap().requests.len();
    let place = Place::new();
    let config = config(&place, &format!("pull = \"{}/web:v1\"\n{STAND_IN}", theirs.address));
    let built = build(&config, Supply::of(&Destination::Layout(place.path().to_owned()))).await;
    assert!(built.reference().starts_with("other:v1-") && built.facts.len() == 1, "{:?}", built.facts);
    assert_eq!(theirs.seen.lock().unwrap().requests.len(), asked);
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_digest_says_is_refused() {
    let (theirs, _) = stocked().await;
    let named = ("web".to_owned(), "v1".to_owned());
    let lie = Digest::of(b"not what is served").to_string();
    {
        let mut seen = theirs.seen.lock().unwrap();
        let (content, media_type) = seen.manifests[&named].clone();
        let content = String::from_utf8(content.to_vec()).unwrap();
        let start = content.rfind("sha256:").unwrap();
        let forged = content.replace(&content[start..start + lie.len()], &lie);
        seen.manifests.insert(named, (forged.into(), media_type));
        seen.blobs.insert(("web".to_owned(), lie));
    }
    let place = Place::new();
    let built = build(&config(&place, &format!("pull = \"{}/web:v1\"", theirs.address)), Supply::Pulled).await;
    let error = built.release.unwrap_err();
    assert!(matches!(error, BuildError::Registry(RegistryError::Unusable { .. })), "{error:?}");
}
