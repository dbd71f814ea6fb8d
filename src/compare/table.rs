//! The report on a terminal: one table, what follows from it, and what it rests on.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::findings::{self, Row};
use super::lang::Lang;
use super::matrix::Server;
use super::numbers::{count, number, percent};
use super::results::Results;
use super::sentences::sentences;

/// The heads of the columns: name, and unit or explanation for a second line.
pub fn columns(lang: Lang, rate: f64) -> Vec<(&'static str, String)> {
    let at = format!("@{}/s", number(rate));
    let unit = |text: &str| text.to_owned();
    match lang {
        Lang::En => vec![
            ("server", String::new()),
            ("N", unit("silent")),
            ("req/s", unit("at most")),
            ("p50", unit("µs")),
            ("p99", unit("µs")),
            ("p99.9", unit("µs")),
            ("idle", unit("CPU %")),
            ("loaded", unit("CPU %")),
            ("CPU/req", unit("µs")),
            ("at most", unit("CPU µs")),
            ("calls/req", at),
            ("blocked", unit("%")),
            ("useful", unit("sweeps %")),
            ("RSS", unit("MiB")),
        ],
        Lang::Zh => vec![
            ("服务器", String::new()),
            ("N", unit("沉默")),
            ("应答/秒", unit("最多")),
            ("p50", unit("µs")),
            ("p99", unit("µs")),
            ("p99.9", unit("µs")),
            ("空闲", unit("CPU %")),
            ("有负载", unit("CPU %")),
            ("CPU/请求", unit("µs")),
            ("满载时", unit("CPU µs")),
            ("调用/请求", at),
            ("落空", unit("%")),
            ("有用的轮", unit("%")),
            ("内存", unit("MiB")),
        ],
    }
}

/// One row's texts, in the order of [`columns`], without the first two.
pub fn figures(row: &Row) -> Vec<String> {
    let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let share = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), percent);
    let near = |text: String, is_near: bool| if is_near { format!("≈{text}") } else { text };
    let quantile = |value: Option<(f64, bool)>| match value {
        None => "–".to_owned(),
        Some((us, true)) => format!("({})", number(us)),
        Some((us, false)) => number(us),
    };
    let [p50, p99, p999] = row.latency;
    let p50 = near(quantile(p50), row.latency_at_floor);
    vec![
        near(show(row.max_rate), row.rate_at_floor),
        if row.overloaded { format!("!{p50}") } else { p50 },
        quantile(p99),
        quantile(p999),
        share(row.idle_cpu),
        share(row.load_cpu),
        show(row.cpu_us),
        show(row.cpu_us_max),
        show(row.calls),
        share(row.would_block),
        share(row.useful),
        row.memory_kib.map_or_else(|| "–".to_owned(), |kib| number(kib / 1024.0)),
    ]
}

/// A row's name, with a mark if it is not from a quiet machine.
pub fn name(row: &Row, lang: Lang) -> String {
    let name = match &row.cell.server {
        Server::Echo => lang.pick("echo (null test)", "echo（空测）").to_owned(),
        server => server.name(),
    };
    if row.noisy { format!("~{name}") } else { name }
}

/// What the marks in the table mean: those that occur.
pub fn legend(rows: &[Row], results: &Results, lang: Lang) -> Vec<String> {
    let options = &results.options;
    let (k, rate, seconds) = (options.active, number(options.rate), number(options.seconds));
    let mut notes = vec![match lang {
        Lang::En => format!(
            "{k} active connections; latency from the planned send time, open loop, {rate} requests/s; throughput from a \
             closed loop; medians of up to {} runs of {seconds} s.",
            results.rounds
        ),
        Lang::Zh => format!(
            "{k} 个活动连接；延迟从计划发送时刻算起（开环，每秒 {rate} 个请求）；吞吐量用闭环测；\
             取最多 {} 次、每次 {seconds} 秒的中位数。",
            results.rounds
        ),
    }];
    let mut note = |is_used: bool, en: &str, zh: &str| {
        if is_used {
            notes.push(lang.pick(en, zh).to_owned());
        }
    };
    let near = |row: &Row| row.rate_at_floor || row.latency_at_floor;
    note(
        rows.iter().any(near),
        "≈ at the floor: within 10 % of the null test, so it is the client's figure and not the server's.",
        "≈ 触底：与空测相差不到 10 %，这是客户端的数字，不是服务器的。",
    );
    note(
        rows.iter().any(|row| row.latency.iter().flatten().any(|(_, thin)| *thin)),
        "( ) fewer than ten answers lie beyond this: chance decides it; measure longer.",
        "( ) 比它更慢的应答不到十个，全凭运气；要测得更久。",
    );
    note(
        rows.iter().any(|row| row.overloaded),
        "! could not keep up with the rate: latency grows for as long as one measures.",
        "! 跟不上这个速率：测得越久，延迟越大。",
    );
    note(
        rows.iter().any(|row| row.noisy),
        "~ no quiet run among those measured: the least disturbed one is shown.",
        "~ 没有一次测量是安静的：这里是受干扰最少的一次。",
    );
    note(
        rows.iter().any(|row| row.cell.server.is_model("blocking")),
        "blocking serves one client until it leaves: it is asked over one connection.",
        "blocking 一次只服务一个客户，直到它离开：只用一个连接去问。",
    );
    notes
}

/// The machine line.
pub fn machine(results: &Results, lang: Lang) -> String {
    let machine = &results.machine;
    let pinned = match (machine.pinned, lang) {
        (Some((server, client)), Lang::En) => format!("server on core {server}, client on core {client}"),
        (Some((server, client)), Lang::Zh) => format!("服务器在核 {server}，客户端在核 {client}"),
        (None, Lang::En) => "one core for both: the client takes time from the server".to_owned(),
        (None, Lang::Zh) => "只有一个核：客户端占了服务器的时间".to_owned(),
    };
    let steal =
        results.points.iter().flat_map(|point| &point.runs).map(|run| run.noise.steal).fold(0.0, f64::max);
    let (vm, frequency) = match lang {
        Lang::En => (
            if machine.virtual_machine { ", virtual machine" } else { "" },
            machine.frequency_scaling.clone().unwrap_or_else(|| "not readable".to_owned()),
        ),
        Lang::Zh => (
            if machine.virtual_machine { "，虚拟机" } else { "" },
            machine.frequency_scaling.clone().unwrap_or_else(|| "读不到".to_owned()),
        ),
    };
    let mut line = match lang {
        Lang::En => format!(
            "{}{vm}, {} cores; {}; {pinned}; steal at most {} % of a kept run; timer slack {} µs; frequency governor \
             {frequency}; somaxconn {}; open files {}; {}; {}.",
            machine.cpu,
            machine.cores,
            machine.kernel,
            percent(steal),
            number(machine.timer_slack_ns as f64 / 1e3),
            machine.somaxconn,
            machine.file_limit,
            machine.version,
            results.began,
        ),
        Lang::Zh => format!(
            "{}{vm}，{} 核；{}；{pinned}；留下的测量中 steal 最多 {} %；定时器松弛 {} µs；频率调节 {frequency}；\
             somaxconn {}；可打开文件 {}；{}；{}。",
            machine.cpu,
            machine.cores,
            machine.kernel,
            percent(steal),
            number(machine.timer_slack_ns as f64 / 1e3),
            machine.somaxconn,
            machine.file_limit,
            machine.version,
            results.began,
        ),
    };
    if machine.debug_build {
        line.push_str(lang.pick(
            " DEBUG BUILD: no figure here is worth quoting; use cargo build --release.",
            "这是调试版：这里的数字都不能引用；请用 cargo build --release。",
        ));
    }
    line
}

/// How many runs were kept, how many not, and why.
pub fn thrown(results: &Results, lang: Lang) -> String {
    let (kept, noisy, slow) = results.thrown();
    let limit = percent(results.options.noise_limit);
    let (rounds, took) = (results.rounds, number(results.took_s));
    match lang {
        Lang::En => format!(
            "{rounds} rounds in {took} s; {kept} runs kept, {} thrown away ({noisy} because others took more than \
             {limit} % of a core, {slow} because the core itself ran slowly).",
            noisy + slow
        ),
        Lang::Zh => format!(
            "{rounds} 轮，共 {took} 秒；留下 {kept} 次测量，丢掉 {} 次（{noisy} 次因为别的程序占去核的 {limit} % 以上，\
             {slow} 次因为核本身变慢）。",
            noisy + slow
        ),
    }
}

/// The whole report as text.
pub fn render(results: &Results, lang: Lang) -> String {
    let rows = findings::rows(results);
    let heads = columns(lang, results.options.rate);
    let mut lines: Vec<Vec<String>> = vec![
        heads.iter().map(|(head, _)| (*head).to_owned()).collect(),
        heads.iter().map(|(_, unit)| unit.clone()).collect(),
    ];
    let mut troubles = Vec::new();
    for row in &rows {
        let mut line = vec![name(row, lang), count(row.cell.silent)];
        line.extend(figures(row));
        lines.push(line);
        if let Some(trouble) = &row.trouble {
            troubles.push(format!(
                "{}, N = {}: {}",
                row.cell.server.name(),
                row.cell.silent,
                trouble.text(lang)
            ));
        }
    }
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        for (i, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - cell.width());
            let _ = if i == 0 { write!(text, "{cell}{gap}") } else { write!(text, "  {gap}{cell}") };
        }
        text.push('\n');
    }
    text.push('\n');
    for note in legend(&rows, results, lang).into_iter().chain(troubles) {
        let _ = writeln!(text, "{note}");
    }
    text.push('\n');
    for sentence in sentences(results, lang) {
        let _ = writeln!(text, "· {sentence}");
    }
    let predictions = findings::predictions(results);
    if !predictions.is_empty() {
        let _ = writeln!(
            text,
            "\n{}",
            lang.pick("The model a + N·r against what was measured:", "模型 a + N·r 与实测：")
        );
        for p in predictions {
            let (predicted, measured, ratio) =
                (number(p.predicted), number(p.measured), number(p.predicted / p.measured));
            let what = p.of.text(lang);
            let _ = match lang {
                Lang::En => writeln!(
                    text,
                    "  N = {}, {what}: predicted {predicted}, measured {measured} (× {ratio})",
                    count(p.silent)
                ),
                Lang::Zh => writeln!(
                    text,
                    "  N = {}，{what}：预测 {predicted}，实测 {measured}（× {ratio}）",
                    count(p.silent)
                ),
            };
        }
    }
    let sleeps = findings::sleeps(results);
    if !sleeps.is_empty() {
        let _ = writeln!(
            text,
            "\n{}",
            lang.pick("Sleeps of the idle server, asked and achieved:", "空闲时的睡眠，要求的和实际的：")
        );
        for (name, silent, asked, slept) in sleeps {
            let (asked, slept) = (number(asked), number(slept));
            let _ = writeln!(text, "  {name}, N = {}: {asked} µs → {slept} µs", count(silent));
        }
    }
    let _ = writeln!(text, "\n{}\n{}", machine(results, lang), thrown(results, lang));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Options;
    use crate::compare::findings::tests::model;
    use crate::compare::results::Trouble;

    #[test]
    fn all_columns_are_as_wide_as_their_widest_cell_in_both_languages() {
        for lang in [Lang::En, Lang::Zh] {
            let text = render(&model(Options::quick()), lang);
            let table: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
            assert!(table.len() > 10);
            assert!(table.iter().all(|line| line.width() == table[0].width()), "{text}");
            assert_eq!(
                columns(lang, 1.0).len(),
                figures(&findings::rows(&model(Options::quick()))[0]).len() + 2
            );
        }
    }

    #[test]
    fn what_could_not_be_measured_is_said() {
        let mut results = model(Options::quick());
        let point = results.points.iter_mut().find(|p| p.what.cell.server.name() == "poll").unwrap();
        point.trouble = Some(Trouble::NoAnswer);
        results.machine.debug_build = true;
        let text = render(&results, Lang::En);
        assert!(text.contains("poll, N = 0: answers nobody"), "{text}");
        assert!(text.contains("DEBUG BUILD"));
        assert!(text.contains("runs kept, 0 thrown away"));
    }
}
