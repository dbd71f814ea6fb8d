//! The board as JSON, and as a page for browsers without scripts.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use super::board::{Call, Cell, State};
use crate::service::{Context, Peer};
use crate::stats::Stats;

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
const SCHEMA: u64 = 1;

/// What is rendered: the board, and the counters as they stand in the middle of the sweep that answers.
pub(super) struct Scene<'a> {
    state: &'a State,
    stats: &'a Stats,
    now: Instant,
    unix_time: u64,
    port: u16,
    model: &'static str,
    page_requests: u64,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        state: &'a State,
        context: &Context<'a>,
        model: &'static str,
        page_requests: u64,
    ) -> Self {
        let port = match context.peer {
            Peer::Ip(address) => address.port(),
            Peer::Unix => 0,
        };
        Self {
            state,
            stats: context.stats,
            now: context.now,
            unix_time: context.unix_time,
            port,
            model,
            page_requests,
        }
    }

    pub(super) fn render(&self, name: &str, query: &str) -> String {
        match name {
            "/stats.json" => self.json(query),
            _ => self.page(),
        }
    }

    fn uptime(&self) -> Duration {
        self.now.saturating_duration_since(self.state.started)
    }

    /// One row per client; arrays, because at 400 clients and four looks a second names would be most of it.
    fn row(&self, cell: &Cell) -> serde_json::Value {
        json!([
            cell.id,
            cell.port,
            cell.state.letter().to_string(),
            u8::from(cell.hot),
            millis(cell.age),
            millis(cell.quiet),
            cell.bytes_in,
            cell.bytes_out,
            cell.requests,
            u8::from(self.state.silent_ports.contains(&cell.port)),
        ])
    }

    fn json(&self, query: &str) -> String {
        let state = self.state;
        let mut all = json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "model": self.model,
            "at_ms": millis(self.uptime()),
            "unix_time": self.unix_time,
            "settings": {
                "idle": state.settings.idle.to_string(),
                "sweep": state.settings.sweep.to_string(),
                "read_limit": state.settings.read_limit,
            },
            "stats": self.stats,
            "requests": self.stats.requests(),
            "page": { "requests": self.page_requests, "port": self.port },
            "silent": {
                "wanted": state.silent_wanted,
                "open": state.silent_ports.len(),
                "ends_in_ms": state.silent_until.map(|at| millis(at.saturating_duration_since(self.now))),
            },
            "clients": {
                "fields": ["id", "port", "state", "hot", "age_ms", "quiet_ms", "bytes_in", "bytes_out", "requests", "ours"],
                "rows": state.cells.iter().map(|cell| self.row(cell)).collect::<Vec<_>>(),
                "more": state.cells_more,
            },
            "record_of": state.record.as_ref().map(|record| record.number),
        });
        if let Some(object) = all.as_object_mut() {
            if query.contains("history") {
                object.insert("history".into(), self.history());
            }
            if query.contains("record") {
                object.insert("record".into(), self.record());
            }
        }
        all.to_string()
    }

    /// The fields that the strip charts need, one array per second.
    fn history(&self) -> serde_json::Value {
        json!({
            "fields": [
                "at_ms", "sweeps", "idle_sweeps", "accepts", "accept_would_blocks", "reads", "read_would_blocks",
                "writes", "write_would_blocks", "slept_ns", "requests", "clients_now",
            ],
            "rows": self.state.history.iter().map(|sample| {
                let stats = &sample.stats;
                json!([
                    millis(sample.at), stats.sweeps, stats.idle_sweeps, stats.accepts, stats.accept_would_blocks,
                    stats.reads, stats.read_would_blocks, stats.writes, stats.write_would_blocks, stats.slept_ns,
                    stats.requests(), stats.clients_now,
                ])
            }).collect::<Vec<_>>(),
        })
    }

    fn record(&self) -> serde_json::Value {
        let Some(record) = &self.state.record else { return serde_json::Value::Null };
        json!({
            "sweep": record.number,
            "more": record.more,
            "fields": ["call", "id", "from_ns", "to_ns", "attempts", "would_blocks", "bytes_in", "bytes_out"],
            "rows": record.steps.iter().map(|step| {
                let call = match step.call { Call::Accept => "accept", Call::Poll => "poll", Call::Turn => "turn" };
                json!([
                    call, step.id, step.from_ns, step.to_ns, step.attempts, step.would_blocks, step.bytes_in,
                    step.bytes_out,
                ])
            }).collect::<Vec<_>>(),
        })
    }

    /// Works without scripts and in a text browser; reload it to see the numbers move.
    fn page(&self) -> String {
        let (state, stats) = (self.state, self.stats);
        let uptime = self.uptime().as_secs_f64().max(0.001);
        let mut out = String::with_capacity(8 * 1024);
        out.push_str(
            "<!doctype html>\n<html lang=\"zh-Hans\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>此刻的循环 · The loop at this moment</title>\n\
             <main>\n<h1>此刻的循环 <span lang=\"en\">The loop at this moment</span></h1>\n\
             <p>服务器按自己的计数器写成，刷新即更新。<span lang=\"en\">Written by the server from its own counters; \
             reload to see them move. The same as data: </span><a href=\"stats.json\">stats.json</a>, \
             <a href=\"metrics\">metrics</a>.</p>\n",
        );
        let _ = write!(
            out,
            "<p>model {} · idle {} · sweep {} · up {uptime:.1} s</p>\n<table>\n\
             <thead><tr><th scope=\"col\">计数 <span lang=\"en\">counter</span><th scope=\"col\">总数 \
             <span lang=\"en\">total</span><th scope=\"col\">平均每秒 <span lang=\"en\">mean per second</span></thead>\n<tbody>\n",
            self.model, state.settings.idle, state.settings.sweep,
        );
        for (zh, en, count) in [
            ("轮数", "sweeps", stats.sweeps),
            ("空转的轮", "idle sweeps", stats.idle_sweeps),
            ("尝试 accept", "accept attempts", stats.accepts),
            ("其中 WouldBlock", "of which WouldBlock", stats.accept_would_blocks),
            ("尝试 read", "read attempts", stats.reads),
            ("其中 WouldBlock", "of which WouldBlock", stats.read_would_blocks),
            ("尝试 write", "write attempts", stats.writes),
            ("其中 WouldBlock", "of which WouldBlock", stats.write_would_blocks),
            ("回答的请求", "requests answered", stats.requests()),
            ("其中看循环的", "of which looked at the loop", self.page_requests),
            ("睡眠次数", "sleeps", stats.sleeps),
            ("睡眠毫秒", "milliseconds asleep", stats.slept_ns / 1_000_000),
        ] {
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{zh} <span lang=\"en\">{en}</span><td>{count}<td>{:.1}",
                count as f64 / uptime
            );
        }
        let _ = write!(
            out,
            "</tbody></table>\n<h2>Vec：{} 个连接 <span lang=\"en\">{0} connections</span></h2>\n<table>\n<thead><tr>\
             <th scope=\"col\">id<th scope=\"col\">port<th scope=\"col\">state<th scope=\"col\">hot\
             <th scope=\"col\">age s<th scope=\"col\">quiet s<th scope=\"col\">in<th scope=\"col\">out\
             <th scope=\"col\">requests</thead>\n<tbody>\n",
            stats.clients_now
        );
        for cell in &state.cells {
            let you = if cell.port == self.port && self.port != 0 { " ← 你 you" } else { "" };
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}<td>{}{you}<td>{}<td>{}<td>{:.1}<td>{:.1}<td>{}<td>{}<td>{}",
                cell.id,
                cell.port,
                cell.state.letter(),
                if cell.hot { "hot" } else { "quiet" },
                cell.age.as_secs_f64(),
                cell.quiet.as_secs_f64(),
                cell.bytes_in,
                cell.bytes_out,
                cell.requests,
            );
        }
        let _ = write!(
            out,
            "</tbody></table>\n<p>I 等请求 <span lang=\"en\">idle</span> · H 头没收完 <span lang=\"en\">head</span> · \
             B 跳过请求体 <span lang=\"en\">body</span> · W 还欠字节 <span lang=\"en\">write</span> · \
             D 排空后关闭 <span lang=\"en\">drain</span>。第一次看时这里可能还空着：循环只在有人看的时候才描述连接。\
             <span lang=\"en\">Empty at the first look: the loop describes its clients only while somebody looks.</span></p>\n\
             <p><a href=\"/\">回到章节 <span lang=\"en\">back to the chapter</span></a></p>\n</main>\n",
        );
        out
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
