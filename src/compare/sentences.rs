//! What was found, in words, break-even points among it.

use super::findings::{crossings, load_curves, rows, sweeps};
use super::fit::{BreakEven, Line, break_even};
use super::lang::Lang;
use super::matrix::Server;
use super::numbers::{count, number};
use super::results::Results;

/// What follows, in sentences.
pub fn sentences(results: &Results, lang: Lang) -> Vec<String> {
    let mut all = Vec::new();
    if results.interrupted {
        let (done, wanted) = (results.rounds, results.options.rounds);
        all.push(match lang {
            Lang::En => format!("INTERRUPTED: {done} of {wanted} rounds were completed."),
            Lang::Zh => format!("已中断：{wanted} 轮只测完了 {done} 轮。"),
        });
    }
    let rows = rows(results);
    let noisy = rows.iter().filter(|row| row.noisy).count();
    if noisy * 4 > rows.len() {
        let of = rows.len();
        all.push(match lang {
            Lang::En => format!(
                "THE MACHINE WAS BUSY: {noisy} of {of} rows have figures without a single quiet run. Quote none of this; \
                 close what else is running and measure again."
            ),
            Lang::Zh => format!(
                "机器太忙：{of} 行里有 {noisy} 行含有没测到安静时刻的数字。这些数字都不能引用；请关掉别的程序再测一次。"
            ),
        });
    }
    let k = results.options.active;
    for sweeps in sweeps(results) {
        let (Some(line), Some(first), Some(last)) =
            (sweeps.line, sweeps.points.first(), sweeps.points.last())
        else {
            continue;
        };
        let [a, a_error, r, r_error] = [line.a, line.a_error, line.r * 1e3, line.r_error * 1e3].map(number);
        let r2 = format!("{:.4}", (line.r2 * 1e4).floor() / 1e4);
        let (from, to) = (count(first.silent), count(last.silent));
        all.push(match lang {
            Lang::En => format!(
                "An idle full sweep over N silent connections takes a + N·r: a = {a} ± {a_error} µs, \
                 r = {r} ± {r_error} ns, R² = {r2} (N = {from} to {to}, relative errors)."
            ),
            Lang::Zh => format!(
                "有 N 个沉默连接时，空转一整轮要 a + N·r：a = {a} ± {a_error} µs，r = {r} ± {r_error} ns，\
                 R² = {r2}（N 从 {from} 到 {to}，按相对误差拟合）。"
            ),
        });
        let [slow, fast, failing, limit] =
            [last.sweeps, first.sweeps, last.failing, 1e6 / line.r].map(number);
        all.push(match lang {
            Lang::En => format!(
                "From N = {from} to {to}, sweeps fall from {fast} to {slow} a second, while failing calls level off at \
                 {failing} a second (1/r = {limit}). What N stretches is the sweep, and with it the wait."
            ),
            Lang::Zh => format!(
                "N 从 {from} 增到 {to}，每秒轮数从 {fast} 降到 {slow}；每秒落空的调用却停在 {failing} 次\
                 （1/r = {limit}）。N 拉长的是一轮的时间，也就是等待。"
            ),
        });
    }
    // Time per answer at saturation is a straight line in N for every model; two lines meet at most once.
    let line_of = |wanted: &dyn Fn(&Server) -> bool| {
        let points: Vec<(f64, f64)> = rows
            .iter()
            .filter(|row| wanted(&row.cell.server))
            .filter_map(|row| Some((row.cell.silent as f64, 1e6 / row.max_rate?)))
            .collect();
        Line::through(&points)
    };
    let most = results.options.silent.iter().max().map_or(0.0, |most| *most as f64);
    let sweep = line_of(&|server| server.is_sweeping("spin", "full"));
    for model in ["select", "poll", "epoll"] {
        let (Some(sweep), Some(other)) = (sweep, line_of(&|server| server.is_model(model))) else { continue };
        let at = |n: f64| count(n.ceil() as usize);
        all.push(match (break_even(&sweep, &other), lang) {
            (BreakEven::SecondFrom(n), Lang::En) if n <= most => {
                format!("With {k} active connections, {model} gives more answers a second than sweeping from N ≈ {}.", at(n))
            }
            (BreakEven::SecondFrom(n), Lang::Zh) if n <= most => {
                format!("{k} 个活动连接时，从 N ≈ {} 起，{model} 每秒的应答数超过逐个试。", at(n))
            }
            (BreakEven::FirstFrom(n), Lang::En) if n <= most => {
                format!("With {k} active connections, sweeping gives more answers a second than {model} from N ≈ {}.", at(n))
            }
            (BreakEven::FirstFrom(n), Lang::Zh) if n <= most => {
                format!("{k} 个活动连接时，从 N ≈ {} 起，逐个试每秒的应答数超过 {model}。", at(n))
            }
            (BreakEven::SecondAlways | BreakEven::FirstFrom(_), Lang::En) => {
                format!("With {k} active connections, {model} gives more answers a second than sweeping at every N measured.")
            }
            (BreakEven::SecondAlways | BreakEven::FirstFrom(_), Lang::Zh) => {
                format!("{k} 个活动连接时，在测过的每个 N 上，{model} 每秒的应答数都超过逐个试。")
            }
            (BreakEven::FirstAlways | BreakEven::SecondFrom(_), Lang::En) => {
                format!("With {k} active connections, sweeping gives more answers a second than {model} at every N measured.")
            }
            (BreakEven::FirstAlways | BreakEven::SecondFrom(_), Lang::Zh) => {
                format!("{k} 个活动连接时，在测过的每个 N 上，逐个试每秒的应答数都超过 {model}。")
            }
        });
    }
    let highest =
        load_curves(results).iter().flat_map(|curve| curve.points.last()).map(|p| p.0).fold(0.0, f64::max);
    for (name, cross) in crossings(results) {
        all.push(match (cross, lang) {
            (Some((rate, us)), Lang::En) => format!(
                "Spinning uses less processor time than {name} above {} requests a second (there both take {} µs each).",
                number(rate),
                number(us)
            ),
            (Some((rate, us)), Lang::Zh) => format!(
                "每秒超过 {} 个请求时，一直空转反而比 {name} 更省处理器（交点处两者每个请求都用 {} µs）。",
                number(rate),
                number(us)
            ),
            (None, Lang::En) => {
                format!("At no measured rate up to {} requests a second did spinning use less processor time than {name}.", number(highest))
            }
            (None, Lang::Zh) => {
                format!("在测过的速率里（最高每秒 {} 个请求），一直空转从没有比 {name} 省过处理器。", number(highest))
            }
        });
    }
    let idle_spin =
        rows.iter().find(|row| row.cell.server.is_sweeping("spin", "full")).and_then(|row| row.idle_cpu);
    if let Some(share) = idle_spin {
        let hours = number(share * 24.0);
        all.push(match lang {
            Lang::En => format!("Left spinning with nobody there, the loop burns {hours} core-hours a day."),
            Lang::Zh => format!("没有人来，让它一直空转，一天烧掉 {hours} 核时。"),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Options;
    use crate::compare::findings::tests::model;

    #[test]
    fn break_even_points_are_where_the_model_has_them() {
        let results = model(Options::full());
        // 8 + N·0.025 = 10 → N = 80; 8 + N·0.025 = 10 + N·0.02 → N = 400; 1 core ÷ 10 µs → 100,000/s is not reached.
        let all = sentences(&results, Lang::En).join("\n");
        assert!(all.contains("epoll gives more answers a second than sweeping from N ≈ 8"), "{all}");
        assert!(all.contains("poll gives more answers a second than sweeping from N ≈ 40"), "{all}");
        assert!(all.contains("At no measured rate"), "{all}");
        assert!(all.contains("24.0 core-hours"), "{all}");
        let mut options = Options::full();
        options.curve.push(200_000.0);
        let all = sentences(&model(options), Lang::En).join("\n");
        assert!(all.contains("less processor time than epoll above 100,000"), "{all}");
    }

    #[test]
    fn figures_of_a_busy_machine_come_with_a_warning() {
        let mut results = model(Options::quick());
        assert!(!sentences(&results, Lang::En)[0].contains("BUSY"));
        for point in &mut results.points {
            point.noisy = true;
        }
        assert!(sentences(&results, Lang::En)[0].starts_with("THE MACHINE WAS BUSY: 17 of 17 rows"));
    }

    #[test]
    fn an_interrupted_measurement_says_so() {
        let mut results = model(Options::quick());
        results.interrupted = true;
        assert_eq!(sentences(&results, Lang::En)[0], "INTERRUPTED: 1 of 3 rounds were completed.");
        assert_eq!(sentences(&results, Lang::Zh)[0], "已中断：3 轮只测完了 1 轮。");
    }

    #[test]
    fn both_languages_say_the_same_number_of_things() {
        let results = model(Options::full());
        assert_eq!(sentences(&results, Lang::En).len(), sentences(&results, Lang::Zh).len());
    }
}
