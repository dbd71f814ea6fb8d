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


def tree(pid):
    """A process and its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from tree(int(child))


class Contender:
    """A server, and the client that asks nobody else."""

    def __init__(self, name, pid, client):
        self.name, self.pid = name, pid
        self.client = subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, number):
        for pid in tree(self.pid):
            os.kill(pid, number)

    def expect(self):
        line = self.client.stdout.readline()
        if not line:
            raise ConnectionError(f"the client of {self.name} gave up")
        return line

    def say(self):
        self.client.stdin.write("\n")
        self.client.stdin.flush()

    def processor_ns(self):
        stats = [stat for pid in tree(self.pid) for stat in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(stat.read_text().split()[0]) for stat in stats)

    def memory_kib(self):
        maps = "".join(Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in tree(self.pid))
        return sum(int(line.split()[1]) for line in maps.splitlines() if line.startswith("Pss:"))

    def turn(self, is_first):
        self.send(signal.SIGCONT)
        if not is_first:
            self.say()
            self.expect()  # it is warm again
        before = self.processor_ns()
        self.say()
        load = json.loads(self.expect())
        spent = self.processor_ns() - before
        memory = self.memory_kib()
        self.send(signal.SIGSTOP)
        return {"processor_ns": spent, "memory_kib": memory, "load": load}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("servers", help="a file with a line for each server: name, process, port")
    parser.add_argument("--scenario")
    parser.add_argument("--path")
    parser.add_argument("--size", type=int)
    parser.add_argument("--connections", type=int)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--turn", type=float, help="seconds")
    parser.add_argument("--turns", type=int)
    parser.add_argument("client", nargs="+", help="after --: the command of the client")
    args = parser.parse_args()
    contenders = []
    for line in Path(args.servers).read_text().splitlines():
        name, pid, port = line.split()
        os.kill(int(pid), signal.SIGCONT)
        client = [*args.client, "--ask", f"127.0.0.1:{port}", args.path, str(args.size), str(args.connections),
                  str(args.depth), str(args.turn)]
        contender = Contender(name, int(pid), client)
        contender.expect()  # it is connected and warm, and waits
        contender.send(signal.SIGSTOP)
        contenders.append(contender)
    lost = set()
    for number in range(args.turns):
        random.shuffle(contenders)
        for contender in contenders:
            if contender.name in lost:
                continue
            try:
                cell = contender.turn(number == 0)
            except (ConnectionError, BrokenPipeError) as why:
                print(f"left out: {args.scenario}: {why}", file=sys.stderr)
                contender.send(signal.SIGSTOP)
                lost.add(contender.name)
                continue
            print(json.dumps({"repeat": number, "server": contender.name, "scenario": args.scenario,
                              "connections": args.connections, "size": args.size, "silent_held": 0,
                              "silent_alive": 0, **cell}), flush=True)
    for contender in contenders:
        contender.client.kill()
        contender.client.wait()


main()
