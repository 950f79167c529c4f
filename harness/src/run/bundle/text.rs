//! What a bundle's files say: pure functions from what was collected to text.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What stands between two columns, as kubectl has it.
const COLUMN_GAP: usize = 3;

/// A server's table of Events as kubectl prints it, oldest first, with the moment of each in
/// front: an age says little once the bundle itself is old.
pub(super) fn event_lines(table: &Value) -> String {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let columns = list(&table["columnDefinitions"]);
    // The others are for `-o wide`.
    let shown: Vec<usize> = (0..columns.len()).filter(|&at| columns[at]["priority"].as_i64() == Some(0)).collect();
    let mut header = vec!["TIME".to_owned()];
    header.extend(shown.iter().map(|&at| cell(&columns[at]["name"]).to_uppercase()));
    let mut rows: Vec<(Option<Timestamp>, Vec<String>)> = list(&table["rows"])
        .iter()
        .map(|row| {
            let time = last_seen(&row["object"]);
            let mut cells = vec![time.map_or_else(|| "unknown".to_owned(), |time| time.to_string())];
            cells.extend(shown.iter().map(|&at| cell(&row["cells"][at])));
            (time, cells)
        })
        .collect();
    rows.sort_by_key(|(time, _)| *time);
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows.into_iter().map(|(_, cells)| cells)).collect();
    aligned(&lines)
}

fn last_seen(event: &Value) -> Option<Timestamp> {
    [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .into_iter()
    .find_map(|time| time.as_str()?.parse().ok())
}

/// One line a row, whatever a message contains.
fn cell(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.trim().replace(['\n', '\r'], " "))
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0) + COLUMN_GAP).collect();
    let mut text = String::new();
    for line in lines {
        let row: String = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// A list as the server gave it, without the field managers: pages that tell a reader nothing.
pub(super) fn objects(mut list: Value) -> String {
    for item in list["items"].as_array_mut().into_iter().flatten() {
        if let Some(metadata) = item["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
    }
    pretty(&list)
}

/// Secrets without their values: which keys there are, how long each value is, and which of
/// them are equal. Annotations stay away, for `kubectl apply` keeps values in one.
pub(super) fn secrets(secrets: &[Secret], salt: &[u8]) -> String {
    let items = secrets.iter().map(|secret| {
        let data = secret.data.iter().flatten().map(|(key, value)| {
            let hash = Sha256::new().chain_update(salt).chain_update(&value.0).finalize();
            let hash = hash.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            });
            (key.clone(), json!({"salted-sha256": hash, "bytes": value.0.len()}))
        });
        json!({
            "metadata": {
                "name": secret.metadata.name,
                "namespace": secret.metadata.namespace,
                "uid": secret.metadata.uid,
                "resourceVersion": secret.metadata.resource_version,
                "creationTimestamp": secret.metadata.creation_timestamp,
                "labels": secret.metadata.labels,
            },
            "type": secret.type_,
            "data": data.collect::<serde_json::Map<_, _>>(),
        })
    });
    pretty(&json!({"apiVersion": "v1", "kind": "SecretList", "items": items.collect::<Vec<_>>()}))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// How many bytes each log may keep so that all stay within `total`: a short log leaves what it
/// does not need to the long ones.
pub(super) fn shares(sizes: &[usize], total: usize) -> Vec<usize> {
    let mut by_size: Vec<usize> = (0..sizes.len()).collect();
    by_size.sort_by_key(|&log| sizes[log]);
    let (mut shares, mut left) = (vec![0; sizes.len()], total);
    for (taken, &log) in by_size.iter().enumerate() {
        shares[log] = sizes[log].min(left / (by_size.len() - taken));
        left -= shares[log];
    }
    shares
}

/// The last whole lines that fit into `bytes_max`.
pub(super) fn tail(text: &str, bytes_max: usize) -> &str {
    let Some(surplus) = text.len().checked_sub(bytes_max).filter(|surplus| *surplus > 0) else {
        return text;
    };
    // A cut right behind a line feed is a whole line.
    let cut = text.as_bytes()[surplus - 1..].iter().position(|byte| *byte == b'\n');
    cut.map_or("", |line_feed| &text[surplus + line_feed..])
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
