//! Kubernetes' quantities: `250m`, `64Mi`, `1.5`.

/// A quantity in thousandths; `None` where the text is none. What is finer is rounded up.
#[must_use]
pub(super) fn thousandths(text: &str) -> Option<i128> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    // In billionths first, so that `n` and `u` are exact.
    let unit: i128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        "k" => 1_000_000_000_000,
        "M" => 1_000_000_000 * 1_000_i128.pow(2),
        "G" => 1_000_000_000 * 1_000_i128.pow(3),
        "T" => 1_000_000_000 * 1_000_i128.pow(4),
        "Ki" => 1_000_000_000 * 1_024,
        "Mi" => 1_000_000_000 * 1_024_i128.pow(2),
        "Gi" => 1_000_000_000 * 1_024_i128.pow(3),
        "Ti" => 1_000_000_000 * 1_024_i128.pow(4),
        _ => return None,
    };
    Some(div_up(digits.checked_mul(unit)?, scale * 1_000_000))
}

/// A quantity as a whole number of bytes.
#[must_use]
pub(super) fn bytes(text: &str) -> Option<u64> {
    u64::try_from(div_up(thousandths(text)?, 1000)).ok()
}

/// `value / divisor`, rounded up, as the downward API prints it.
#[must_use]
pub(super) fn divided(value: &str, divisor: &str) -> Option<i128> {
    let divisor = match divisor {
        "" | "0" => "1",
        other => other,
    };
    let divisor = thousandths(divisor).filter(|divisor| *divisor > 0)?;
    Some(div_up(thousandths(value)?, divisor))
}

fn div_up(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        let rows = [
            ("1", Some(1000)),
            ("250m", Some(250)),
            ("1.5", Some(1500)),
            ("1500u", Some(2)),
            ("2k", Some(2_000_000)),
            ("1Ki", Some(1_024_000)),
            ("0.5Gi", Some(536_870_912_000)),
            ("", None),
            ("x", None),
            ("1X", None),
            ("-1", None),
        ];
        for (text, expect) in rows {
            assert_eq!(thousandths(text), expect, "{text:?}");
        }
        assert_eq!(bytes("64Mi"), Some(67_108_864));
    }

    // Recorded in 60-pods/611.
    #[test]
    fn division_rounds_up() {
        let rows =
            [("250m", "1m", 250), ("250m", "", 1), ("64Mi", "1Mi", 64), ("64Mi", "0", 67_108_864), ("65Mi", "1Gi", 1)];
        for (value, divisor, expect) in rows {
            assert_eq!(divided(value, divisor), Some(expect), "{value} / {divisor}");
        }
    }
}
