//! Numbers as the report writes them, on the terminal, in plots and in sentences alike.

/// Three significant digits, four from 1,000 on, thousands separated; a dash for what is not a number.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if size == 0.0 {
        "0".to_owned()
    } else if size >= 999.5 {
        // Four digits of large numbers: none of what is measured is known better.
        let unit = 10f64.powf((size.log10().floor() - 3.0).max(0.0));
        let grouped = count(((size / unit).round() * unit) as usize);
        if value < 0.0 { format!("-{grouped}") } else { grouped }
    } else {
        let decimals = match size {
            99.95.. => 0,
            9.995.. => 1,
            0.9995.. => 2,
            0.0995.. => 3,
            _ => 4,
        };
        format!("{value:.decimals$}")
    }
}

/// A whole number, thousands separated.
pub fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share as percent.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p.is_finite() && p > 0.0 && p < 0.01 => "<0.01".to_owned(),
        p if p >= 99.95 => format!("{p:.0}"),
        p if p >= 10.0 => format!("{p:.1}"),
        p => number(p),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_groups() {
        let cases = [
            (0.0, "0"),
            (0.01234, "0.0123"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (999.4, "999"),
            (999.6, "1,000"),
            (1234567.8, "1,235,000"),
            (-1234.6, "-1,235"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!((count(7), count(1_234_567)), ("7".to_owned(), "1,234,567".to_owned()));
        assert_eq!(percent(0.000_01), "<0.01");
        assert_eq!(percent(0.9999), "100");
        assert_eq!(percent(0.5), "50.0");
        assert_eq!(percent(0.0), "0");
    }
}
