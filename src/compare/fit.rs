//! Lines and crossings: the arithmetic that turns measured points into a cost model. No measuring here.

/// A straight line `y = a + r·x` through measured points.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// The value at x = 0.
    pub a: f64,
    /// The slope.
    pub r: f64,
    /// Standard errors of the two; 0 where two points leave nothing to judge by.
    pub a_error: f64,
    /// See `a_error`.
    pub r_error: f64,
    /// Share of the (weighted) variation that the line explains.
    pub r2: f64,
}

impl Line {
    /// Least squares in *relative* errors (weights 1/y²): a sweep over 10,000 sockets takes 1,000 times as long as one
    /// over 10, and errs in proportion; unweighted, the longest sweep alone would decide and `a` would be noise.
    ///
    /// `None` for fewer than two different x or for values that are not positive.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 2 || points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite() || *y <= 0.0) {
            return None;
        }
        let weighted =
            |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| f(x, y) / (y * y)).sum::<f64>();
        let w = weighted(&|_, _| 1.0);
        let (mean_x, mean_y) = (weighted(&|x, _| x) / w, weighted(&|_, y| y) / w);
        let sxx = weighted(&|x, _| (x - mean_x).powi(2));
        if sxx <= 0.0 {
            return None;
        }
        let r = weighted(&|x, y| (x - mean_x) * (y - mean_y)) / sxx;
        let a = mean_y - r * mean_x;
        let residual = weighted(&|x, y| (y - a - r * x).powi(2));
        let total = weighted(&|_, y| (y - mean_y).powi(2));
        let freedom = points.len() - 2;
        let variance = if freedom == 0 { 0.0 } else { residual / freedom as f64 };
        Some(Self {
            a,
            r,
            a_error: (variance * (1.0 / w + mean_x * mean_x / sxx)).sqrt(),
            r_error: (variance / sxx).sqrt(),
            r2: if total > 0.0 { 1.0 - residual / total } else { 1.0 },
        })
    }

    /// The value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.a + self.r * x
    }
}

/// Where two lines meet, and which of them is lower on the far side.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum BreakEven {
    /// The first is lower everywhere to the right of 0.
    FirstAlways,
    /// The second is lower everywhere to the right of 0.
    SecondAlways,
    /// The second is lower from here on.
    SecondFrom(f64),
    /// The first is lower from here on.
    FirstFrom(f64),
}

/// Where the lower of two lines changes for x ≥ 0.
pub fn break_even(first: &Line, second: &Line) -> BreakEven {
    let x = (second.a - first.a) / (first.r - second.r);
    if x.is_finite() && x > 0.0 {
        if first.r > second.r { BreakEven::SecondFrom(x) } else { BreakEven::FirstFrom(x) }
    } else if (first.a, first.r) < (second.a, second.r) {
        BreakEven::FirstAlways
    } else {
        BreakEven::SecondAlways
    }
}

/// The first crossing of two curves given as points with rising x, straight between points when both axes are
/// logarithmic. Returns the point of crossing.
pub fn crossing(first: &[(f64, f64)], second: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mut xs: Vec<f64> = first.iter().chain(second).map(|point| point.0).filter(|x| *x > 0.0).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let gaps: Vec<(f64, f64, f64)> = xs
        .into_iter()
        .filter_map(|x| {
            let (one, two) = (log_log(first, x)?, log_log(second, x)?);
            Some((x.ln(), one, one - two))
        })
        .collect();
    gaps.windows(2).find_map(|pair| {
        let [(x0, y0, gap0), (x1, y1, gap1)] = *pair else { return None };
        if gap0 == 0.0 || gap0 * gap1 > 0.0 {
            return None;
        }
        let part = gap0 / (gap0 - gap1);
        Some(((x0 + part * (x1 - x0)).exp(), (y0 + part * (y1 - y0)).exp()))
    })
}

/// The logarithm of a curve's value at `x`, straight between its points in log-log; `None` outside of it.
fn log_log(curve: &[(f64, f64)], x: f64) -> Option<f64> {
    if let Some(hit) = curve.iter().find(|point| point.0 == x) {
        return Some(hit.1.ln());
    }
    curve.windows(2).find_map(|pair| {
        let [(x0, y0), (x1, y1)] = *pair else { return None };
        (x0 < x && x < x1).then(|| y0.ln() + (y1.ln() - y0.ln()) * (x.ln() - x0.ln()) / (x1.ln() - x0.ln()))
    })
}

/// The median; of an even number of values the mean of the middle two. `None` of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values.get(middle).copied()
    } else {
        Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BreakEven, Line, break_even, crossing, median};

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0)
    }

    proptest! {
        #[test]
        fn an_exact_line_is_found_again(a in 1.0..1e6f64, r in 0.1..1e4f64, n in 2..12usize) {
            let points: Vec<_> = (0..n).map(|i| { let x = 10f64.powi(i as i32 % 5) * i as f64; (x, a + r * x) }).collect();
            let line = Line::through(&points).unwrap();
            prop_assert!(close(line.a, a), "{line:?}");
            prop_assert!(close(line.r, r), "{line:?}");
            prop_assert!(line.r2 > 0.999_999);
            prop_assert!(close(line.at(77.0), a + r * 77.0));
        }
    }

    #[test]
    fn a_small_value_counts_as_much_as_a_large_one() {
        // 10 % off at the large end must not drag the intercept away from the small end.
        let line = Line::through(&[(0.0, 1.0), (1.0, 2.0), (10.0, 11.0), (1000.0, 1100.0)]).unwrap();
        assert!((line.a - 1.0).abs() < 0.1, "{line:?}");
        assert!(line.r2 > 0.99 && line.r2 < 1.0);
        assert!(line.a_error > 0.0 && line.r_error > 0.0);
    }

    #[test]
    fn no_line_goes_through_too_little() {
        assert_eq!(Line::through(&[]), None);
        assert_eq!(Line::through(&[(1.0, 2.0)]), None);
        assert_eq!(Line::through(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(Line::through(&[(1.0, 0.0), (2.0, 3.0)]), None);
        assert_eq!(Line::through(&[(1.0, f64::NAN), (2.0, 3.0)]), None);
    }

    #[test]
    fn break_even_says_who_is_lower_on_which_side() {
        let line = |a, r| Line { a, r, a_error: 0.0, r_error: 0.0, r2: 1.0 };
        assert_eq!(break_even(&line(1.0, 2.0), &line(5.0, 1.0)), BreakEven::SecondFrom(4.0));
        assert_eq!(break_even(&line(5.0, 1.0), &line(1.0, 2.0)), BreakEven::FirstFrom(4.0));
        assert_eq!(break_even(&line(1.0, 1.0), &line(2.0, 2.0)), BreakEven::FirstAlways);
        assert_eq!(break_even(&line(2.0, 2.0), &line(1.0, 1.0)), BreakEven::SecondAlways);
        assert_eq!(break_even(&line(1.0, 1.0), &line(2.0, 1.0)), BreakEven::FirstAlways);
    }

    #[test]
    fn curves_cross_where_their_logarithms_do() {
        // 1/x against a constant 0.1: they meet at 10.
        let spin = [(1.0, 1.0), (100.0, 0.01)];
        let block = [(1.0, 0.1), (100.0, 0.1)];
        let (x, y) = crossing(&spin, &block).unwrap();
        assert!(close(x, 10.0) && close(y, 0.1), "{x} {y}");
        assert_eq!(crossing(&spin, &[(1.0, 2.0), (100.0, 2.0)]), None);
        assert_eq!(crossing(&spin, &[]), None);
    }

    #[test]
    fn the_median_ignores_what_is_not_a_number() {
        assert_eq!(median([3.0, f64::NAN, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
