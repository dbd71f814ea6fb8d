"""Makes a table, a plot and a JSON file of the cells that run.sh measured: medians and spreads, and ours as a ratio of
the best peer. Standard library only."""

import argparse
import html
import json
import os
import platform
import statistics
import sys
import time

SCENARIOS = {
    "1k-1": "1 KiB × 1 client",
    "1k-16": "1 KiB × 16",
    "1k-64": "1 KiB × 64",
    "1k-256": "1 KiB × 256",
    "silent-16": "1 KiB × 16 beside {silent} silent",
    "100k-16": "100 KiB × 16",
    "10m-4": "10 MiB × 4",
    "new-16": "a new connection each × 16",
    "pipelined-16": "pipelined 16 deep × 16",
}
SERVERS = {
    "nginx": "nginx",
    "lighttpd": "lighttpd",
    "h2o": "h2o",
    "spin": "wouldblock, spin",
    "backoff": "wouldblock, backoff",
    "park": "wouldblock, park",
    "limit": "limit: fixed answer, no parsing",
}
# The scenario that stands beside silent-16, and is only told as a ratio.
ALONE = "alone-16"
PEERS = ("nginx", "lighttpd", "h2o")
OURS = ("spin", "backoff", "park")


# Longer bars are cut, and their ratio written, or one scenario would flatten all others.
LONGEST_BAR = 3

# No head of any of these servers is longer; so many answers can be under way when the time is over.
HEAD_OCTETS = 2048
PIPELINE = 16


# Of fewer turns quarters say nothing.
FEW = 8


def fault(cell):
    """Why a run does not count; None if it does."""
    load, silent = cell["load"], cell["silent_held"]
    if not load:
        return f"no answers beside {silent:,} silent connections" if silent else "the client gave no result"
    if not load["requests"]:
        # lighttpd lets in half as many clients as it may have descriptors, whatever its configuration says.
        return f"no answers beside {silent:,} silent connections" if silent else "no answers"
    # lighttpd ends a connection after 65,535 requests; wrk counts what it had asked on it as a read error. wrk also
    # counts the end of a connection that it asked to be closed. Our client gives up at the first other error.
    allowed = {"read": load["requests"] if cell["scenario"] == "new-16" else load["requests"] // 10_000}
    errors = [f"{load[kind]} {kind} errors" for kind in ("connect", "read", "write", "status", "timeout")
              if load.get(kind, 0) > allowed.get(kind, 0)]
    if cell["silent_alive"] < silent:
        errors.append(f"{silent - cell['silent_alive']} silent connections dropped")
    least = load["requests"] * cell["size"]
    most = (load["requests"] + PIPELINE * cell["connections"]) * (cell["size"] + HEAD_OCTETS)
    if not least <= load["bytes"] <= most:
        errors.append(f"{load['bytes']:,} octets for {load['requests']:,} answers of {cell['size']:,}")
    return ", ".join(errors) or None


def read(path):
    """{(server, scenario): [cell]}, and what was thrown away."""
    cells, bad = {}, []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            cell = json.loads(line)
            load = cell["load"]
            key = (cell["server"], cell["scenario"])
            why = fault(cell)
            if why:
                bad.append((*key, why))
                continue
            cell["rate"] = load["requests"] * 1e6 / load["microseconds"]
            cell["cpu_us"] = cell["processor_ns"] / 1e3 / load["requests"]
            cells.setdefault(key, []).append(cell)
    return cells, bad


def thousands(rate):
    return f"{rate / 1000:.0f} k" if rate >= 10_000 else f"{rate:,.0f}"


def half_of_them(rates):
    """How far from the middle half of the rates lie; of few, all of them."""
    if len(rates) < FEW:
        return (max(rates) - min(rates)) / 2
    quarters = statistics.quantiles(rates, n=4)
    return (quarters[2] - quarters[0]) / 2


def median(cells, what):
    return statistics.median(cell[what] for cell in cells)


def beside_none(cells, server):
    """What of its own rate a server has left beside silent connections: the median over turns; None if not measured."""
    alone = {cell["turn"]: cell["rate"] for cell in cells.get((server, ALONE), [])}
    ratios = [cell["rate"] / alone[cell["turn"]] for cell in cells.get((server, "silent-16"), []) if cell["turn"] in alone]
    return statistics.median(ratios) if ratios else None


def latency(group):
    if any(cell["load"]["p50"] is None for cell in group):
        return "–"
    p50, p99 = (statistics.median(cell["load"][what] for cell in group) for what in ("p50", "p99"))
    # wrk drops latencies that it thinks impossible, which with pipelines can be nearly all of them.
    return f"{p50:.0f} / {p99:.0f}" if p99 >= p50 else "–"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cells")
    parser.add_argument("out")
    parser.add_argument("--turn")
    parser.add_argument("--turns", type=int)
    parser.add_argument("--commit")
    parser.add_argument("--versions")
    parser.add_argument("--pinned", default="unpinned")
    parser.add_argument("--client", default="wrk")
    args = parser.parse_args()
    cells, bad = read(args.cells)
    if not cells:
        sys.exit("nothing was measured")
    servers = [server for server in SERVERS if any(key[0] == server for key in cells)]
    scenarios = [scenario for scenario in SCENARIOS if any(key[1] == scenario for key in cells)]
    silent = max(cell["silent_held"] for group in cells.values() for cell in group)
    names = {scenario: SCENARIOS[scenario].format(silent=f"{silent:,}") for scenario in scenarios}
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.machine())
    machine = (f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {cpu}, Linux {platform.release()}, loopback, "
               f"{args.pinned} ({'ours, which spins' if args.client == 'spin' else 'wrk'}); medians of {args.turns} turns of {args.turn} s, "
               f"{'half of them' if args.turns >= FEW else 'all'} within ±; wouldblock {args.commit}; {args.versions}")

    lines = [machine, "", "| requests/s | " + " | ".join(names.values()) + " |", "|---|" + "---|" * len(names)]
    for server in servers:
        row = []
        for scenario in scenarios:
            group = cells.get((server, scenario))
            if not group:
                row.append("–")
                continue
            rates = [cell["rate"] for cell in group]
            spread = half_of_them(rates) / statistics.median(rates) * 100
            row.append(f"{thousands(statistics.median(rates))}" + (f" ±{spread:.0f} %" if len(rates) > 1 else ""))
        lines.append(f"| {SERVERS[server]} | " + " | ".join(row) + " |")
    for ours in OURS:
        for name, others in (("best peer", PEERS), ("limit", ("limit",))):
            row = []
            for scenario in scenarios:
                rates = [median(cells[other, scenario], "rate") for other in others if (other, scenario) in cells]
                mine = cells.get((ours, scenario))
                row.append(f"{median(mine, 'rate') / max(rates):.2f} ×" if rates and mine else "–")
            if any(cell != "–" for cell in row):
                lines.append(f"| **{ours} ÷ {name}** | " + " | ".join(row) + " |")
    left = {server: beside_none(cells, server) for server in servers}
    if any(left.values()):
        lines += ["", f"Beside {silent:,} silent connections, of its own rate beside none in the same turns: "
                  + ", ".join(f"{server} {ratio:.2f}" for server, ratio in left.items() if ratio) + "."]
    for title, show in (
        ("CPU of the server, µs a request", lambda group: f"{median(group, 'cpu_us'):.2f}"),
        ("closed loop, p50 / p99, µs", latency),
        ("memory (proportional set), MiB", lambda group: f"{median(group, 'memory_kib') / 1024:.1f}"),
    ):
        lines += ["", f"| {title} | " + " | ".join(names.values()) + " |", "|---|" + "---|" * len(names)]
        for server in servers:
            row = [show(cells[server, scenario]) if (server, scenario) in cells else "–" for scenario in scenarios]
            lines.append(f"| {SERVERS[server]} | " + " | ".join(row) + " |")
    if bad:
        lines += ["", "Thrown away: " + "; ".join(f"{server}, {scenario}: {why}" for server, scenario, why in sorted(set(bad))) + "."]
    table = "\n".join(lines) + "\n"
    print(table)
    with open(os.path.join(args.out, "table.md"), "w", encoding="utf-8") as file:
        file.write(table)
    with open(os.path.join(args.out, "results.json"), "w", encoding="utf-8") as file:
        lines = ",\n".join(json.dumps(cell) for group in cells.values() for cell in group)
        file.write(f'{{"machine": {json.dumps(machine)}, "cells": [\n{lines}\n]}}\n')
    with open(os.path.join(args.out, "plot.svg"), "w", encoding="utf-8") as file:
        file.write(plot(cells, servers, scenarios, names, machine))


COLOURS = {"nginx": "#8a8f98", "lighttpd": "#a9a08f", "h2o": "#7d94a8", "spin": "#c8442c", "backoff": "#e08a4a",
           "park": "#e6b45c", "limit": "none"}


def plot(cells, servers, scenarios, names, machine):
    """Groups of bars, each group in units of its best peer, so that one scale fits all of them."""
    left, bar, gap, width = 230, 11, 16, 860
    shown = [server for server in servers if server != "limit"]
    rows, y = [], 54
    scale = 0
    ratios = {}
    for scenario in scenarios:
        best = max((median(cells[peer, scenario], "rate") for peer in PEERS if (peer, scenario) in cells), default=0)
        for server in shown:
            if best and (server, scenario) in cells:
                ratios[server, scenario] = median(cells[server, scenario], "rate") / best
                scale = max(scale, ratios[server, scenario])
    if not ratios:
        return "<svg xmlns='http://www.w3.org/2000/svg'/>\n"
    unit = (width - left - 130) / min(scale, LONGEST_BAR)
    for scenario in scenarios:
        group = [server for server in shown if (server, scenario) in ratios]
        if not group:
            continue
        middle = y + len(group) * bar / 2 + 4
        rows.append(f"<text x='{left - 10}' y='{middle:.0f}' text-anchor='end'>{html.escape(names[scenario])}</text>")
        for server in group:
            ratio = ratios[server, scenario]
            rate = thousands(median(cells[server, scenario], "rate"))
            if ratio > LONGEST_BAR:
                rate, ratio = f"→ {rate}, {ratio:.1f} ×", LONGEST_BAR
            rows.append(f"<rect x='{left}' y='{y}' width='{ratio * unit:.1f}' height='{bar - 2}' "
                        f"fill='{COLOURS[server]}'/><text class='s' x='{left + ratio * unit + 5:.1f}' "
                        f"y='{y + bar - 3}'>{rate}</text>")
            y += bar
        y += gap
    legend, x = [], left
    for server in shown:
        legend.append(f"<rect x='{x}' y='26' width='10' height='10' fill='{COLOURS[server]}'/>"
                      f"<text class='s' x='{x + 14}' y='35'>{html.escape(SERVERS[server])}</text>")
        x += 26 + 6 * len(SERVERS[server])
    line = f"<line x1='{left + unit:.1f}' x2='{left + unit:.1f}' y1='46' y2='{y - gap + 4}' class='l'/>"
    words, foot = machine.split(" "), [""]
    for word in words:
        if len(foot[-1]) + len(word) > 130:
            foot.append("")
        foot[-1] += word + " "
    notes = "".join(f"<text class='s' x='10' y='{y + 12 + 13 * n}'>{html.escape(text)}</text>"
                    for n, text in enumerate(foot))
    height = y + 12 + 13 * len(foot)
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' font-family='sans-serif' "
            f"font-size='12'><style>svg{{background:#fff}}text{{fill:#222}}.s{{font-size:10px;fill:#555;"
            f"paint-order:stroke;stroke:#fff;stroke-width:3px}}.l{{stroke:#222;stroke-dasharray:3 3}}"
            f"@media(prefers-color-scheme:dark){{svg{{background:#16181c}}text{{fill:#e8e8e8}}"
            f".s{{fill:#aaa;stroke:#16181c}}.l{{stroke:#e8e8e8}}}}</style>"
            f"<text x='10' y='16' font-weight='bold'>Requests per second, in units of the best peer (dashed); more is "
            f"better</text>{''.join(legend)}{line}{''.join(rows)}{notes}</svg>\n")


main()
