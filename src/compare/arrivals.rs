//! When requests are due: the planned send times of an open-loop client, made before anything is sent, so that a slow
//! server cannot slow the plan down (coordinated omission).

use std::time::Duration;

/// How requests are spread over time at a given mean rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent visitors: gaps are exponential, so now and then several come at once.
    #[default]
    Poisson,
    /// A metronome. It can lock in step with a server that sleeps by the clock; each run starts at its own phase.
    Periodic,
}

impl Arrivals {
    /// Due times from the start of a phase of length `span`, in order, all before `span`.
    pub fn plan(self, rate: f64, span: Duration, random: &mut fastrand::Rng) -> Vec<Duration> {
        let span = span.as_secs_f64();
        let mut due = Vec::with_capacity((rate * span * 1.2) as usize + 16);
        // A random phase; for exponential gaps that is again an exponential gap.
        let mut at = self.gap(rate, random) * if self == Self::Periodic { random.f64() } else { 1.0 };
        while at < span {
            due.push(Duration::from_secs_f64(at));
            at += self.gap(rate, random);
        }
        due
    }

    /// Seconds to the next arrival.
    fn gap(self, rate: f64, random: &mut fastrand::Rng) -> f64 {
        match self {
            // 1 − u is in (0, 1], so the logarithm is finite.
            Self::Poisson => -(1.0 - random.f64()).ln() / rate,
            Self::Periodic => 1.0 / rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Arrivals;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn a_plan_is_in_order_inside_its_span_and_has_the_asked_rate() {
        let mut random = fastrand::Rng::with_seed(1);
        for arrivals in [Arrivals::Poisson, Arrivals::Periodic] {
            let plan = arrivals.plan(2000.0, SPAN, &mut random);
            assert!(plan.is_sorted());
            assert!(plan.last().is_some_and(|last| *last < SPAN));
            // Poisson: the standard deviation of the count is √20000 ≈ 141; five of them are never seen.
            assert!(plan.len().abs_diff(20_000) < 700, "{arrivals:?}: {}", plan.len());
        }
    }

    #[test]
    fn poisson_gaps_vary_as_much_as_their_mean_and_periodic_ones_not_at_all() {
        let mut random = fastrand::Rng::with_seed(2);
        let variation = |arrivals: Arrivals, random: &mut fastrand::Rng| {
            let plan = arrivals.plan(1000.0, SPAN, random);
            let gaps: Vec<f64> = plan.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            variance.sqrt() / mean
        };
        assert!((variation(Arrivals::Poisson, &mut random) - 1.0).abs() < 0.1);
        assert!(variation(Arrivals::Periodic, &mut random) < 1e-3);
    }

    #[test]
    fn a_rate_too_low_for_the_span_plans_nothing() {
        let mut random = fastrand::Rng::with_seed(3);
        assert!(Arrivals::Periodic.plan(0.001, Duration::from_millis(1), &mut random).is_empty());
    }
}
