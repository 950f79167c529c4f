//! The push stage with a registry as its destination.

use harness::config::{Config, Release};
use harness::event::{StageResult, What};
use harness::pipeline::{self, BuiltImage, BuiltRelease, Destination, PushError, Variant, Why};
use tokio_util::sync::CancellationToken;

use crate::double::{Double, Mood};
use crate::support::Place;

const GATE: &str = r#"
[system]
name = "s"
namespace = "s"
manifests = "m"
scenarios = "c"
version = "v2"
previous-version = "v1"
[images]
"#;

fn release(place: &Place, version: &str, layers: &[&str]) -> BuiltRelease {
    let image = place.image(&format!("web:{version}"), layers);
    let image = BuiltImage { reference: image.reference, manifest: image.manifest, why: Why::First };
    BuiltRelease {
        variant: Variant { release: Release::Current, flaw: None },
        version: version.to_owned(),
        images: [("web".to_owned(), image)].into(),
        registry: None,
    }
}

struct Told {
    result: Result<pipeline::Pushed, PushError>,
    stage: StageResult,
    facts: Vec<String>,
}

async fn push(place: &Place, releases: &[BuiltRelease], double: &Double, cancel: &CancellationToken) -> Told {
    let file = place.path().join("gate.toml");
    let config = Config::parse(GATE, &file, place.path()).unwrap();
    let mut told = Vec::new();
    let mut sink = |what| told.push(what);
    let destination = Destination::Registry(double.address.clone());
    let result = pipeline::push(&config, releases, &destination, cancel, &mut sink).await;
    let Some(What::StageFinished { result: stage, facts, .. }) = told.pop() else { panic!("{told:?}") };
    Told { result, stage, facts }
}

#[tokio::test]
async fn what_moved_is_told_and_the_release_is_named_with_its_registry() {
    let (place, double) = (Place::new(), Double::start(Mood::Well).await);
    let releases = [release(&place, "v1", &["base"]), release(&place, "v2", &["base"])];
    let cancel = CancellationToken::new();
    let told = push(&place, &releases, &double, &cancel).await;
    let pushed = told.result.unwrap();
    assert_eq!((pushed.images, pushed.blobs, pushed.bytes), (2, 5, double.bytes()));
    let begins = format!("2 images to {}: 5 blobs, ", double.address);
    assert!(told.facts[0].starts_with(&begins) && told.facts[0].ends_with(" were there"), "{:?}", told.facts);
    let told = push(&place, &releases, &double, &cancel).await;
    let begins = format!("2 images to {}: nothing to move, ", double.address);
    assert!(told.facts[0].starts_with(&begins), "{:?}", told.facts);

    let [release, _] = releases;
    let pinned = release.images["web"].pinned();
    assert_eq!(release.pinned()["web"], pinned);
    let release = release.pulled_from(&Destination::Registry(double.address.clone()));
    assert_eq!(release.pinned()["web"], format!("{}/{pinned}", double.address));
}

#[tokio::test]
async fn a_push_that_is_cancelled_ends_at_once_and_names_nothing() {
    let (place, double) = (Place::new(), Double::start(Mood::Hangs).await);
    let releases = [release(&place, "v1", &["base"])];
    let cancel = CancellationToken::new();
    let mut uploads = double.uploads.clone();
    let cancelling = async {
        uploads.wait_for(|count| *count > 0).await.unwrap();
        cancel.cancel();
    };
    let (told, ()) = tokio::join!(push(&place, &releases, &double, &cancel), cancelling);
    assert!(matches!(told.result, Err(PushError::Cancelled)), "{:?}", told.result);
    assert_eq!(told.stage, StageResult::Cancelled);
    assert_eq!(double.requests("PUT", "/manifests/"), 0);
}
