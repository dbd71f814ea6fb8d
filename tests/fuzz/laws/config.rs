//! Any text on the command line: it is read or refused, never a panic; what is read is written as it was meant.

use wouldblock::config::{Model, Sweep};
use wouldblock::http::{HttpDate, list_members};
use wouldblock::idle::{DisplayDuration, IdleStrategy, parse_duration};

pub(crate) fn hold(text: &str) {
    if let Ok(strategy) = text.parse::<IdleStrategy>() {
        assert_eq!(strategy.to_string().parse::<IdleStrategy>(), Ok(strategy));
    }
    if let Ok(time) = parse_duration(text) {
        let again = parse_duration(&DisplayDuration(time).to_string()).unwrap();
        assert!(again.abs_diff(time).as_nanos() <= 1 + time.as_nanos() / 1_000_000_000, "{text}");
    }
    if let Ok(model) = text.parse::<Model>() {
        assert_eq!(model.to_string(), text);
    }
    if let Ok(sweep) = text.parse::<Sweep>() {
        assert_eq!(sweep.to_string(), text);
    }
    if let Some(seconds) = HttpDate::parse(text.as_bytes()) {
        assert_eq!(HttpDate::parse(HttpDate::from_unix(seconds).as_bytes()), Some(seconds));
    }
    assert!(list_members(text.as_bytes()).all(|member| !member.is_empty()));
}
