//! Label and field selectors.

mod fields;
mod labels;

use serde_json::Value;

use fields::Fields;
use labels::Labels;

use crate::api::query::Query;
use crate::kinds::Kind;
use crate::status::Status;

/// The selectors of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    labels: Labels,
    fields: Fields,
}

impl Filter {
    pub(super) fn parse(kind: &Kind, query: &Query) -> Result<Self, Status> {
        Ok(Self {
            labels: Labels::parse(query.get("labelSelector").unwrap_or_default())?,
            fields: Fields::parse(kind, query.get("fieldSelector").unwrap_or_default())?,
        })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(&object["metadata"]["labels"]) && self.fields.matches(object)
    }
}
