#!/usr/bin/env python3
"""What our server does beside python3 -m http.server, darkhttpd and miniserve: starts each that is installed over a
folder of its own on a loopback port, asks over raw sockets, and prints the table of what it saw. Nothing is known about
a server beforehand but how it is started and which of its flags to try. «?» means that a probe could not decide, and
why. What was not seen but read in a server's --help says so. Takes about half a minute; Linux, standard library only.
"""

import argparse
import contextlib
import functools
import gzip
import html
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

from servers import BIG, CHANGED, PATIENCE, TEXT, Connection, Undecided, certificate, installed, lay_out, request

MANY = 500  # connections at once, below the 1,024 descriptors of select(2)
PASSWORD = "open sesame"
LOGIN = "Basic dXNlcjpvcGVuIHNlc2FtZQ=="  # user:PASSWORD
HASHES = {  # of PASSWORD
    "bcrypt": "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy",
    "SHA-256": "sha256:41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb",
}
COUNTERS = ("/_loop/metrics", "/metrics", "/status", "/stats", "/server-status")


def yes(seen):
    return "yes" if seen else "no"


# ---- the rows: each takes a server and flags and returns its cell -------------------------------------------------


def keep_alive(server, flags):
    with server.running(*flags) as (port, _):
        def second(together):
            connection = Connection(server, port)
            both = request("/text.txt"), request("/folder/a.txt")
            try:
                connection.send(both[0] + both[1] if together else both[0])
                first = connection.answer()
                if first.body != TEXT:
                    raise Undecided(f"{first.status} to the first request")
                if not together:
                    connection.send(both[1])
                return yes(connection.answer().body == b"x" * 30)
            except TimeoutError:
                return f"no (the second request is not answered in {PATIENCE} s)"
            except ConnectionError:
                return "no"
        return [second(together=False), second(together=True)]


def ranges(server, flags):
    with server.running(*flags) as (port, _):
        ask = functools.partial(server.ask, port, "/text.txt")
        one = ask(Range="bytes=10-19")
        single = one.status == 206 and one.body == TEXT[10:20]
        two = ask(Range="bytes=0-9,20000-20009")  # far apart: near ones may be sent as one
        if two.status != 206:
            several = "no"
        elif two.body == TEXT[:10]:
            several = "first only"
        else:
            several = yes("multipart/byteranges" in two["content-type"] and TEXT[20000:20010] in two.body)
        tag = one["etag"] or one["last-modified"]
        same, other = (ask(Range="bytes=10-19", If_Range=value).status for value in (tag, '"another"'))
        condition = {(206, 200): "yes", (206, 206): "no (a part whatever the tag)"}.get((same, other), "no")
        return [yes(single), several, condition]


def validators(server, flags):
    with server.running(*flags) as (port, _):
        ask = functools.partial(server.ask, port, "/text.txt")
        whole = ask()
        tag, date = whole["etag"], whole["last-modified"]
        by_tag = bool(tag) and ask(If_None_Match=tag).status == 304 and ask(If_None_Match='"another"').status == 200
        dates = [ask(If_Modified_Since=formatdate(CHANGED + days * 86400, usegmt=True)).status for days in (-1, 0, 1)]
        by_date = {(200, 304, 304): "by date", (200, 304, 200): "by the exact date only"}.get(tuple(dates))
        ways = " and ".join(way for way in ("by tag" if by_tag else None, by_date) if way)
        return [yes(tag), yes(date), ways or "no"]


def compression(server, flags):
    with server.running(*flags) as (port, _):
        found = []
        for ending, coding in (("br", "br"), ("zst", "zstd"), ("gz", "gzip")):
            answer = server.ask(port, "/pre.txt", Accept_Encoding=coding)
            if answer["content-encoding"] == coding and answer.body == (server.root / f"pre.txt.{ending}").read_bytes():
                found.append(f"`.{ending}`")
        answer = server.ask(port, "/text.txt", Accept_Encoding="gzip")
        fly = answer["content-encoding"] == "gzip" and gzip.decompress(answer.body) == TEXT
        return [" ".join(found) or "no", yes(fly)]


def listing(server, flags):
    def order(body):
        return sorted((body.find(name), name) for name in (b"a.txt", b"b.txt", b"c.txt"))

    with server.running(*flags) as (port, _):
        page = server.ask(port, "/folder/")
        listed = page.status == 200 and order(page.body)[0][0] >= 0
        links = {html.unescape(link) for link in re.findall(r'href="?([^"\s>]*\?[^"\s>]*)', page.body.decode())}
        sorts = False
        for link in sorted(links):
            again = server.ask(port, urllib.parse.urljoin("/folder/", link))
            turned = [name for _, name in order(again.body)] != [name for _, name in order(page.body)]
            sorts = sorts or again.status == 200 and order(again.body)[0][0] >= 0 and turned
        try:
            data = server.ask(port, "/folder/", Accept="application/json").body
            as_json = "a.txt" in json.dumps(json.loads(data))
        except ValueError:
            as_json = False
        return [yes(listed), yes(listed and sorts), yes(as_json)]


def refusals(server, flags):
    with server.running(*flags) as (port, _):
        seen = [server.ask(port, "/text.txt", method, Content_Length=0) for method in ("POST", "DELETE")]
    if all(answer.status == 405 and answer["allow"] for answer in seen):
        return ["yes"]
    return ["no (" + ", ".join(sorted({str(answer.status) for answer in seen})) + ")"]


def links(server, flags):
    with server.running(*flags) as (port, _):
        seen = [server.ask(port, path) for path in ("/link.txt", "/link/secret.txt")]
    words = {"followed" if answer.body == b"outside\n" else f"refused ({answer.status})" for answer in seen}
    return [" / ".join(sorted(words))]


def dot_names(server, flags):
    with server.running(*flags) as (port, _):
        status = server.ask(port, "/.hidden").status
        return ["served" if status == 200 else str(status)]


def limit(server, flags):
    limited = server.instead.get("limit")
    if limited:  # with a limit of 4: twelve at once take the head of a big answer and stop there
        with server.running(*limited) as (port, _):
            clients = [Connection(server, port, window=4096) for _ in range(12)]
            for client in clients:
                client.socket.sendall(request("/big.bin"))
                client.socket.settimeout(0)
            time.sleep(2)
            served = 0
            for client in clients:
                with contextlib.suppress(OSError):
                    served += client.head()[0] == 200
        return ["enforced" if served == 4 else f"not enforced (`{' '.join(limited)}`: {served} of 12 at once served)"]
    if flag := server.flag("max-?conn"):
        raise Undecided(f"{flag} was not tried")
    with server.running(*server.instead.get("alive", ())) as (port, _):
        clients, start = [], time.monotonic()
        with contextlib.suppress(OSError):  # a server that has enough may refuse, close or say nothing
            for _ in range(MANY):
                client = Connection(server, port)
                client.socket.sendall(request("/folder/a.txt"))
                if client.answer().status == 200:
                    clients.append(client)
                del server.evidence[8:]
        alive, took = sum(client.is_open() for client in clients), time.monotonic() - start
    if alive < MANY and took > 2:
        raise Undecided(f"{alive} of {MANY} were left, but after {took:.0f} s that may be the deadline for idle ones")
    return [f"no flag (`--help`), {alive} of {MANY} at once served"]


def deadlines(server, flags):
    with server.running(*server.instead.get("deadlines", ())) as (port, _):
        def timed(octets, dribble=False):
            connection = Connection(server, port)
            connection.socket.sendall(octets)
            if octets.endswith(b"\r\n\r\n") and connection.answer().status != 200:
                raise Undecided("no answer to idle after")
            return connection.closed_after(server.wait, dribble)

        def stalled():
            connection = Connection(server, port, window=4096)
            connection.socket.sendall(request("/big.bin"))
            return server.wait if connection.missing(lambda: time.sleep(server.wait)) else None

        partial = b"GET /text.txt HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: a"
        jobs = {"silent head": (timed, partial), "dribbled head": (timed, partial, True), "idle": (timed, b""),
                "idle after an answer": (timed, request("/text.txt")), "stalled reader": (stalled,)}
        with ThreadPoolExecutor(len(jobs)) as pool:
            running = {what: pool.submit(*job) for what, job in jobs.items()}
            seen = {what: future.result() for what, future in running.items()}
    for what, seconds in seen.items():
        server.note(f"{what}: " + (f"ended within {seconds:.1f} s" if seconds else f"open after {server.wait} s"))
    for short, both in (("head", ("silent head", "dribbled head")), ("idle", ("idle", "idle after an answer"))):
        if len({bool(seen[what]) for what in both}) == 1:
            seen = {short: seen[both[1]]} | {what: value for what, value in seen.items() if what not in both}
    order = ("head", "silent head", "dribbled head", "idle", "idle after an answer", "stalled reader")
    return [f"{what} {'yes' if seen[what] else f'> {server.wait} s'}" for what in order if what in seen]


def secrets(server, flags):
    def lets_in(secret):
        try:
            with server.running("--auth", f"user:{secret}") as (port, _):
                return (server.ask(port, "/text.txt").status == 401
                        and server.ask(port, "/text.txt", Authorization=LOGIN).status == 200)
        except Undecided as why:
            server.note(str(why))
            return False

    tls = "no flag (`--help`)"
    if server.flag("(?:tls-cert|ssl|cert)"):
        with tempfile.TemporaryDirectory() as folder, server.running(*certificate(folder)) as (port, _):
            tls = yes(server.ask(port, "/text.txt", tls=True).body == TEXT)
    if not server.flag("auth"):
        return [tls, "no flag (`--help`)"]
    hashed = [name for name, value in HASHES.items() if lets_in(value)]
    return [tls, ("with " + ", ".join(hashed)) if hashed else "plain only" if lets_in(PASSWORD) else "?"]


def termination(server, flags):
    with server.running(*flags) as (port, process):
        def stop():
            process.send_signal(signal.SIGTERM)
            time.sleep(1)

        connection = Connection(server, port, window=1 << 16)
        connection.send(request("/big.bin"))
        missing = connection.missing(stop)
        server.note(f"SIGTERM after the head of {BIG:,} octets, a second later the rest: {missing:,} octets missing")
        return [yes(not missing)]


def sockets(server, flags):
    with tempfile.TemporaryDirectory() as folder:
        path, unix = f"{folder}/socket", "no flag (`--help`)"
        if flags := server.instead.get("unix"):
            with server.running(*(part.format(path=path) for part in flags), path=path) as (port, _):
                unix = yes(server.ask(port, "/text.txt", path=path).body == TEXT)
        elif re.search(r"unix(?:[- ]domain)?[- ]socket|unix:", server.help, re.I):
            raise Undecided("--help speaks of a Unix socket, and no flag was tried")
    with socket.create_server(("127.0.0.1", 0)) as listener, server.running(listener=listener):
        try:
            handed = server.ask(listener.getsockname()[1], "/text.txt").body == TEXT
        except TimeoutError:
            server.note(f"< nothing in {PATIENCE} s on the socket handed over")
            handed = False
    return [unix, yes(handed)]


def models(server, flags):
    chosen = "no flag (`--help`)"
    if flag := server.flag("model|event|backend|io-"):
        listed = server.help.partition("\nModels:\n")[2].partition("\n\n")[0]
        names = re.findall(r"^  ([a-z-]+)  +\w", listed, re.M)
        if not names:
            raise Undecided(f"{flag} was not tried: --help lists no models")
        count = 0
        for name in names:
            with server.running(flag, name) as (port, _):
                count += server.ask(port, "/text.txt").body == TEXT
        chosen = f"{count} of {len(names)}"
    with server.running() as (port, _):
        live = False
        for path in COUNTERS:
            first, again = server.ask(port, path), server.ask(port, path)
            live = live or first.status == again.status == 200 and first.body != again.body
    return [chosen, yes(live)]


ROWS = {
    "keep-alive, pipelining": keep_alive,
    "ranges, several ranges, If-Range": ranges,
    "ETag, Last-Modified, 304": validators,
    "precompressed neighbours, gzip on the fly": compression,
    "listing, sortable, JSON": listing,
    "405 with `Allow`": refusals,
    "links out of the folder": links,
    "dot names": dot_names,
    "limit of connections": limit,
    "deadlines: head, idle, a reader that stalls": deadlines,
    "TLS, basic auth with hashes": secrets,
    "answers in flight finish at SIGTERM": termination,
    "Unix socket, systemd sockets": sockets,
    "I/O model chosen at run time, live counters": models,
}


def cell(probe, server):
    """What one row says of one server, and with the flags worth trying if they change it."""
    def seen(flags):
        try:
            return ", ".join(probe(server, flags))
        except Undecided as why:
            return f"? ({why})"
        except (OSError, ValueError, LookupError, TypeError, subprocess.SubprocessError) as why:  # no known answer
            return f"? ({type(why).__name__}: {why})"

    plain, flags = seen(()), server.also.get(probe.__name__)
    with_flags = seen(flags) if flags else plain
    return plain if with_flags == plain else f"{plain}; `{' '.join(flags)}`: {with_flags}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("wouldblock", "darkhttpd", "miniserve"):
        parser.add_argument(f"--{name}", metavar="FILE", help="this binary")
    parser.add_argument("--python", metavar="FILE", default=sys.executable, help="this interpreter's http.server")
    parser.add_argument("--wait", metavar="S", type=int, default=15, help="wait so long for a deadline (default 15)")
    parser.add_argument("--verbose", action="store_true", help="after the table, what was sent and seen for each cell")
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    servers = list(installed(args))
    with tempfile.TemporaryDirectory() as top, ThreadPoolExecutor(6) as pool:
        root = lay_out(Path(top))
        jobs = {}
        for title, probe in sorted(ROWS.items(), key=lambda row: row[1] is not deadlines):  # the longest first
            for server in servers:
                view = server.over(root, args.wait)
                jobs[title, server.name] = view, pool.submit(cell, probe, view)
        cells = {key: future.result() for key, (_, future) in jobs.items()}
    print("; ".join(server.over(root, 0).version() for server in servers) + "\n")
    print("| | " + " | ".join(server.name for server in servers) + " |\n|---" + "|---" * len(servers) + "|")
    for title in ROWS:
        print(f"| {title} | " + " | ".join(cells[title, server.name] for server in servers) + " |")
    if args.verbose:
        for title in ROWS:
            for server in servers:
                print(f"\n## {server.name}: {title}: {cells[title, server.name]}")
                print("\n".join("   " + line for line in jobs[title, server.name][0].evidence))
    sys.exit(any("?" in text for text in cells.values()))


if __name__ == "__main__":
    main()
