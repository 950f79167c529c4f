//! The form of `gate.toml`, and how it becomes a [`Config`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{
    Ask, BadBuild, ChecklistConfig, Config, ConfigError, HttpExpectation, PinnedCluster, Profile, ReferenceConfig,
    RolloutConfig, SecretConfig, SmokeCheck, SuiteConfig, SystemConfig, WebsocketExpectation,
};
use crate::duration;
use crate::reference::WarnAbove;
use crate::registry::Address;
use crate::soak::SoakPlan;

mod image;
mod traffic;

use image::{ImageForm, images};
use traffic::TrafficForm;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct GateFile {
    system: SystemForm,
    images: BTreeMap<Spanned<String>, ImageForm>,
    #[serde(default)]
    builds: BTreeMap<Spanned<String>, BuildForm>,
    #[serde(default)]
    secrets: BTreeMap<String, SecretForm>,
    #[serde(default)]
    profiles: BTreeMap<String, ProfileForm>,
    #[serde(default)]
    clusters: BTreeMap<String, PinForm>,
    #[serde(default)]
    rollout: RolloutForm,
    #[serde(default)]
    reference: ReferenceForm,
    #[serde(default)]
    checklist: ChecklistForm,
    soak: Option<Spanned<SoakPlan>>,
    #[serde(default)]
    suites: BTreeMap<String, SuiteConfig>,
    #[serde(default)]
    smoke: Vec<SmokeForm>,
    #[serde(default)]
    traffic: Vec<TrafficForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SystemForm {
    name: String,
    namespace: Spanned<String>,
    manifests: String,
    scenarios: String,
    version: Spanned<String>,
    previous_version: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BuildForm {
    #[serde(default)]
    images: Vec<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    overlay: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SecretForm {
    keys: BTreeMap<String, KeyForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct KeyForm {
    generate: Spanned<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ProfileForm {
    overlay: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PinForm {
    context: String,
    uid: Spanned<String>,
    registry: Option<Spanned<String>>,
    plain_http: Option<Spanned<bool>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RolloutForm {
    pull_grace: Option<Spanned<String>>,
    crash_grace: Option<Spanned<String>>,
    progress_deadline: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ReferenceForm {
    file: Option<String>,
    warn_above: Option<WarnForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WarnForm {
    factor: Spanned<f64>,
    floor: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ChecklistForm {
    evidence: Option<String>,
    smoke_on: Option<Spanned<String>>,
    backup_not_older_than: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SmokeForm {
    name: Spanned<String>,
    service: String,
    #[serde(default)]
    quick: bool,
    within: Option<Spanned<String>>,
    http: Option<HttpExpectation>,
    websocket: Option<WebsocketExpectation>,
}

/// Where the reference is, where `gate.toml` does not say.
const REFERENCE: &str = "scenarios/reference.json";
/// Where evidence is kept, where `gate.toml` does not say.
const EVIDENCE: &str = "target/evidence";
/// The name of the embedded cluster among those that may stand for staging.
const EMBEDDED: &str = "embedded";
/// Longest random value of a Secret: a thousand characters are a mistake.
const GENERATE_MAX: usize = 1000;

pub(super) fn parse(text: &str, file: &Path, root: &Path) -> Result<Config, ConfigError> {
    let place = Place { text, file };
    let mut form: GateFile = toml::from_str(text).map_err(|error| place.invalid(error.span(), error.message()))?;
    let checklist = checklist(std::mem::take(&mut form.checklist), &form.clusters, root, &place)?;
    Ok(Config {
        file: file.to_owned(),
        root: root.to_owned(),
        system: system(form.system, root, &place)?,
        builds: builds(form.builds, &form.images, root, &place)?,
        images: images(form.images, root, &place)?,
        secrets: secrets(form.secrets, &place)?,
        profiles: form
            .profiles
            .into_iter()
            .map(|(name, profile)| (name, Profile { overlay: root.join(profile.overlay) }))
            .collect(),
        clusters: form
            .clusters
            .into_iter()
            .map(|(name, pin)| Ok((name, pinned(pin, &place)?)))
            .collect::<Result<_, _>>()?,
        rollout: rollout(form.rollout, &place)?,
        checklist,
        soak: form.soak.map(|soak| soaked(soak, &place)).transpose()?,
        suites: form.suites,
        reference: reference(form.reference, root, &place)?,
        traffic: traffic::all(form.traffic, &place)?,
        smoke: form.smoke.into_iter().map(|check| smoke(check, &place)).collect::<Result<_, _>>()?,
    })
}

fn system(form: SystemForm, root: &Path, place: &Place<'_>) -> Result<SystemConfig, ConfigError> {
    if !is_dns_label(form.namespace.get_ref()) {
        let message = "a namespace is at most 63 of a-z, 0-9 and `-`, with no `-` at either end";
        return Err(place.invalid(Some(form.namespace.span()), message));
    }
    for version in [&form.version, &form.previous_version] {
        check_tag(version, place)?;
    }
    if form.version.get_ref() == form.previous_version.get_ref() {
        let message = "`previous-version` equals `version`: a rollback needs another release to return to";
        return Err(place.invalid(Some(form.previous_version.span()), message));
    }
    Ok(SystemConfig {
        name: form.name,
        namespace: form.namespace.into_inner(),
        manifests: root.join(form.manifests),
        scenarios: root.join(form.scenarios),
        version: form.version.into_inner(),
        previous_version: form.previous_version.into_inner(),
    })
}

fn builds(
    forms: BTreeMap<Spanned<String>, BuildForm>,
    images: &BTreeMap<Spanned<String>, ImageForm>,
    root: &Path,
    place: &Place<'_>,
) -> Result<BTreeMap<String, BadBuild>, ConfigError> {
    let known: Vec<&str> = images.keys().map(|repository| repository.get_ref().as_str()).collect();
    let build = |name: &Spanned<String>, form: BuildForm| {
        if let Some(unknown) = form.images.iter().find(|image| !known.contains(&image.get_ref().as_str())) {
            let message = format!("no image `{}` here; there are: {}", unknown.get_ref(), known.join(", "));
            return Err(place.invalid(Some(unknown.span()), &message));
        }
        let pulled = images.iter().filter(|(_, image)| image.is_pulled()).map(|(repository, _)| repository.get_ref());
        let pulled: Vec<&String> = pulled.collect();
        if let Some(image) = form.images.iter().find(|image| pulled.contains(&image.get_ref())) {
            let message = format!("image `{}` is pulled as it is: nothing can be baked into it", image.get_ref());
            return Err(place.invalid(Some(image.span()), &message));
        }
        if form.images.is_empty() != form.env.is_empty() || (form.images.is_empty() && form.overlay.is_none()) {
            let message = "a build has `images` with the `env` that goes into them, or an `overlay`, or both";
            return Err(place.invalid(Some(name.span()), message));
        }
        let images = form.images.into_iter().map(Spanned::into_inner).collect();
        Ok(BadBuild { images, env: form.env, overlay: form.overlay.map(|file| root.join(file)) })
    };
    forms
        .into_iter()
        .map(|(name, form)| {
            let built = build(&name, form)?;
            Ok((name.into_inner(), built))
        })
        .collect()
}

fn secrets(
    forms: BTreeMap<String, SecretForm>,
    place: &Place<'_>,
) -> Result<BTreeMap<String, SecretConfig>, ConfigError> {
    let length = |form: KeyForm| match *form.generate.get_ref() {
        0 | GENERATE_MAX.. => {
            let message = format!("`generate` is a number of characters, from 1 to {}", GENERATE_MAX - 1);
            Err(place.invalid(Some(form.generate.span()), &message))
        }
        length => Ok(length),
    };
    forms
        .into_iter()
        .map(|(name, form)| {
            let keys = form.keys.into_iter().map(|(key, form)| Ok((key, length(form)?)));
            Ok((name, SecretConfig { keys: keys.collect::<Result<_, _>>()? }))
        })
        .collect()
}

/// An empty uid would agree with a cluster that does not tell its own.
fn pinned(form: PinForm, place: &Place<'_>) -> Result<PinnedCluster, ConfigError> {
    if form.uid.get_ref().is_empty() {
        let message = "`uid` is empty: write what `kubectl get namespace kube-system -o jsonpath={.metadata.uid}` says";
        return Err(place.invalid(Some(form.uid.span()), message));
    }
    let registry = match (form.registry, form.plain_http) {
        (None, Some(plain_http)) => {
            return Err(place.invalid(Some(plain_http.span()), "`plain-http` is about a `registry`, and there is none"));
        }
        (None, None) => None,
        (Some(text), plain_http) => {
            let address = Address::parse(text.get_ref(), plain_http.is_some_and(Spanned::into_inner));
            Some(address.map_err(|message| place.invalid(Some(text.span()), &message))?)
        }
    };
    Ok(PinnedCluster { context: form.context, uid: form.uid.into_inner(), registry })
}

fn rollout(form: RolloutForm, place: &Place<'_>) -> Result<RolloutConfig, ConfigError> {
    Ok(RolloutConfig {
        pull_grace: time(form.pull_grace, Duration::from_secs(30), place)?,
        crash_grace: time(form.crash_grace, Duration::from_secs(5), place)?,
        // The default of a Deployment's `progressDeadlineSeconds`.
        progress_deadline: time(form.progress_deadline, Duration::from_secs(600), place)?,
    })
}

fn reference(form: ReferenceForm, root: &Path, place: &Place<'_>) -> Result<ReferenceConfig, ConfigError> {
    let file = root.join(form.file.as_deref().unwrap_or(REFERENCE));
    let default = WarnAbove::default();
    let Some(warn) = form.warn_above else { return Ok(ReferenceConfig { file, warn_above: default }) };
    let factor = *warn.factor.get_ref();
    if !(factor.is_finite() && factor > 1.0) {
        let message = "`factor` is how many times longer a recovery may be than in the reference: more than 1";
        return Err(place.invalid(Some(warn.factor.span()), message));
    }
    let floor = time(warn.floor, default.floor, place)?;
    Ok(ReferenceConfig { file, warn_above: WarnAbove { factor, floor } })
}

fn checklist(
    form: ChecklistForm,
    clusters: &BTreeMap<String, PinForm>,
    root: &Path,
    place: &Place<'_>,
) -> Result<ChecklistConfig, ConfigError> {
    let known = || clusters.keys().map(String::as_str).chain([EMBEDDED]).collect::<Vec<_>>().join(", ");
    let smoke_on = match form.smoke_on {
        Some(name) if name.get_ref() != EMBEDDED && !clusters.contains_key(name.get_ref()) => {
            let message = format!("no cluster `{}` here; there are: {}", name.get_ref(), known());
            return Err(place.invalid(Some(name.span()), &message));
        }
        name => name.map_or_else(|| EMBEDDED.to_owned(), Spanned::into_inner),
    };
    Ok(ChecklistConfig {
        evidence: root.join(form.evidence.as_deref().unwrap_or(EVIDENCE)),
        smoke_on,
        backup_age_max: time(form.backup_not_older_than, Duration::from_secs(24 * 60 * 60), place)?,
    })
}

fn soaked(soak: Spanned<SoakPlan>, place: &Place<'_>) -> Result<SoakPlan, ConfigError> {
    let span = soak.span();
    let plan = soak.into_inner();
    match plan.wrong() {
        Some(message) => Err(place.invalid(Some(span), &message)),
        None => Ok(plan),
    }
}

fn smoke(form: SmokeForm, place: &Place<'_>) -> Result<SmokeCheck, ConfigError> {
    let ask = match (form.http, form.websocket) {
        (Some(http), None) => Ask::Http(http),
        (None, Some(websocket)) if websocket.expect.is_empty() => {
            let message = "`expect` is empty: a check that expects nothing cannot fail";
            return Err(place.invalid(Some(form.name.span()), message));
        }
        (None, Some(websocket)) => Ask::Websocket(websocket),
        (None, None) | (Some(_), Some(_)) => {
            let message = "a smoke check has either `http = {…}` or `websocket = {…}`";
            return Err(place.invalid(Some(form.name.span()), message));
        }
    };
    let within = time(form.within, Duration::from_secs(5), place)?;
    Ok(SmokeCheck { name: form.name.into_inner(), service: form.service, quick: form.quick, within, ask })
}

fn time(text: Option<Spanned<String>>, default: Duration, place: &Place<'_>) -> Result<Duration, ConfigError> {
    text.map_or(Ok(default), |text| {
        duration::parse(text.get_ref()).map_err(|message| place.invalid(Some(text.span()), &message))
    })
}

/// Where messages point to.
struct Place<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Place<'_> {
    fn invalid(&self, span: Option<Range<usize>>, message: &str) -> ConfigError {
        let start = span.map_or(0, |span| span.start.min(self.text.len()));
        let before = self.text.get(..start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Invalid {
            file: self.file.display().to_string(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.to_owned(),
        }
    }
}

/// A version becomes an image tag with `-` and twelve digits behind it.
fn check_tag(version: &Spanned<String>, place: &Place<'_>) -> Result<(), ConfigError> {
    let text = version.get_ref();
    let fits = (1..=64).contains(&text.len())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if fits {
        return Ok(());
    }
    let message = format!(
        "version `{text}` cannot be an image tag: at most 64 letters, digits, `.`, `_` and `-`, such as `v3.3.1`"
    );
    Err(place.invalid(Some(version.span()), &message))
}

fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .chars()
            .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
