//! A file of results read again: what has no meaning here is refused before anything is computed from it.

use serde_json::Value;

use super::results::{Results, SCHEMA};

/// No count and no time of a measurement comes near this, and its square can still be computed with.
const BEYOND: f64 = 1e20;

/// The results in a text, or why there are none.
pub fn read(text: &str) -> Result<Results, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match value.get("schema").and_then(Value::as_u64) {
        Some(schema) if schema != u64::from(SCHEMA) => {
            return Err(format!("its schema is {schema}, not {SCHEMA}"));
        }
        _ => {}
    }
    if let Some(number) = absurd(&value) {
        return Err(format!("it holds {number:e}, which nobody has measured"));
    }
    let results: Results = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if results.points.iter().flat_map(|point| &point.runs).any(|run| run.wall_s <= 0.0) {
        return Err("a run in it took no time".to_owned());
    }
    Ok(results)
}

/// The first number that is beyond all measure.
fn absurd(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64().filter(|number| number.abs() > BEYOND),
        Value::Array(values) => values.iter().find_map(absurd),
        Value::Object(fields) => fields.values().find_map(absurd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Options;
    use crate::compare::findings::tests::model;

    #[test]
    fn results_are_read_unless_they_are_of_another_shape_or_absurd() {
        let results = model(Options::quick());
        let text = |results: &Results| serde_json::to_string(results).unwrap();
        assert!(read(&text(&results)).is_ok());
        let other = read(&text(&Results { schema: 999, ..results.clone() }));
        assert_eq!(other, Err("its schema is 999, not 1".to_owned()));
        for (share, wall) in [(1e308, 1.0), (0.5, -1e308), (0.5, 0.0)] {
            let mut results = results.clone();
            let run = results.points.iter_mut().flat_map(|point| &mut point.runs).next().unwrap();
            (run.cpu_share, run.wall_s) = (share, wall);
            assert!(read(&text(&results)).is_err(), "{share} {wall}");
        }
        assert!(read("{}").unwrap_err().contains("missing field"));
    }
}
