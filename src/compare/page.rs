//! The report as one page: nothing to load, no script, light and dark by the reader's own setting.

use std::fmt::Write;

use super::figures::{self, Figure};
use super::findings;
use super::lang::Lang;
use super::plot::escape;
use super::results::Results;
use super::sentences::sentences;
use super::{numbers, table};

const STYLE: &str = include_str!("page.css");
/// The palette in both themes, and how plots look: also for a plot that stands alone.
const PLOT_STYLE: &str = include_str!("plot.css");

/// The whole page.
pub fn render(results: &Results, lang: Lang) -> String {
    let title = lang.pick("What busy polling costs", "忙等的代价");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · wouldblock compare</title>\n\
         <style>\n{PLOT_STYLE}{STYLE}</style>\n</head>\n<body>\n<header>\n<p class=\"kicker\"><code>wouldblock compare</code></p>\n<h1>{title}</h1>\n",
        lang.tag()
    );
    let lead = lang.pick(
        "What does asking every socket again and again cost, against letting the kernel say who is ready, and what does \
         each way of waiting buy? Measured on one machine, over loopback; nothing here holds for a network.",
        "一遍又一遍地挨个去问每个连接，和让内核来说谁准备好了，各要花多少？每种等待方式又换来什么？\
         以下是在一台机器上、走本机回环测出来的，不能推广到网络上。",
    );
    let _ = writeln!(page, "<p class=\"lead\">{lead}</p>\n</header>\n<main>");
    findings_section(&mut page, results, lang);
    for (i, figure) in figures::all(results, lang).iter().enumerate() {
        figure_section(&mut page, figure, i + 1, lang);
    }
    table_section(&mut page, results, lang);
    predictions_section(&mut page, results, lang);
    method_section(&mut page, results, lang);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// A plot as a file of its own; it follows the theme of whoever shows it.
pub fn standalone(svg: &str) -> String {
    let style = format!("{PLOT_STYLE}svg {{ background: var(--card); font-family: system-ui, sans-serif; }}");
    let namespace = svg.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    namespace.replacen(">\n", &format!(">\n<style>\n{style}\n</style>\n"), 1) + "\n"
}

fn findings_section(page: &mut String, results: &Results, lang: Lang) {
    let sentences = sentences(results, lang);
    if sentences.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<section class=\"findings\">\n<h2>{}</h2>\n<ul>",
        lang.pick("What was found", "测出了什么")
    );
    for sentence in sentences {
        let _ = writeln!(page, "<li>{}</li>", escape(&sentence));
    }
    page.push_str("</ul>\n</section>\n");
}

fn figure_section(page: &mut String, figure: &Figure, count: usize, lang: Lang) {
    let _ = writeln!(
        page,
        "<section id=\"{}\">\n<h2>{count}. {}</h2>\n<p class=\"caption\">{}</p>\n\
         <div class=\"panels\" style=\"--rows: {}\">",
        figure.id,
        escape(&figure.title),
        escape(&figure.caption),
        figure.panels.len().div_ceil(2)
    );
    for (title, svg) in &figure.panels {
        let _ = writeln!(page, "<figure>\n<figcaption>{}</figcaption>\n{svg}\n</figure>", escape(title));
    }
    // The numbers stand beside the plots: as a panel of the same grid.
    let _ =
        writeln!(page, "<div class=\"numbers\">\n<h3>{}</h3>", lang.pick("The same numbers", "同样的数字"));
    let (head, rows) = &figure.table;
    html_table(page, std::slice::from_ref(head), rows, 1);
    page.push_str("</div>\n</div>\n</section>\n");
}

/// A table whose first `texts` columns are text and the rest numbers.
fn html_table(page: &mut String, heads: &[Vec<String>], rows: &[Vec<String>], texts: usize) {
    page.push_str("<div class=\"scroll\"><table>\n<thead>");
    for head in heads {
        page.push_str("<tr>");
        for (i, cell) in head.iter().enumerate() {
            let class = if i < texts { " class=\"text\"" } else { "" };
            let _ = write!(page, "<th scope=\"col\"{class}>{}</th>", escape(cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = match i {
                0 => write!(page, "<th scope=\"row\">{}</th>", escape(cell)),
                _ => write!(page, "<td>{}</td>", escape(cell)),
            };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

fn table_section(page: &mut String, results: &Results, lang: Lang) {
    let rows = findings::rows(results);
    let columns = table::columns(lang, results.options.rate);
    let join = |(head, unit): (&'static str, String)| {
        if unit.is_empty() { head.to_owned() } else { format!("{head}\n{unit}") }
    };
    let heads: Vec<String> = columns.into_iter().map(join).collect();
    let texts: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut texts = vec![table::name(row, lang), numbers::count(row.cell.silent)];
            texts.extend(table::figures(row));
            texts
        })
        .collect();
    let _ = writeln!(
        page,
        "<section id=\"table\" class=\"wide\">\n<h2>{}</h2>",
        lang.pick("All cells", "全部数字")
    );
    html_table(page, &[heads], &texts, 1);
    page.push_str("<ul class=\"notes\">\n");
    for note in table::legend(&rows, results, lang) {
        let _ = writeln!(page, "<li>{}</li>", escape(&note));
    }
    for row in &rows {
        if let Some(trouble) = &row.trouble {
            let name = row.cell.server.name();
            let _ = writeln!(
                page,
                "<li>{}, N = {}: {}</li>",
                escape(&name),
                row.cell.silent,
                escape(&trouble.text(lang))
            );
        }
    }
    page.push_str("</ul>\n</section>\n");
}

fn predictions_section(page: &mut String, results: &Results, lang: Lang) {
    let predictions = findings::predictions(results);
    let sleeps = findings::sleeps(results);
    if predictions.is_empty() && sleeps.is_empty() {
        return;
    }
    let _ = writeln!(page, "<section class=\"two\">");
    if !predictions.is_empty() {
        let _ = writeln!(
            page,
            "<div><h2>{}</h2>\n<p class=\"caption\">{}</p>",
            lang.pick("The model against the measurements", "模型与实测"),
            lang.pick(
                "The cost of one failing read, r, predicts how the loop that spins over every connection slows down.",
                "只要知道一次落空的读要多久（r），就能预测逐个试的循环会慢成什么样。"
            )
        );
        let head =
            [("of", "预测什么"), ("N", "N"), ("predicted", "预测"), ("measured", "实测"), ("ratio", "之比")];
        let rows: Vec<Vec<String>> = predictions
            .iter()
            .map(|p| {
                let [predicted, measured, ratio] =
                    [p.predicted, p.measured, p.predicted / p.measured].map(numbers::number);
                vec![p.of.text(lang).to_owned(), numbers::count(p.silent), predicted, measured, ratio]
            })
            .collect();
        html_table(page, &[head.map(|(en, zh)| lang.pick(en, zh).to_owned()).to_vec()], &rows, 1);
        page.push_str("</div>\n");
    }
    if !sleeps.is_empty() {
        let _ = writeln!(
            page,
            "<div><h2>{}</h2>\n<p class=\"caption\">{}</p>",
            lang.pick("Sleeps, asked and achieved", "要睡多久，实际睡了多久"),
            lang.pick(
                "Mean of the sleeps of an idle server, by its own clock. The kernel may delay each by the timer slack.",
                "空闲服务器每次睡眠的平均值，由它自己计时。内核可以把每次睡眠推迟一个定时器松弛。"
            )
        );
        let head =
            [("server", "服务器"), ("N", "N"), ("asked, µs", "要求，µs"), ("achieved, µs", "实际，µs")];
        let rows: Vec<Vec<String>> = sleeps
            .into_iter()
            .map(|(name, silent, asked, slept)| {
                vec![name, numbers::count(silent), numbers::number(asked), numbers::number(slept)]
            })
            .collect();
        html_table(page, &[head.map(|(en, zh)| lang.pick(en, zh).to_owned()).to_vec()], &rows, 1);
        page.push_str("</div>\n");
    }
    page.push_str("</section>\n");
}

fn method_section(page: &mut String, results: &Results, lang: Lang) {
    let points: &[&str] = lang.pick(
        &[
            "Each run is a fresh child process on 127.0.0.1. All runs of a round are in random order.",
            "Each answer is checked byte for byte, and the server's own count of answers must equal the client's; \
             otherwise the run is not here.",
            "Processor time is that of the process clocks (nanoseconds, all threads, all children), not of 10 ms ticks.",
            "System calls are those that the server counts: accept, read, write, select, poll, epoll, sleep, yield. \
             Files and clocks are not among them. The counters are read just before and after each phase (blocking, \
             process and thread: at the end, and only where nobody is silent). Blocked: the share of accepts, reads and writes that would have blocked.",
            "Processor seconds stand in for energy, which was not measured. Loopback has no interrupts, no loss and no \
             wire: the differences between servers are real, the microseconds are not those of a network.",
        ],
        &[
            "每次测量都是 127.0.0.1 上一个新起的子进程。每一轮里的顺序是随机的。",
            "每个应答都逐字节核对；服务器自己数的应答数必须和客户端数的相等，否则这次测量不算。",
            "CPU 时间取自进程时钟（纳秒，含所有线程和子进程），不是 10 ms 一格的统计。",
            "系统调用是服务器自己数的：accept、read、write、select、poll、epoll、睡眠、让出；不含读文件和看钟。\
             计数在每段测量的前后各读一次（blocking、process、thread 在结束时读，而且只在没有沉默连接时）。\
             “落空”：accept、read、write 中本来会堵住的比例。",
            "没有测能耗，用 CPU 秒代替。回环没有中断、没有丢包、没有网线：服务器之间的差别是真的，微秒数却不是网络上的微秒数。",
        ],
    );
    let _ = writeln!(
        page,
        "<section>\n<h2>{}</h2>\n<ul class=\"notes\">",
        lang.pick("How it was measured", "怎么测的")
    );
    for point in points {
        let _ = writeln!(page, "<li>{}</li>", escape(point));
    }
    let _ = writeln!(
        page,
        "<li>{}</li>\n<li>{}</li>\n</ul>\n</section>",
        escape(&table::thrown(results, lang)),
        escape(&table::machine(results, lang))
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Options;
    use crate::compare::findings::tests::model;

    #[test]
    fn the_page_needs_nothing_but_itself() {
        for lang in [Lang::En, Lang::Zh] {
            let page = render(&model(Options::full()), lang);
            for outside in ["<script", "src=", "<link", "@import", "url(", "http://", "https://"] {
                assert!(!page.contains(outside), "{outside}");
            }
            assert!(page.contains(&format!("<html lang=\"{}\"", lang.tag())));
            assert!(page.contains("prefers-color-scheme: dark"));
        }
    }

    #[test]
    fn every_tag_that_opens_closes() {
        let page = render(&model(Options::full()), Lang::Zh);
        for tag in [
            "section", "figure", "table", "svg", "text", "ul", "li", "div", "tr", "th", "td", "main",
            "polygon",
        ] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn what_a_machine_calls_itself_is_text() {
        let page = render(&model(Options::quick()), Lang::En);
        assert!(page.contains("a &lt;model&gt; &amp; &quot;its&quot; CPU"));
        assert!(!page.contains("<model>"));
    }

    #[test]
    fn a_plot_that_stands_alone_brings_its_colours() {
        let figures = figures::all(&model(Options::quick()), Lang::En);
        let svg = standalone(&figures[0].panels[0].1);
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<style>").count(), 1);
        assert!(svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn all_colours_of_the_palette_exist_in_both_themes() {
        for i in 0..crate::compare::plot::COLOURS {
            assert_eq!(PLOT_STYLE.matches(&format!("--s{i}:")).count(), 2, "--s{i}");
            assert!(PLOT_STYLE.contains(&format!(".s{i} ")), ".s{i}");
        }
    }
}
