"""Servers that run at the same time, and take turns of a fraction of a second: whoever's turn it is not, is stopped
(SIGSTOP), and so is nobody's load but his. A machine that is slow for seconds or minutes is slow for all of them.
Standard library only; run.sh starts the servers, and says which. Prints a line of JSON for each turn."""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def tree(pid):
    """A process and its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from tree(int(child))


class Talking:
    """A process that answers a line with a line."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def expect(self):
        line = self.process.stdout.readline()
        if not line:
            raise ConnectionError(f"{self.name} gave up")
        return line

    def end(self):
        self.process.kill()
        self.process.wait()


class Spinning(Talking):
    """Our client. It keeps its connections from turn to turn."""

    def __init__(self, name, port, args):
        command = [*args.client, "--ask", f"127.0.0.1:{port}", args.path, *map(str, (
            args.size, args.connections, args.depth, args.turn))]
        super().__init__(f"the client of {name}", command + ["--close"] * args.close)
        self.is_new = True

    def warm_up(self):
        if not self.is_new:  # the first time it does so unasked
            self.say()
        self.is_new = False
        self.expect()

    def measure(self):
        self.say()
        return json.loads(self.expect())


class Wrk:
    """wrk, started anew each turn, with new connections."""

    def __init__(self, name, port, args):
        self.name = name
        self.command = [*args.client, "-t1", f"-c{args.connections}", f"-d{args.turn:.0f}s", "--timeout", "5s",
                        "-s", str(HERE / "wrk.lua"), f"http://127.0.0.1:{port}{args.path}"]
        self.environment = {**os.environ, "DEPTH": str(args.depth), "CLOSE": "yes" if args.close else ""}
        self.is_new = True

    def warm_up(self):
        if self.is_new:
            self.measure()
        self.is_new = False

    def measure(self):
        done = subprocess.run(self.command, env=self.environment, stdout=subprocess.PIPE, text=True)
        for line in done.stdout.splitlines():
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
        raise ConnectionError(f"the client of {self.name} gave up")

    def end(self):
        pass


class Contender:
    """A server, the client that asks nobody else, and connections that say nothing."""

    def __init__(self, name, pid, port, scenario, silent, args):
        self.name, self.pid, self.scenario, self.silent = name, pid, scenario, silent
        self.client = self.holder = None
        self.send(signal.SIGCONT)
        try:
            if silent:
                command = [sys.executable, str(HERE / "silent.py"), "127.0.0.1", str(port), str(silent)]
                self.holder = Talking(f"who holds silent connections to {name}", command)
                self.silent = int(self.holder.expect())
            self.client = (Wrk if args.wrk else Spinning)(name, port, args)
            self.client.warm_up()
        except ConnectionError:
            self.end()
            raise
        finally:
            self.send(signal.SIGSTOP)

    def send(self, number):
        for pid in tree(self.pid):
            os.kill(pid, number)

    def processor_ns(self):
        stats = [stat for pid in tree(self.pid) for stat in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(stat.read_text().split()[0]) for stat in stats)

    def memory_kib(self):
        maps = "".join(Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in tree(self.pid))
        return sum(int(line.split()[1]) for line in maps.splitlines() if line.startswith("Pss:"))

    def alive(self):
        """How many of the silent connections the server still keeps."""
        if not self.holder:
            return 0
        self.holder.say()
        return int(self.holder.expect())

    def turn(self, is_first):
        self.send(signal.SIGCONT)
        try:
            if not is_first:
                self.client.warm_up()
            before = self.processor_ns()
            load = self.client.measure()
            spent = self.processor_ns() - before
            memory = self.memory_kib()
        finally:
            self.send(signal.SIGSTOP)
        return {"processor_ns": spent, "memory_kib": memory, "silent_held": self.silent, "silent_alive": self.alive(),
                "load": load}

    def end(self):
        for process in (self.client, self.holder):
            if process:
                process.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("servers", help="a file with a line for each server: name, process, port, scenario, and how "
                        "many silent connections it holds")
    parser.add_argument("--path")
    parser.add_argument("--size", type=int)
    parser.add_argument("--connections", type=int)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--close", action="store_true", help="each request has a connection of its own")
    parser.add_argument("--turn", type=float, help="seconds")
    parser.add_argument("--turns", type=int)
    parser.add_argument("--wrk", action="store_true", help="the client is wrk")
    parser.add_argument("client", nargs="+", help="after --: the command of the client")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who interrupts wants no traceback
    contenders = []
    for line in Path(args.servers).read_text().splitlines():
        name, pid, port, scenario, silent = line.split()
        try:
            contenders.append(Contender(name, int(pid), port, scenario, int(silent), args))
        except (ConnectionError, ProcessLookupError) as why:
            print(f"left out: {scenario}: {why}", file=sys.stderr)
    for number in range(args.turns):
        random.shuffle(contenders)
        for contender in list(contenders):
            try:
                cell = contender.turn(number == 0)
            except (ConnectionError, ProcessLookupError) as why:
                print(f"left out: {contender.scenario}: {why}", file=sys.stderr)
                contender.end()
                contenders.remove(contender)
                continue
            print(json.dumps({"turn": number, "server": contender.name, "scenario": contender.scenario,
                              "connections": args.connections, "size": args.size, **cell}), flush=True)
    for contender in contenders:
        contender.end()


main()
