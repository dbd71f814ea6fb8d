//! What criterion measured, kept for the tables that it does not print, and the straight line through it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::Bencher;
use criterion::measurement::WallTime;

/// Time per iteration of every sample, by series and place in it.
#[derive(Default)]
pub(crate) struct Samples(RefCell<BTreeMap<(String, usize), Vec<f64>>>);

impl Samples {
    /// Measures like [`Bencher::iter`], and keeps what it measured.
    pub(crate) fn iter<T>(
        &self,
        bencher: &mut Bencher<'_, WallTime>,
        series: &str,
        x: usize,
        mut f: impl FnMut() -> T,
    ) {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                std::hint::black_box(f());
            }
            let time = start.elapsed();
            self.keep(series, x, time, iterations);
            time
        });
    }

    /// Keeps a sample that was measured elsewhere.
    pub(crate) fn keep(&self, series: &str, x: usize, time: Duration, iterations: u64) {
        let each = time.as_secs_f64() * 1e9 / iterations as f64;
        self.0.borrow_mut().entry((series.to_owned(), x)).or_default().push(each);
    }

    /// The median in nanoseconds; `None` if it was not measured.
    pub(crate) fn median(&self, series: &str, x: usize) -> Option<f64> {
        let mut values = self.0.borrow().get(&(series.to_owned(), x))?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// All of a series: x and the median in nanoseconds, x rising.
    pub(crate) fn series(&self, series: &str) -> Vec<(f64, f64)> {
        let places: Vec<usize> =
            self.0.borrow().keys().filter(|(name, _)| name == series).map(|(_, x)| *x).collect();
        places.into_iter().filter_map(|x| Some((x as f64, self.median(series, x)?))).collect()
    }
}

/// Nanoseconds as a person reads them.
pub(crate) fn show(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e3 => format!("{n:.1} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

/// A straight line y = a + r·x, and the share of the variation that it explains.
pub(crate) struct Line {
    pub(crate) a: f64,
    pub(crate) r: f64,
    pub(crate) r2: f64,
}

impl Line {
    /// Least squares of *relative* errors (weights 1/y²): a sweep over 10,000 sockets takes a thousand times as long as
    /// one over 10 and errs in proportion; unweighted, it alone would decide. `None` of fewer than three points.
    pub(crate) fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 3 {
            return None;
        }
        let sum = |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| f(x, y) / (y * y)).sum::<f64>();
        let weight = sum(&|_, _| 1.0);
        let (x0, y0) = (sum(&|x, _| x) / weight, sum(&|_, y| y) / weight);
        let r = sum(&|x, y| (x - x0) * (y - y0)) / sum(&|x, _| (x - x0).powi(2));
        let a = y0 - r * x0;
        let unexplained = sum(&|x, y| (y - a - r * x).powi(2)) / sum(&|_, y| (y - y0).powi(2));
        Some(Self { a, r, r2: 1.0 - unexplained })
    }
}
