"""The servers that features.py compares and how they are started, the folder they serve, and a client of raw sockets
that writes down what it sends and sees. What a server does or does not is never said here."""

import contextlib
import copy
import gzip
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 5  # seconds for an answer that should come at once
BIG = 48 << 20  # octets: more than the kernel keeps of an answer that nobody reads
TEXT = b"".join(b"line %d of a text that compresses\n" % number for number in range(800))
CHANGED = time.time() - 10 * 86400
SHOWN = re.compile(r"(content-(type|length|range|encoding)|etag|last-modified|allow|location|connection):", re.I)
# Makes a socket descriptor 3 and becomes the server: the process must have the identity that LISTEN_PID says.
HAND_OVER = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])"""


class Undecided(Exception):
    """A probe could not tell; the text says why."""


def lay_out(top):
    """The folder that every server serves, and beside it what only a link leads to."""
    root, outside = top / "root", top / "outside"
    for folder in (root / "folder", outside):
        folder.mkdir(parents=True)
    (root / "index.html").write_bytes(b"<!doctype html><title>index</title>\n")
    (root / "text.txt").write_bytes(TEXT)
    (root / "pre.txt").write_bytes(TEXT)
    for ending in ("br", "zst"):  # only the server's choice is looked at, nobody decodes these
        (root / f"pre.txt.{ending}").write_bytes(b"the neighbour " + ending.encode())
    (root / "pre.txt.gz").write_bytes(gzip.compress(b"the neighbour gz"))
    (root / ".hidden").write_bytes(b"a dot name\n")
    (outside / "secret.txt").write_bytes(b"outside\n")
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "link").symlink_to(outside)
    for name, size in (("a.txt", 30), ("b.txt", 10), ("c.txt", 20)):
        (root / "folder" / name).write_bytes(b"x" * size)
    with open(root / "big.bin", "wb") as big:
        big.truncate(BIG)
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (CHANGED, CHANGED))
    return root


def certificate(folder):
    """The flags, and new files for them, with which servers that speak TLS are given a certificate."""
    if not shutil.which("openssl"):
        raise Undecided("there is a flag, but no openssl here to make a certificate")
    cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=localhost", "-out", cert, "-keyout", key], check=True, capture_output=True)
    return "--tls-cert", cert, "--tls-key", key


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __getitem__(self, name):
        return self.fields.get(name.lower())


class Connection:
    """A client that writes down what it sends and sees. `window` is its receive buffer, for one that reads slowly."""

    def __init__(self, server, port, window=None, path=None, tls=False):
        self.server, self.rest = server, b""
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.settimeout(PATIENCE)
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.connect(path or ("127.0.0.1", port))
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)

    def send(self, octets):
        for line in octets.decode("latin-1").splitlines():
            if line and not line.startswith("Host:"):
                self.server.note("> " + line)
        self.socket.sendall(octets)

    def more(self):
        octets = self.socket.recv(1 << 16)
        if not octets:
            raise ConnectionError("the server closed")
        self.rest += octets

    def take(self, count):
        while len(self.rest) < count:
            self.more()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def line(self):
        while b"\n" not in self.rest:
            self.more()
        return self.take(self.rest.index(b"\n") + 1).strip().decode("latin-1")

    def head(self):
        first = self.line()
        self.server.note("< " + first)
        fields = {}
        while line := self.line():
            if SHOWN.match(line):
                self.server.note("<   " + line)
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return int(first.split()[1]), fields

    def answer(self):
        status, fields = self.head()
        body = b""
        if status in (204, 304):
            pass
        elif "content-length" in fields:
            body = self.take(int(fields["content-length"]))
        elif fields.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.line().split(";")[0], 16):
                body += self.take(size)
                self.line()
            while self.line():
                pass
        else:
            with contextlib.suppress(ConnectionError):
                while True:
                    self.more()
            body, self.rest = self.rest, b""
        return Answer(status, fields, body)

    def missing(self, meanwhile):
        """How many octets of an answer never come if `meanwhile` is called between reading its head and its body."""
        missing = int(self.head()[1]["content-length"]) - len(self.rest)
        meanwhile()
        with contextlib.suppress(ConnectionError):
            while missing and (octets := self.socket.recv(1 << 20)):
                missing -= len(octets)
        return missing

    def is_open(self):
        self.socket.settimeout(0)
        try:
            return bool(self.socket.recv(1))
        except BlockingIOError:
            return True
        except ConnectionError:
            return False

    def closed_after(self, wait, dribble=False):
        """Seconds until the server ends the connection, None if it does not within `wait`."""
        start = time.monotonic()
        self.socket.settimeout(min(wait, 0.5))
        while time.monotonic() - start < wait:
            with contextlib.suppress(TimeoutError):
                try:
                    if dribble:
                        self.socket.sendall(b"a")
                    if not self.socket.recv(4096):
                        return time.monotonic() - start
                except ConnectionError:
                    return time.monotonic() - start
        return None


def request(target, method="GET", **fields):
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


class Server:
    """One that is installed. `base` and `address` start it on a port; `also` has flags worth trying for a row besides
    the bare command, `instead` flags without which a row could not be seen (shorter deadlines, a limit)."""

    def __init__(self, name, base, address, also, instead):
        self.name, self.base, self.address = name, base, address
        self.also, self.instead = also, instead
        done = subprocess.run([*self.base, "--help"], capture_output=True, text=True, timeout=PATIENCE)
        self.help = done.stdout + done.stderr

    def over(self, root, wait):
        """The same server for one row, with a folder to serve, seconds to wait for deadlines, and its own evidence."""
        view = copy.copy(self)
        view.root, view.wait, view.evidence = root, wait, []
        return view

    def note(self, line):
        self.evidence.append(line)

    def flag(self, pattern):
        """The first flag in --help that begins so; none is an answer too, and the caller says where it is from."""
        found = re.search(rf"(?<!\S)--({pattern})[\w-]*", self.help)
        self.note(f"--help has {found[0]}" if found else f"--help has no --({pattern})")
        return found and found[0]

    def version(self):
        command = [*self.base[:1], "--version"]
        if self.base[1:] or self.flag("version"):
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
            return done.stdout.strip()
        return self.help.strip().partition("\n")[0].partition(",")[0]  # darkhttpd: it would serve --version

    @contextlib.contextmanager
    def running(self, *flags, listener=None, path=None):
        """(port, process) of a fresh server that accepts on its port, or on the Unix socket `path`; `listener` is
        handed over as systemd does it (sd_listen_fds(3))."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [*self.base, *(part.format(port=port, root=self.root) for part in self.address), *flags]
        handed = ()
        if listener:
            handed = (listener.fileno(),)
            command = [sys.executable, "-c", HAND_OVER, str(handed[0]), *command]
        self.note("$ " + " ".join(map(str, command)).replace("\n", "; "))
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                                       pass_fds=handed)
            try:
                deadline = time.monotonic() + 2 * PATIENCE
                while True:
                    if process.poll() is not None or time.monotonic() > deadline:
                        errors.seek(0)
                        said = errors.read().decode(errors="replace").strip().splitlines() or ["no word"]
                        raise Undecided(f"it did not start: {said[0]}")
                    with contextlib.suppress(ConnectionError, FileNotFoundError):
                        Connection(self, port, path=path).socket.close()
                        break
                    time.sleep(0.05)
                yield port, process
            finally:
                process.kill()
                process.wait()

    def ask(self, port, target, method="GET", path=None, tls=False, **fields):
        connection = Connection(self, port, path=path, tls=tls)
        connection.send(request(target, method, Connection="close", **fields))
        return connection.answer()


def installed(args):
    """The servers that can be compared here: how each is started, and which flags are worth trying."""
    own = Path(__file__).parents[2] / "target/release/wouldblock"
    brief = ["--header-timeout", "2s", "--idle-timeout", "2s", "--write-timeout", "2s"]
    real = ["-p", "HTTP/1.1"]  # http.server speaks 1.0 and closes, unless told
    for name, file, words, address, also, instead in (
        ("wouldblock", args.wouldblock or shutil.which(own), [], ["{root}", "-q", "-b", "127.0.0.1", "-p", "{port}"],
         {"dot_names": ["--hidden"], "links": ["--follow-symlinks"]},
         {"deadlines": brief, "limit": ["--max-connections", "4"], "unix": ["-b", "unix:{path}"]}),
        ("python3 -m http.server", args.python, ["-m", "http.server"], ["-b", "127.0.0.1", "-d", "{root}", "{port}"],
         {"keep_alive": real}, {"alive": real, "deadlines": real}),
        ("darkhttpd", args.darkhttpd or shutil.which("darkhttpd"), [],
         ["{root}", "--addr", "127.0.0.1", "--port", "{port}"],
         {"dot_names": ["--hide-dotfiles"]}, {"deadlines": ["--timeout", "2"], "limit": ["--maxconn", "4"]}),
        ("miniserve", args.miniserve or shutil.which("miniserve"), [], ["-i", "127.0.0.1", "-p", "{port}", "{root}"],
         {"compression": ["-C"], "dot_names": ["-H"], "links": ["-P"]}, {}),
    ):
        try:
            if not file:
                raise FileNotFoundError("not installed")
            yield Server(name, [file, *words], address, also, instead)
        except OSError as why:
            print(f"left out: {name}: {why}")
