//! Options of writing requests: dry run, field validation, field manager.

use http::HeaderMap;
use http::header::USER_AGENT;

use crate::api::query::Query;
use crate::status::{Cause, Status};

/// What to do about fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// `CreateOptions`, `UpdateOptions` and `PatchOptions` in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    pub(super) validation: FieldValidation,
    /// Who owns the fields that are written.
    pub(super) manager: String,
    /// Whether the manager was named, not guessed from the user agent.
    pub(super) manager_given: bool,
    pub(super) force: Option<bool>,
}

impl WriteOptions {
    /// `name` is what the options are called in an error: `CreateOptions`.
    pub(super) fn parse(name: &'static str, query: &Query, headers: &HeaderMap) -> Result<Self, Status> {
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let message =
                    format!("Unsupported value: \"{other}\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
                return Err(invalid(name, "FieldValueNotSupported", "fieldValidation", message));
            }
        };
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
        let guessed = agent.split('/').next().unwrap_or_default();
        Ok(Self {
            dry_run: dry_run(name, query.all("dryRun"))?,
            validation,
            manager: query.get("fieldManager").unwrap_or(guessed).to_owned(),
            manager_given: query.get("fieldManager").is_some(),
            force: query.flag_given("force"),
        })
    }
}

impl FieldValidation {
    /// What of the complaints goes out as warnings, or as the error that `refuse` makes of them.
    pub(super) fn judge(
        self,
        complaints: Vec<String>,
        refuse: impl FnOnce(&[String]) -> Status,
    ) -> Result<Vec<String>, Status> {
        match self {
            Self::Ignore => Ok(Vec::new()),
            Self::Strict if !complaints.is_empty() => Err(refuse(&complaints)),
            Self::Strict | Self::Warn => Ok(complaints),
        }
    }
}

/// Reads the values of `dryRun`: none, or `All`.
pub(super) fn dry_run<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> Result<bool, Status> {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().all(|value| *value == "All") {
        return Ok(!values.is_empty());
    }
    let message = format!("Unsupported value: {values:?}: supported values: \"All\"");
    Err(invalid(name, "FieldValueNotSupported", "dryRun", message))
}

/// 422 for one option.
pub(super) fn invalid(name: &str, reason: &'static str, field: &str, message: impl Into<String>) -> Status {
    let cause = Cause { reason, message: message.into(), field: field.to_owned() };
    Status::invalid_options("meta.k8s.io", name, "", &[cause])
}
