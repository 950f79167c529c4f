//! The words of `kubectl annotate`.

use std::collections::BTreeMap;

use super::command::{CommandError, is_name};
use crate::scenario::object::ObjectRef;

/// `ingress/web KEY=VALUE KEY-`, or `ingress web …`: what stands before the first change is the object.
pub(super) fn annotations(rest: &[&str]) -> Result<(ObjectRef, BTreeMap<String, Option<String>>), CommandError> {
    let is_change = |word: &&str| word.contains('=') || word.ends_with('-');
    let at = rest.iter().position(is_change).unwrap_or(rest.len());
    let (object, words) = rest.split_at(at);
    let wrong = |needs, given: &[&str]| CommandError::Object { verb: "annotate", needs, given: given.join(" ") };
    let name = match object {
        [one] => (*one).to_owned(),
        [kind, name] => format!("{kind}/{name}"),
        _ => return Err(wrong("one `KIND/NAME`", object)),
    };
    let named = name.parse::<ObjectRef>().ok().filter(|named| is_name(&named.name));
    let named = named.ok_or_else(|| wrong("one `ingress/NAME`, `service/NAME` or workload", object))?;
    let mut changes = BTreeMap::new();
    for word in words {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (word.strip_suffix('-').unwrap_or(word), None),
        };
        let is_one = is_annotation(key) && (value.is_some() || word.ends_with('-'));
        if !is_one || changes.insert(key.to_owned(), value).is_some() {
            return Err(wrong("changes such as `KEY=VALUE` or `KEY-`, each once", &[*word]));
        }
    }
    if changes.is_empty() { Err(wrong("at least one `KEY=VALUE` or `KEY-`", rest)) } else { Ok((named, changes)) }
}

/// A name of an annotation: `NAME` or `DOMAIN/NAME`.
pub(crate) fn is_annotation(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let inner = |letter: u8| letter.is_ascii_alphanumeric();
    domain.is_none_or(is_name)
        && (1..=63).contains(&name.len())
        && name.bytes().all(|letter| inner(letter) || b"-_.".contains(&letter))
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
}

/// The word as a shell needs it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,@%+".contains(letter);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
