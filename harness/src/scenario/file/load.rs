//! The form of the load, and how it becomes a plan.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Reader;
use crate::scenario::plan::{LoadPlan, SocketQuestion};
use crate::scenario::rules;

/// Requests a second, at most: beyond it a laptop measures itself.
const REQUESTS_PER_SECOND_MAX: f64 = 5_000.0;
/// Sockets, at most.
const SOCKETS_MAX: u32 = 10_000;
/// Pings of a socket are never closer together.
const SOCKET_PING_MIN: Duration = Duration::from_secs(1);

/// The load while measuring.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LoadForm {
    /// HTTP requests a second, half of them on fresh connections.
    #[serde(default)]
    #[schemars(with = "f64")]
    requests_per_second: Option<Spanned<f64>>,
    /// The path they GET.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    path: Option<Spanned<String>>,
    /// WebSockets held open, through the Service. While measuring they come back every 100 ms.
    #[serde(default)]
    #[schemars(with = "u32")]
    sockets: Option<Spanned<u32>>,
    /// Those of them that ask something now and then; all where absent. The others only read, and
    /// answer pings.
    #[serde(default)]
    #[schemars(with = "Option<u32>")]
    sockets_asking: Option<Spanned<u32>>,
    /// More of them, which come back with the back-off that is recommended to clients (1 s to 30 s,
    /// exponential, full jitter): they show what users see, and decide nothing.
    #[serde(default)]
    #[schemars(with = "Option<u32>")]
    sockets_backing_off: Option<Spanned<u32>>,
    /// Their path.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    socket_path: Option<Spanned<String>>,
    /// Time between two pings of each socket, `5s` where absent. One that is not answered within
    /// 2 s shows that packets vanish.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    socket_ping: Option<Spanned<String>>,
    /// What every other asking socket asks; a `typing` frame where absent.
    #[serde(default)]
    #[schemars(with = "Option<SocketQuestion>")]
    socket_question: Option<Spanned<SocketQuestion>>,
}

impl Reader<'_> {
    pub(super) fn load(&mut self, form: Option<LoadForm>) -> LoadPlan {
        let form = form.unwrap_or_default();
        self.requests(&form);
        self.sockets(&form);
        for path in [&form.path, &form.socket_path].into_iter().flatten() {
            if !rules::is_path(&path.value) {
                self.say(path, format!("`{}` is no path: it starts with `/` and has no spaces", path.value));
            }
        }
        let socket_ping = self.duration(form.socket_ping.as_ref(), LoadPlan::PING_EVERY);
        if let Some(ping) = form.socket_ping.as_ref().filter(|_| socket_ping < SOCKET_PING_MIN) {
            self.say(ping, "a socket that pings more often than once a second is a load of its own");
        }
        let number = |form: Option<Spanned<u32>>| form.map(|number| number.value);
        let sockets = number(form.sockets).unwrap_or(0);
        LoadPlan {
            requests_per_second: form.requests_per_second.map_or(0.0, |rate| rate.value),
            path: form.path.map_or_else(String::new, |path| path.value),
            sockets,
            sockets_asking: number(form.sockets_asking).unwrap_or(sockets),
            sockets_backing_off: number(form.sockets_backing_off).unwrap_or(0),
            socket_path: form.socket_path.map_or_else(String::new, |path| path.value),
            socket_ping,
            socket_question: form.socket_question.map(|question| question.value),
        }
    }

    fn requests(&mut self, form: &LoadForm) {
        let Some(rate) = &form.requests_per_second else { return };
        if !(0.0..=REQUESTS_PER_SECOND_MAX).contains(&rate.value) {
            self.say(rate, format!("requests a second go from 0 to {REQUESTS_PER_SECOND_MAX}"));
        }
        if form.path.is_none() && rate.value > 0.0 {
            self.say(rate, "load by requests needs the `path` they GET");
        }
    }

    fn sockets(&mut self, form: &LoadForm) {
        for sockets in [&form.sockets, &form.sockets_backing_off].into_iter().flatten() {
            if sockets.value > SOCKETS_MAX {
                self.say(sockets, format!("sockets go from 0 to {SOCKETS_MAX}"));
            }
            if form.socket_path.is_none() && sockets.value > 0 {
                self.say(sockets, "load by sockets needs their `socket-path`");
            }
        }
        let sockets = form.sockets.as_ref().map_or(0, |sockets| sockets.value);
        if let Some(asking) = form.sockets_asking.as_ref().filter(|asking| asking.value > sockets) {
            self.say(asking, format!("of {sockets} sockets {} cannot ask", asking.value));
        }
        if let Some(question) = &form.socket_question {
            if let Some(wrong) = rules::answer_is_wrong(&question.value.answered_by) {
                self.say(question, wrong);
            }
            if question.value.every.is_zero() {
                self.say(question, "`every` must be above zero");
            }
        }
    }
}
