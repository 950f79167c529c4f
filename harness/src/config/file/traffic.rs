//! `[[traffic]]`: what runs against a Service while something is rolled out.

use serde::Deserialize;
use toml::Spanned;

use super::Place;
use crate::config::{ConfigError, TrafficConfig};
use crate::scenario::plan::LoadPlan;

/// Beyond these, what is measured is this machine.
const REQUESTS_PER_SECOND_MAX: f64 = 1000.0;
const SOCKETS_MAX: u32 = 5000;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TrafficForm {
    service: Spanned<String>,
    requests_per_second: Spanned<f64>,
    path: Spanned<String>,
    #[serde(default)]
    sockets: Option<Spanned<u32>>,
    socket_path: Option<Spanned<String>>,
}

pub(super) fn all(forms: Vec<TrafficForm>, place: &Place<'_>) -> Result<Vec<TrafficConfig>, ConfigError> {
    let mut all: Vec<TrafficConfig> = Vec::new();
    for form in forms {
        if all.iter().any(|one| one.service == *form.service.get_ref()) {
            let message = format!("service `{}` has a [[traffic]] already", form.service.get_ref());
            return Err(place.invalid(Some(form.service.span()), &message));
        }
        all.push(one(form, place)?);
    }
    Ok(all)
}

fn one(form: TrafficForm, place: &Place<'_>) -> Result<TrafficConfig, ConfigError> {
    let requests_per_second = *form.requests_per_second.get_ref();
    // At least one a second: a second without a request would show nothing.
    if !(1.0..=REQUESTS_PER_SECOND_MAX).contains(&requests_per_second) {
        let message = format!("`requests-per-second` is from 1 to {REQUESTS_PER_SECOND_MAX}");
        return Err(place.invalid(Some(form.requests_per_second.span()), &message));
    }
    let sockets = form.sockets.as_ref().map_or(0, |sockets| *sockets.get_ref());
    if let Some(many) = form.sockets.filter(|sockets| *sockets.get_ref() > SOCKETS_MAX) {
        return Err(place.invalid(Some(many.span()), &format!("`sockets` is at most {SOCKETS_MAX}")));
    }
    for path in [Some(&form.path), form.socket_path.as_ref()].into_iter().flatten() {
        if !path.get_ref().starts_with('/') {
            return Err(place.invalid(Some(path.span()), "a path starts with `/`"));
        }
    }
    if sockets > 0 && form.socket_path.is_none() {
        let message = "`sockets` needs a `socket-path`, such as \"/ws\"";
        return Err(place.invalid(Some(form.service.span()), message));
    }
    Ok(TrafficConfig {
        service: form.service.into_inner(),
        load: LoadPlan {
            requests_per_second,
            path: form.path.into_inner(),
            sockets,
            sockets_asking: sockets,
            socket_path: form.socket_path.map(Spanned::into_inner).unwrap_or_default(),
            ..LoadPlan::default()
        },
    })
}
