//! The four plots, each with the numbers that it shows.

use super::findings::{self, Row};
use super::fit::Line;
use super::lang::Lang;
use super::matrix::{Kind, Server};
use super::numbers::{count, number, percent};
use super::plot::{Axis, NORMAL, Plot, Style, WIDE};
use super::results::Results;

/// A plot, or several side by side, with words and a table of the same numbers.
pub struct Figure {
    /// For links.
    pub id: &'static str,
    /// What it is about.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// Titles and SVG elements.
    pub panels: Vec<(String, String)>,
    /// The head of the table and its rows; the first column is text.
    pub table: (Vec<String>, Vec<Vec<String>>),
}

/// The plots for which there are figures, the best first.
pub fn all(results: &Results, lang: Lang) -> Vec<Figure> {
    let rows = findings::rows(results);
    let styles = Styles::of(&rows);
    [
        pareto(results, &rows, &styles, lang),
        sweeps(results, &styles, lang),
        latency(results, &rows, &styles, lang),
        load(results, &styles, lang),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One colour and shape for each idle strategy or model, the same in all plots; a sweep that is not full is hollow.
struct Styles(Vec<String>);

impl Styles {
    fn of(rows: &[Row]) -> Self {
        let mut keys = Vec::new();
        for row in rows {
            let key = key(&row.cell.server);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Self(keys)
    }

    fn get(&self, server: &Server) -> Style {
        let key = key(server);
        Style {
            series: self.0.iter().position(|known| *known == key).unwrap_or(0),
            hollow: matches!(server, Server::Own { sweep: Some(sweep), .. } if sweep != "full"),
        }
    }
}

fn key(server: &Server) -> String {
    match server {
        Server::Own { idle: Some(idle), .. } => idle.clone(),
        other => other.name(),
    }
}

/// What is left of idle processor time on a logarithmic axis, percent.
const LEAST_PERCENT: f64 = 0.01;

fn pareto(results: &Results, rows: &[Row], styles: &Styles, lang: Lang) -> Option<Figure> {
    let shown: Vec<(&Row, f64, f64)> =
        rows.iter().filter_map(|row| Some((row, row.idle_cpu? * 100.0, row.latency[1]?.0))).collect();
    if shown.is_empty() {
        return None;
    }
    let spread = |row: &Row| {
        let point = results.point(&row.cell.server, row.cell.silent, Kind::Rate(results.options.rate));
        point.and_then(|point| point.range(|run| Some(run.p50_p99_us?[1])))
    };
    let heights = || {
        shown
            .iter()
            .flat_map(|(row, _, p99)| [Some(*p99), spread(row).map(|s| s.0), spread(row).map(|s| s.1)])
    };
    let x_label = lang.pick("idle CPU, % of one core (log)", "空闲时的 CPU，占一个核的 %（对数）");
    let y_label = lang.pick("p99 latency, µs (log)", "p99 延迟，µs（对数）");
    let panels = results.options.silent.iter().filter_map(|silent| {
        let panel: Vec<_> = shown.iter().filter(|(row, ..)| row.cell.silent == *silent).collect();
        if panel.is_empty() {
            return None;
        }
        let x = Axis::log(x_label, [LEAST_PERCENT, 100.0]).floor(LEAST_PERCENT, "≤0.01");
        let y = Axis::log(y_label, heights().flatten());
        let title = format!("N = {}", count(*silent));
        let mut plot = Plot::new(&format!("{title}: {y_label} / {x_label}"), NORMAL, x, y, 3);
        for (row, cpu, p99) in &panel {
            let style = styles.get(&row.cell.server);
            if let Some((low, high)) = spread(row) {
                plot.spread(cpu.max(LEAST_PERCENT), low, high, style);
            }
            let name = row.cell.server.name();
            let tooltip = format!("{name}: {} % CPU, p99 {} µs", percent(cpu / 100.0), number(*p99));
            plot.mark(cpu.max(LEAST_PERCENT), *p99, style, &tooltip);
        }
        for (row, cpu, p99) in &panel {
            plot.label(cpu.max(LEAST_PERCENT), *p99, &row.cell.server.name());
        }
        Some((title, plot.finish()))
    });
    let panels = panels.collect();
    let texts = |(row, cpu, p99): &(&Row, f64, f64)| {
        vec![row.cell.server.name(), count(row.cell.silent), percent(cpu / 100.0), number(*p99)]
    };
    Some(Figure {
        id: "pareto",
        title: lang.pick("What waiting costs, and what it buys", "等待的花费，和它换来的东西").to_owned(),
        caption: match lang {
            Lang::En => format!(
                "One mark for each way of waiting. Left is cheap while nobody is there; low is quick when somebody comes \
                 ({} requests a second). Best is the lower left corner. N is the number of silent connections; bars span \
                 the runs; outlines are hot sweeps.",
                number(results.options.rate)
            ),
            Lang::Zh => format!(
                "每种等待方式一个记号。越靠左，没人时越省；越靠下，来人时越快（每秒 {} 个请求）。左下角最好。\
                 N 是沉默连接的个数；竖线是各次测量的范围；空心的是 hot 扫法。",
                number(results.options.rate)
            ),
        },
        panels,
        table: (
            heads(
                lang,
                &[("server", "服务器"), ("N", "N"), ("idle CPU %", "空闲 CPU %"), ("p99 µs", "p99 µs")],
            ),
            shown.iter().map(texts).collect(),
        ),
    })
}

fn heads(lang: Lang, pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(en, zh)| lang.pick(*en, *zh).to_owned()).collect()
}

/// Where N = 0 is drawn on a logarithmic axis.
const ZERO_AT: f64 = 0.3;

fn sweeps(results: &Results, styles: &Styles, lang: Lang) -> Option<Figure> {
    let all = findings::sweeps(results);
    let most = all.iter().flat_map(|sweeps| &sweeps.points).map(|point| point.silent).max()? as f64;
    if most == 0.0 {
        return None;
    }
    let at = |silent: usize| if silent == 0 { ZERO_AT } else { silent as f64 };
    let x_label = lang.pick("silent connections N (log)", "沉默连接数 N（对数）");
    let panel = |title: &str,
                 value: fn(&findings::SweepPoint) -> f64,
                 model: &dyn Fn(&findings::Sweeps, &Line, f64) -> f64| {
        let x = Axis::log(x_label, [1.0, most]).floor(ZERO_AT, "0");
        let lowest = all.iter().flat_map(|s| &s.points).map(value).fold(f64::INFINITY, f64::min);
        let highest = all.iter().flat_map(|s| &s.points).map(value).fold(0.0, f64::max);
        // At least two decades, so that a flat line looks flat.
        let y = Axis::log(title, [lowest.min(highest / 100.0), highest * 1.5]);
        let mut plot = Plot::new(&format!("{title} / {x_label}"), NORMAL, x, y, 9);
        for sweeps in &all {
            let style = styles.get(&Server::sweeping("spin", &sweeps.sweep));
            if let Some(line) = sweeps.line {
                let curve: Vec<(f64, f64)> = (0..=60)
                    .map(|i| most.powf(f64::from(i) / 60.0))
                    .map(|n| (n, model(sweeps, &line, n)))
                    .collect();
                plot.line(&curve, style, true);
            }
            for point in &sweeps.points {
                let tooltip = format!("{}, N = {}: {}/s", sweeps.sweep, point.silent, number(value(point)));
                plot.mark(at(point.silent), value(point), style, &tooltip);
            }
            if let Some(last) = sweeps.points.last() {
                plot.edge_label(value(last), &format!("spin {}", sweeps.sweep), style);
            }
        }
        (title.to_owned(), plot.finish())
    };
    let sweeps_title = lang.pick("sweeps per second (log)", "每秒轮数（对数）");
    let failing_title = lang.pick("failing calls per second (log)", "每秒落空的调用（对数）");
    let panels = vec![
        panel(sweeps_title, |point| point.sweeps, &|_, line, n| 1e6 / line.at(n)),
        panel(failing_title, |point| point.failing, &|sweeps, line, n| {
            // The door is tried by the clock and not in every sweep: what fails there is what fails at N = 0.
            let door =
                sweeps.points.first().filter(|point| point.silent == 0).map_or(0.0, |point| point.failing);
            door + 1e6 * n / line.at(n)
        }),
    ];
    let table = all.iter().flat_map(|sweeps| {
        sweeps.points.iter().map(|point| {
            let fitted =
                sweeps.line.map_or_else(|| "–".to_owned(), |line| number(line.at(point.silent as f64)));
            vec![
                format!("spin {}", sweeps.sweep),
                count(point.silent),
                number(point.sweeps),
                number(point.failing),
                number(point.sweep_us()),
                fitted,
            ]
        })
    });
    Some(Figure {
        id: "sweeps",
        title: lang.pick("An idle sweep is a + N·r", "空转一轮是 a + N·r").to_owned(),
        caption: lang
            .pick(
                "Nobody asks anything; the loop spins. Each sweep tries every connection, so that sweeps a second fall as \
                 1/N, while the calls that fail level off at what one core can make: 1/r. Dashed: what the straight line a + N·r, \
                 fitted to the length of a full sweep, says for both.",
                "没有任何请求，循环一直空转。一轮要把每个连接试一遍，所以每秒轮数按 1/N 下降；每秒落空的调用却停在一个核\
                 做得到的次数：1/r。虚线：对整轮时间拟合的直线 a + N·r 给出的两条曲线。",
            )
            .to_owned(),
        panels,
        table: (
            heads(
                lang,
                &[
                    ("loop", "循环"),
                    ("N", "N"),
                    ("sweeps/s", "轮/秒"),
                    ("failing calls/s", "落空/秒"),
                    ("sweep, µs", "一轮，µs"),
                    ("a + N·r, µs", "a + N·r，µs"),
                ],
            ),
            table.collect(),
        ),
    })
}

/// Which servers have a curve: one for each idle strategy, the two that block, others' servers and the null test. With all
/// of a full run there would be more lines than can be told apart; the table above has them all.
fn has_curve(server: &Server, first_sweep: Option<&String>) -> bool {
    match server {
        Server::Own { sweep: Some(sweep), .. } => Some(sweep) == first_sweep,
        Server::Own { model, .. } => matches!(model.as_str(), "poll" | "epoll" | "thread"),
        Server::Echo | Server::External { .. } => true,
    }
}

fn latency(results: &Results, rows: &[Row], styles: &Styles, lang: Lang) -> Option<Figure> {
    let first_sweep = results.options.sweeps.first();
    let mut panels = Vec::new();
    let mut table = Vec::new();
    let x_ticks = || {
        ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]
            .into_iter()
            .enumerate()
            .map(|(i, text)| (10f64.powi(i as i32), text.to_owned()))
            .chain([(2.0, "50 %".to_owned())])
    };
    let x_label =
        lang.pick("share of answers within (log of 1/(1−p))", "在此时间内的应答比例（1/(1−p) 的对数）");
    let y_label = lang.pick("latency, µs (log)", "延迟，µs（对数）");
    for &silent in &results.options.silent {
        let curves: Vec<_> = rows
            .iter()
            .filter(|row| row.cell.silent == silent || row.cell.server == Server::Echo)
            .filter(|row| has_curve(&row.cell.server, first_sweep))
            .filter_map(|row| {
                let server = &row.cell.server;
                let point = results.point(server, row.cell.silent, Kind::Rate(results.options.rate))?;
                Some((server, point.planned.as_ref()?, point.sent.as_ref()?))
            })
            .collect();
        let all =
            || curves.iter().flat_map(|(_, planned, sent)| planned.quantiles.iter().chain(&sent.quantiles));
        if curves.is_empty() {
            continue;
        }
        let right = all().map(|(p, _)| 1.0 / (1.0 - p)).fold(10.0, f64::max);
        for planned in [true, false] {
            let x = Axis::with_ticks(
                x_label,
                1.0,
                right,
                x_ticks().filter(|(x, _)| *x <= right * 1.001).collect(),
            );
            let y = Axis::log(y_label, all().map(|(_, us)| *us));
            let since = if planned {
                lang.pick("from the planned send time", "从计划发送时刻算起")
            } else {
                lang.pick("the same from the actual send time", "同一次测量，从实际发出时刻算起")
            };
            let title = match lang {
                Lang::En => format!("N = {}, {since}", count(silent)),
                Lang::Zh => format!("N = {}，{since}", count(silent)),
            };
            let mut plot = Plot::new(&title, NORMAL, x, y, 15);
            for (server, from_planned, from_sent) in &curves {
                let curve = if planned { from_planned } else { from_sent };
                let points: Vec<(f64, f64)> =
                    curve.quantiles.iter().map(|(p, us)| (1.0 / (1.0 - p), *us)).collect();
                let style = styles.get(server);
                plot.line(&points, style, **server == Server::Echo);
                for (share, us) in curve
                    .quantiles
                    .iter()
                    .filter(|(p, _)| [0.5, 0.9, 0.99, 0.999].iter().any(|q| (p - q).abs() < 1e-9))
                {
                    let tooltip = format!("{}: {} % ≤ {} µs", server.name(), share * 100.0, number(*us));
                    plot.mark(1.0 / (1.0 - share), *us, style, &tooltip);
                }
                if let Some((_, us)) = points.last() {
                    plot.edge_label(*us, &server.name(), style);
                }
            }
            panels.push((title, plot.finish()));
        }
        table.extend(curves.iter().map(|(server, planned, sent)| {
            let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
            vec![
                server.name(),
                count(silent),
                show(planned.at(0.5)),
                show(planned.at(0.99)),
                show(planned.at(0.999)),
                show(sent.at(0.99)),
            ]
        }));
    }
    (!panels.is_empty()).then(|| Figure {
        id: "latency",
        title: lang.pick("Who waits how long", "谁等了多久").to_owned(),
        caption: lang
            .pick(
                "The same requests at the same rate. On the left each is counted from when it was planned; on the right from \
                 when it was really sent, which forgives a server every request that had to queue behind a slow one \
                 (coordinated omission). Lower is better; the dashed line is the null test.",
                "同样的请求，同样的速率。左边从计划发送的时刻算起；右边从真正发出的时刻算起：排在慢请求后面的等待都不算了\
                 （协同遗漏）。越低越好；虚线是空测。",
            )
            .to_owned(),
        panels,
        table: (
            heads(
                lang,
                &[
                    ("server", "服务器"),
                    ("N", "N"),
                    ("p50 µs", "p50 µs"),
                    ("p99 µs", "p99 µs"),
                    ("p99.9 µs", "p99.9 µs"),
                    ("p99 µs from sending", "p99 µs（从发出）"),
                ],
            ),
            table,
        ),
    })
}

fn load(results: &Results, styles: &Styles, lang: Lang) -> Option<Figure> {
    let curves = findings::load_curves(results);
    if curves.is_empty() {
        return None;
    }
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let x_label = lang.pick("requests per second (log)", "每秒请求数（对数）");
    let y_label = lang.pick("CPU time per request, µs (log)", "每个请求的 CPU 时间，µs（对数）");
    let x = Axis::log(x_label, all().map(|point| point.0));
    let y = Axis::log(y_label, all().map(|point| point.1));
    let mut plot = Plot::new(&format!("{y_label} / {x_label}"), WIDE, x, y, 14);
    for curve in &curves {
        let style = styles.get(&curve.server);
        plot.line(&curve.points, style, false);
        for (rate, us) in &curve.points {
            let tooltip = format!("{}, {}/s: {} µs", curve.server.name(), number(*rate), number(*us));
            plot.mark(*rate, *us, style, &tooltip);
        }
        if let Some((_, us)) = curve.points.last() {
            plot.edge_label(*us, &curve.server.name(), style);
        }
    }
    for (name, cross) in findings::crossings(results) {
        if let Some((rate, us)) = cross {
            plot.ring(rate, us, &format!("spin = {name}: {}/s", number(rate)));
        }
    }
    let mut rates: Vec<f64> = all().map(|point| point.0).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let head = std::iter::once(lang.pick("requests/s", "请求/秒").to_owned())
        .chain(curves.iter().map(|curve| format!("{}, µs", curve.server.name())));
    let row = |rate: &f64| {
        let of = |curve: &findings::LoadCurve| {
            curve
                .points
                .iter()
                .find(|point| point.0 == *rate)
                .map_or_else(|| "–".to_owned(), |point| number(point.1))
        };
        std::iter::once(number(*rate)).chain(curves.iter().map(of)).collect()
    };
    Some(Figure {
        id: "load",
        title: lang.pick("Spinning is dear until there is work", "没活时，空转最贵").to_owned(),
        caption: lang
            .pick(
                "Processor time of the server for each request, without silent connections. A loop that spins uses a whole core \
                 whatever comes, so that its price falls as 1/rate; a server that blocks pays for each wake-up. Where the lines \
                 cross, spinning becomes the cheaper of the two. Rates that a server could not keep up with are left out.",
                "没有沉默连接时，服务器为每个请求用的 CPU 时间。一直空转的循环不管来多少都占满一个核，所以单价按 1/速率下降；\
                 会睡的服务器每次醒来都要付钱。两线相交之后，空转反而更省。跟不上的速率没有画。",
            )
            .to_owned(),
        panels: vec![(y_label.to_owned(), plot.finish())],
        table: (head.collect(), rates.iter().map(row).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Options;
    use crate::compare::findings::tests::model;

    #[test]
    fn every_figure_has_its_numbers_beside_it() {
        for lang in [Lang::En, Lang::Zh] {
            let all = all(&model(Options::full()), lang);
            assert_eq!(
                all.iter().map(|figure| figure.id).collect::<Vec<_>>(),
                ["pareto", "sweeps", "latency", "load"]
            );
            for figure in all {
                assert!(!figure.panels.is_empty());
                let (head, rows) = &figure.table;
                assert!(!rows.is_empty());
                assert!(rows.iter().all(|row| row.len() == head.len()), "{}", figure.id);
            }
        }
    }

    #[test]
    fn the_pareto_plot_has_one_mark_for_each_row_of_its_table() {
        let figures = all(&model(Options::quick()), Lang::En);
        let marks: usize = figures[0].panels.iter().map(|(_, svg)| svg.matches("class=\"mark").count()).sum();
        assert_eq!(marks, figures[0].table.1.len());
        assert_eq!(figures[0].panels.len(), Options::quick().silent.len());
    }

    #[test]
    fn a_crossing_is_marked_where_there_is_one() {
        let mut options = Options::full();
        assert!(!all(&model(options.clone()), Lang::En)[3].panels[0].1.contains("ring"));
        options.curve.push(200_000.0);
        assert!(all(&model(options), Lang::En)[3].panels[0].1.contains("ring"));
    }

    #[test]
    fn results_without_figures_have_no_plots() {
        let mut results = model(Options::quick());
        results.points.clear();
        assert!(all(&results, Lang::En).is_empty());
    }
}
