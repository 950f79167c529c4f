//! Durations as kubectl prints them.

use jiff::Timestamp;
use serde_json::Value;

/// The time since a timestamp of the API, `<unknown>` where there is none.
pub(super) fn since(time: &Value, now: Timestamp) -> String {
    let parsed = time.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    parsed.map_or_else(|| "<unknown>".to_owned(), |time| human(now.as_second() - time.as_second()))
}

/// Two units at most, the second one dropped when it says little.
fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |whole: i64, unit: &str, rest: i64, rest_unit: &str| match rest {
        0 => format!("{whole}{unit}"),
        _ => format!("{whole}{unit}{rest}{rest_unit}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => pair(hours / 24, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => pair(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        () => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_shows_them() {
        let (minute, hour, day) = (60, 3600, 86400);
        for (seconds, shown) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (174, "2m54s"),
            (599, "9m59s"),
            (13 * minute, "13m"),
            (179 * minute + 59, "179m"),
            (3 * hour, "3h"),
            (7 * hour + 5 * minute, "7h5m"),
            (47 * hour, "47h"),
            (2 * day, "2d"),
            (7 * day + 23 * hour, "7d23h"),
            (8 * day, "8d"),
            (729 * day, "729d"),
            (731 * day, "2y1d"),
            (3000 * day, "8y"),
        ] {
            assert_eq!(human(seconds), shown, "{seconds}");
        }
        assert_eq!(since(&Value::Null, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
