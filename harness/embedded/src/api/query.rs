//! The query of a request, as Kubernetes reads it.

use axum::extract::Query as Pairs;
use http::Uri;

use crate::status::Status;

/// Decoded parameters in order; a name may stand several times.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(uri: &Uri) -> Result<Self, Status> {
        let pairs = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Status::bad_request(format!("the query cannot be read: {error}")))?;
        Ok(Self(pairs.0))
    }

    /// The first value of this name, if it is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub(super) fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Present and neither `0` nor `false`, as the API server converts it (`watch=foo` is true).
    pub(super) fn flag(&self, name: &str) -> bool {
        self.flag_given(name).unwrap_or(false)
    }

    /// [`Query::flag`], telling absence apart.
    pub(super) fn flag_given(&self, name: &str) -> Option<bool> {
        let value = self.all(name).next()?;
        Some(!matches!(value.to_ascii_lowercase().as_str(), "0" | "false"))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        let parse = |value: &str| {
            value
                .parse()
                .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing \"{value}\": invalid syntax")))
        };
        self.get(name).map(parse).transpose()
    }
}

/// Decodes `%41` in one segment of a path.
pub(super) fn decode_segment(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| segment.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        decoded.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(&format!("/x?{text}").parse().unwrap()).unwrap()
    }

    #[test]
    fn flags_follow_the_api_server() {
        for (text, expected) in [
            ("", false),
            ("watch=1", true),
            ("watch=true", true),
            ("watch=foo", true),
            ("watch=", true),
            ("watch=0", false),
            ("watch=False", false),
        ] {
            assert_eq!(query(text).flag("watch"), expected, "{text}");
        }
    }

    #[test]
    fn values_are_decoded_and_repeated() {
        let query = query("command=/bin/sh&command=-c&command=echo+a%3B+b&limit=x&empty=");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["/bin/sh", "-c", "echo a; b"]);
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.integer("absent"), Ok(None));
        let refused = query.integer("limit").unwrap_err();
        assert_eq!(refused.message, "strconv.ParseInt: parsing \"x\": invalid syntax");
    }

    #[test]
    fn segments_are_decoded() {
        for (text, expected) in
            [("web", "web"), ("web%3A80", "web:80"), ("a%2", "a%2"), ("%zz", "%zz"), ("%C3%A4", "ä")]
        {
            assert_eq!(decode_segment(text), expected);
        }
    }
}
