//! What a monitoring system asks a server: is it well, and what has it counted.
//!
//! `/_loop/health` says that somebody answers ("pass", draft-inadarei-api-health-check §3.1); `/_loop/metrics` has the
//! counters as Prometheus text (exposition format 0.0.4). Neither describes a client, so neither costs the loop
//! anything while nobody asks.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::guard::Asker;
use super::serve::response;
use crate::http::{CloseReason, Method, Request, Status, Target};
use crate::service::{Context, Response, Service};
use crate::stats::Stats;

/// A service with `/_loop/health` and `/_loop/metrics` in front of it.
#[derive(Debug)]
pub struct Monitor<S> {
    inner: S,
    model: &'static str,
    started: Instant,
    /// Whether other machines may ask too; otherwise only this one, under a name of this machine.
    anyone: bool,
    /// Whether one worker's counters are those of the whole server.
    counts: bool,
}

impl<S: Service> Monitor<S> {
    /// In front of `inner`; `model` is the name of the I/O model that serves since `started`. `anyone`: other machines
    /// may ask too. Without `counts`, where each client has counters of its own, there is only `/_loop/health`.
    pub const fn new(inner: S, model: &'static str, started: Instant, anyone: bool, counts: bool) -> Self {
        Self { inner, model, started, anyone, counts }
    }

    /// `None`: not ours.
    fn answer(&self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        let Target::Origin { path, .. } = request.target else { return None };
        let name = path.strip_prefix("/_loop/")?;
        if !matches!(request.method, Method::Get | Method::Head)
            || !(self.anyone || Asker::new(request, context.peer).may_look())
        {
            return None;
        }
        let (kind, body) = match name {
            "health" => ("application/json", "{\"status\":\"pass\"}\n".to_owned()),
            "metrics" if self.counts => {
                let uptime = context.now.saturating_duration_since(self.started);
                ("text/plain; version=0.0.4; charset=utf-8", render(context.stats, self.model, uptime))
            }
            _ => return None,
        };
        Some(response(Status::OK, kind, body))
    }
}

impl<S: Service> Service for Monitor<S> {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        self.answer(request, context).or_else(|| self.inner.respond(request, context))
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        self.inner.refuse(status, why)
    }
}

fn render(stats: &Stats, model: &str, uptime: Duration) -> String {
    let mut out = Metrics(String::with_capacity(6 * 1024));
    // Taken apart field by field, so that a new counter cannot be forgotten here.
    let Stats {
        sweeps,
        idle_sweeps,
        accepts,
        accept_would_blocks,
        reads,
        read_would_blocks,
        writes,
        write_would_blocks,
        disk_would_blocks,
        waits,
        wakeups,
        watches,
        bytes_in,
        bytes_out,
        answers,
        clients_now,
        clients_peak,
        clients_total,
        clients_refused,
        closed,
        accept_pauses,
        sleeps,
        sleep_asked_ns,
        slept_ns,
        yields,
        log_lines_dropped,
    } = *stats;
    let calls = |a, r, w| [("call=\"accept\"", a), ("call=\"read\"", r), ("call=\"write\"", w)];
    out.family("info", "gauge", "What runs; always 1.");
    let _ =
        writeln!(out.0, "wouldblock_info{{version=\"{}\",model=\"{}\"}} 1", env!("CARGO_PKG_VERSION"), model);
    out.seconds("uptime_seconds", "gauge", "Time since the server started.", uptime);
    out.one("sweeps_total", "counter", "Passes of the loop.", sweeps);
    out.one("idle_sweeps_total", "counter", "Passes in which no attempt got anywhere.", idle_sweeps);
    out.family("attempts_total", "counter", "Nonblocking calls tried.");
    out.labelled("attempts_total", calls(accepts, reads, writes));
    out.family("would_block_total", "counter", "Attempts that would have blocked.");
    out.labelled("would_block_total", calls(accept_would_blocks, read_would_blocks, write_would_blocks));
    out.one(
        "disk_would_block_total",
        "counter",
        "Turns in which a piece of a file was not in memory yet.",
        disk_would_blocks,
    );
    out.one(
        "waits_total",
        "counter",
        "Calls that ask the kernel who is ready, or sleep until someone is.",
        waits,
    );
    out.one("wakeups_total", "counter", "Descriptors those calls named as ready.", wakeups);
    out.one("watches_total", "counter", "Calls that change what the kernel watches.", watches);
    out.one("received_bytes_total", "counter", "Octets read from clients.", bytes_in);
    out.one("sent_bytes_total", "counter", "Octets written to clients.", bytes_out);
    out.family("answers_total", "counter", "Requests answered, by the class of the status.");
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| format!("class=\"{class}\""));
    out.labelled("answers_total", classes.iter().zip(answers).map(|(class, count)| (class.as_str(), count)));
    out.one("connections", "gauge", "Connections open now.", clients_now);
    out.one("connections_peak", "gauge", "Most connections open at one time.", clients_peak);
    out.one("connections_total", "counter", "Connections accepted.", clients_total);
    out.one(
        "connections_refused_total",
        "counter",
        "Connections turned away because the model could not serve them.",
        clients_refused,
    );
    out.family("connections_closed_total", "counter", "Connections closed, by reason.");
    let reasons = CloseReason::NAMES.map(|name| format!("reason=\"{}\"", name.replace(' ', "_")));
    out.labelled(
        "connections_closed_total",
        reasons.iter().zip(closed).map(|(r, count)| (r.as_str(), count)),
    );
    out.one(
        "accept_pauses_total",
        "counter",
        "Times no descriptor was free for a new connection.",
        accept_pauses,
    );
    out.one("sleeps_total", "counter", "Sleeps of the idle strategy.", sleeps);
    let asked = Duration::from_nanos(sleep_asked_ns);
    out.seconds("sleep_asked_seconds_total", "counter", "Time asked to sleep.", asked);
    out.seconds("slept_seconds_total", "counter", "Time slept.", Duration::from_nanos(slept_ns));
    out.one("yields_total", "counter", "Yields of the idle strategy.", yields);
    out.one("log_lines_dropped_total", "counter", "Log lines that could not be written.", log_lines_dropped);
    out.0
}

/// Prometheus text; every name begins with `wouldblock_`.
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP wouldblock_{name} {help}\n# TYPE wouldblock_{name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "wouldblock_{name} {value}");
    }

    fn seconds(&mut self, name: &str, kind: &str, help: &str, value: Duration) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "wouldblock_{name} {}.{:09}", value.as_secs(), value.subsec_nanos());
    }

    fn labelled<'l>(&mut self, name: &str, rows: impl IntoIterator<Item = (&'l str, u64)>) {
        for (label, value) in rows {
            let _ = writeln!(self.0, "wouldblock_{name}{{{label}}} {value}");
        }
    }
}
