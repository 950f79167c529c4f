//! Kubernetes quantities: `500m`, `1.5Gi`, `2e3`.

/// An amount, exact to a billionth.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    notation: Notation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notation {
    Decimal,
    Binary,
    Exponent,
}

const NANO: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];
const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

impl Quantity {
    /// Reads a quantity; `None` where Kubernetes would refuse it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') || whole.len() > 18 {
            return None;
        }
        let (notation, multiplier, exponent) = multiplier(suffix)?;
        let mut value: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut digits = fraction.to_owned();
        digits.truncate(12);
        for digit in digits.bytes() {
            value = value * 10 + i128::from(digit - b'0');
        }
        // value × multiplier × 10^(exponent − digits), in billionths; what is finer rounds up.
        let power = exponent + 9 - i32::try_from(digits.len()).ok()?;
        let scaled = value.checked_mul(multiplier)?;
        let nano = if power >= 0 {
            scaled.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)?
        } else {
            let divisor = 10_i128.checked_pow(power.unsigned_abs())?;
            (scaled + divisor - 1) / divisor
        };
        Some(Self { nano: sign * nano, notation })
    }

    /// The amount in whole units (bytes, cores), rounded up.
    #[must_use]
    pub fn units(&self) -> i128 {
        -((-self.nano).div_euclid(NANO))
    }

    /// How often the divisor goes into the amount, rounded up; `None` for a divisor of zero.
    #[must_use]
    pub fn divided(&self, divisor: &Self) -> Option<i128> {
        (divisor.nano > 0).then(|| -((-self.nano).div_euclid(divisor.nano)))
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// The form the API server writes: the largest suffix that loses nothing.
    #[must_use]
    pub fn canonical(&self) -> String {
        if self.nano == 0 {
            return "0".to_owned();
        }
        let units = self.nano / NANO;
        if self.notation == Notation::Binary && self.nano % NANO == 0 && units.abs() >= 1024 {
            let exact = BINARY.iter().find(|(_, shift)| units % (1 << shift) == 0);
            return exact.map_or(units.to_string(), |(suffix, shift)| format!("{}{suffix}", units >> shift));
        }
        let divisor = |power: i32| 10_i128.pow((power + 9).unsigned_abs());
        let (suffix, power) =
            DECIMAL.iter().find(|(_, power)| self.nano % divisor(*power) == 0).expect("every amount is whole in n");
        let number = self.nano / divisor(*power);
        match self.notation {
            Notation::Exponent if *power != 0 => format!("{number}e{power}"),
            _ => format!("{number}{suffix}"),
        }
    }
}

/// A quantity as a whole number of bytes, rounded up.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    u64::try_from(Quantity::parse(text)?.units()).ok()
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.nano.partial_cmp(&other.nano)
    }
}

fn multiplier(suffix: &str) -> Option<(Notation, i128, i32)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        return Some((Notation::Decimal, 1, *power));
    }
    if let Some((_, shift)) = BINARY.iter().find(|(known, _)| *known == suffix) {
        return Some((Notation::Binary, 1 << shift, 0));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-9..=18).contains(&exponent).then_some((Notation::Exponent, 1, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_is_what_the_api_server_writes() {
        for (given, written) in [
            ("1", "1"),
            ("0.5", "500m"),
            ("500m", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("100e6", "100e6"),
            ("0", "0"),
            ("512Mi", "512Mi"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("128974848", "128974848"),
            ("-1", "-1"),
            (".5", "500m"),
            ("0.0000000001", "1n"),
        ] {
            assert_eq!(Quantity::parse(given).map(|q| q.canonical()).as_deref(), Some(written), "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "x", "1x", "1.2.3", "m", "1 Gi", "1gi", "--1", "1e", "."] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn amounts_round_up_and_compare_across_notations() {
        let parse = |text| Quantity::parse(text).unwrap();
        assert_eq!(parse("1Mi").units(), 1 << 20);
        assert_eq!(parse("100m").units(), 1);
        assert!(parse("1Gi") > parse("1G"));
        assert!(parse("1024Mi") == parse("1Gi"));
        assert!(parse("-1").is_negative());
    }

    proptest::proptest! {
        #[test]
        fn the_canonical_form_is_stable(number in 0_u32.., suffix in "(|m|u|n|k|M|G|Ki|Mi|Gi)") {
            let quantity = Quantity::parse(&format!("{number}{suffix}")).unwrap();
            let again = Quantity::parse(&quantity.canonical()).unwrap();
            proptest::prop_assert!(again == quantity);
            proptest::prop_assert_eq!(again.canonical(), quantity.canonical());
        }
    }
}
