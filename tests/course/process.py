"""Chapter 3, a process per client. Bugs are marked BUG."""
import os
import re
import signal
import socket
import sys


def serve(client):
    request = client.recv(1024).decode("utf-8")
    first_line = request.splitlines()[0]
    path = re.match(r"[^/]+(/[^ ]*)", first_line).group(1)
    if path == "/":
        path = "/index.html"
    try:
        with open("./html" + path, "rb") as f:
            body = f.read()
        head = "HTTP/1.1 200 OK\r\n"
    except OSError:
        body = "抱歉，没有找到这个文件".encode("utf-8")
        head = "HTTP/1.1 404 NOT FOUND\r\n"
    client.send((head + "\r\n").encode("utf-8"))
    client.sendall(body)
    client.close()


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen(128)
    print(server.getsockname()[1], flush=True)
    while True:
        # BUG: the parent keeps its copy until the next client comes, so the first one never sees the end
        client, _ = server.accept()
        if os.fork() == 0:
            try:
                server.close()
                serve(client)
            finally:
                os._exit(0)


main()
