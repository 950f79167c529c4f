//! What is counted, and what is said when a registry does not do what it should.

use harness::image::layout::Moved;
use harness::registry::{Address, Presence, Registry, RegistryError};

use crate::double::{Double, Mood};
use crate::support::{PASSWORD, Place, bytes_of};

#[tokio::test]
async fn what_is_counted_as_moved_is_what_arrives() {
    let (place, double) = (Place::new(), Double::start(Mood::Well).await);
    let images = [place.image("web:v1", &["base", "web"]), place.image("team/db:v1", &["base", "db"])];
    let registry = Registry::connect_as(&double.address, None).await.unwrap();

    let moved = registry.push(&place.layout(), &images).await.unwrap();
    assert_eq!((moved.blobs, moved.bytes), (7, double.bytes()), "three layers, two configs, two manifests");
    assert!(moved.bytes_present > 0, "the common layer was mounted: {moved:?}");
    assert_eq!(double.requests("POST", "mount="), 1);

    let again = registry.push(&place.layout(), &images).await.unwrap();
    let all: u64 = images.iter().map(|image| bytes_of(&place.layout(), image)).sum();
    assert_eq!(again, Moved { blobs: 0, bytes: 0, bytes_present: all });
    assert_eq!(moved.bytes, double.bytes(), "nothing arrived the second time");

    let changed = [place.image("web:v2", &["base", "other"])];
    let moved = registry.push(&place.layout(), &changed).await.unwrap();
    assert_eq!(moved.blobs, 3, "a layer, a config, a manifest");
}

#[tokio::test]
async fn a_registry_that_never_mounts_gets_the_blob_twice() {
    let (place, double) = (Place::new(), Double::start(Mood::NeverMounts).await);
    let images = [place.image("web:v1", &["base"]), place.image("db:v1", &["base"])];
    let registry = Registry::connect_as(&double.address, None).await.unwrap();
    let moved = registry.push(&place.layout(), &images).await.unwrap();
    assert_eq!((moved.blobs, moved.bytes, moved.bytes_present), (6, double.bytes(), 0));
}

#[tokio::test]
async fn manifests_come_last_and_as_they_are() {
    let (place, double) = (Place::new(), Double::start(Mood::Well).await);
    let address = Address::parse(&format!("{}/a/team", double.address), false).unwrap();
    let image = place.image("web:v1", &["base", "web"]);
    let registry = Registry::connect_as(&address, None).await.unwrap();
    registry.push(&place.layout(), std::slice::from_ref(&image)).await.unwrap();

    let seen = double.seen.lock().unwrap();
    let puts: Vec<&String> = seen.requests.iter().filter(|line| line.starts_with("PUT")).collect();
    let first_manifest = puts.iter().position(|line| line.contains("/manifests/")).unwrap();
    assert_eq!(first_manifest, puts.len() - 1, "{puts:?}");
    let (content, media_type) = &seen.manifests[&("a/team/web".to_owned(), "v1".to_owned())];
    let ours = std::fs::read(place.layout().blob_path(&image.manifest.digest)).unwrap();
    assert_eq!(
        (content.as_ref(), media_type.as_str()),
        (ours.as_slice(), "application/vnd.oci.image.manifest.v1+json")
    );
}

#[tokio::test]
async fn an_image_is_there_wholly_in_parts_or_not_at_all() {
    let (place, double) = (Place::new(), Double::start(Mood::Well).await);
    let image = place.image("web:v1", &["base", "web"]);
    let registry = Registry::connect_as(&double.address, None).await.unwrap();
    let digest = image.manifest.digest.to_string();
    assert_eq!(registry.presence("web", &digest).await.unwrap(), Presence::Absent);
    registry.push(&place.layout(), std::slice::from_ref(&image)).await.unwrap();
    assert_eq!(registry.presence("web", &digest).await.unwrap(), Presence::Whole);
    let layer = place.layout().manifest(&image.manifest).unwrap().layers[0].digest.to_string();
    double.seen.lock().unwrap().blobs.remove(&("web".to_owned(), layer));
    assert_eq!(registry.presence("web", &digest).await.unwrap(), Presence::Parts);
}

async fn failed(mood: Mood, password: Option<&str>) -> (RegistryError, Double) {
    let (place, double) = (Place::new(), Double::start(mood).await);
    let image = place.image("web:v1", &["base"]);
    let config = password.map(|password| place.docker_config(double.address.host(), password));
    let pushed = match Registry::connect_as(&double.address, config.as_deref()).await {
        Ok(registry) => registry.push(&place.layout(), &[image]).await.map(drop),
        Err(error) => Err(error),
    };
    (pushed.unwrap_err(), double)
}

#[tokio::test]
async fn refused_credentials_are_named_with_what_to_do_and_never_shown() {
    for (mood, password) in [
        (Mood::Forbids, None),
        (Mood::Forbids, Some(PASSWORD)),
        (Mood::WantsToken, None),
        (Mood::WantsToken, Some("let me in")),
    ] {
        let (error, double) = failed(mood, password).await;
        assert!(matches!(error, RegistryError::Refused { .. }), "{error:?}");
        assert_eq!(error.hint(), format!("`docker login {}` with a user who may do that, and again", double.address));
        let said = format!("{error} {error:?} {}", error.hint());
        assert!(!said.contains(PASSWORD) && !said.contains("let me in"), "{said}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_with_the_password_of_dockers_file() {
    let (place, double) = (Place::new(), Double::start(Mood::WantsToken).await);
    let config = place.docker_config(double.address.host(), PASSWORD);
    let registry = Registry::connect_as(&double.address, Some(&config)).await.unwrap();
    let moved = registry.push(&place.layout(), &[place.image("web:v1", &["base"])]).await.unwrap();
    assert_eq!(moved.blobs, 3);
}

#[tokio::test]
async fn a_full_disk_is_told_and_no_name_is_given() {
    let (error, double) = failed(Mood::DiskFull, None).await;
    assert!(matches!(error, RegistryError::Answer { status: 507, .. }), "{error:?}");
    let expect =
        format!("push a blob to registry `{}`: it answers 507: write /data: no space left on device", double.address);
    assert_eq!(error.to_string(), expect);
    assert_eq!(double.requests("PUT", "/manifests/"), 0);
}

#[tokio::test]
async fn another_digest_than_ours_is_an_error() {
    let (error, _double) = failed(Mood::Lies, None).await;
    assert!(matches!(error, RegistryError::OtherDigest { .. }), "{error:?}");
}

#[tokio::test]
async fn where_nothing_listens_is_said_with_its_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let address = Address::parse(&host, false).unwrap();
    let Err(error) = Registry::connect_as(&address, None).await else { panic!("nothing listens there") };
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with(&format!("reach registry `{host}`: ")) && said.contains("refused"), "{said}");
}
