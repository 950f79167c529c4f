//! The forms of names, and the sentences for what breaks them.

use serde_json::Value;

/// The sentence for what is no percentage.
pub(super) const PERCENTAGE: &str = "a valid percent string must be a numeric string followed by an ending '%' \
    (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
    'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// What is wrong with a text of the given format; empty where nothing is.
pub(super) fn problems(format: &str, text: &str) -> Vec<&'static str> {
    match format {
        "dns-label" => [too_long(text, 63), wrong(!is_dns_label(text), LABEL)].into_iter().flatten().collect(),
        "dns-subdomain" => {
            let fits = text.split('.').all(is_dns_label);
            [too_long(text, 253), wrong(!fits, SUBDOMAIN)].into_iter().flatten().collect()
        }
        "portname" => port_name(text),
        "envname" => {
            let fits = !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=');
            let sentence = "a valid environment variable name must consist only of printable ASCII characters other \
                than '='";
            wrong(!fits, sentence).into_iter().collect()
        }
        "config-key" => {
            let fits = !text.is_empty() && text.bytes().all(is_word);
            [too_long(text, 253), wrong(!fits, CONFIG_KEY)].into_iter().flatten().collect()
        }
        "label-value" => {
            let fits = text.is_empty() || is_word_with_ends(text);
            [too_long(text, 63), wrong(!fits, LABEL_VALUE)].into_iter().flatten().collect()
        }
        "qualified-name" => qualified_name(text),
        _ => panic!("the table names no format {format}"),
    }
}

/// The number of a percentage such as `25%`.
pub(super) fn percentage(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn qualified_name(text: &str) -> Vec<&'static str> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut found = Vec::new();
    if prefix.is_some_and(|prefix| prefix.is_empty() || !prefix.split('.').all(is_dns_label)) {
        found.push("prefix part must be a lowercase RFC 1123 subdomain");
    }
    found.extend(wrong(name.len() > 63, "name part must be no more than 63 characters"));
    found.extend(wrong(!is_word_with_ends(name), NAME_PART));
    found
}

fn port_name(text: &str) -> Vec<&'static str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    [
        wrong(text.len() > 15, "must be no more than 15 characters"),
        wrong(
            text.is_empty() || !text.bytes().all(allowed),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        wrong(!text.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        wrong(text.contains("--"), "must not contain consecutive hyphens"),
        wrong(text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn wrong(is_wrong: bool, sentence: &'static str) -> Option<&'static str> {
    is_wrong.then_some(sentence)
}

fn too_long(text: &str, most: usize) -> Option<&'static str> {
    let sentence =
        if most == 63 { "must be no more than 63 characters" } else { "must be no more than 253 characters" };
    wrong(text.len() > most, sentence)
}

fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<u8>| b.is_some_and(alphanumeric);
    ends(text.bytes().next()) && ends(text.bytes().last()) && text.bytes().all(|b| alphanumeric(b) || b == b'-')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_word_with_ends(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    ends(text.bytes().next()) && ends(text.bytes().last()) && text.bytes().all(is_word)
}
