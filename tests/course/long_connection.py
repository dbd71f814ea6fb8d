"""Chapter 7, the long connection: as nonblocking, but the answer's length keeps the connection. Bugs: BUG."""
import re
import socket
import sys
import time


def answer(client, request):
    first_line = request.splitlines()[0]
    found = re.match(r"[^/]+(/[^ ]*)", first_line)
    path = found.group(1) if found else "/"
    if path == "/":
        path = "/index.html"
    try:
        with open("./html" + path, "rb") as f:
            body = f.read()
    except OSError:
        # BUG: no length on a connection that stays open: the client waits for ever
        head = "HTTP/1.1 404 NOT FOUND\r\n\r\n"
        client.sendall((head + "抱歉，没有找到这个文件").encode("utf-8"))
    else:
        # BUG: Connection and the version are never read
        head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        # BUG: sendall on a nonblocking socket raises half-way, and nobody knows how much went out
        client.sendall(head.encode("utf-8") + body)


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen(128)
    server.setblocking(False)
    print(server.getsockname()[1], flush=True)
    clients = []
    while True:
        time.sleep(0.0005)
        try:
            client, _ = server.accept()
            client.setblocking(False)
            clients.append(client)
        except Exception:
            pass
        for client in clients:
            try:
                request = client.recv(1024).decode("utf-8")
                if request:
                    answer(client, request)
                else:
                    client.close()
                    clients.remove(client)
            except Exception:  # BUG: hides every error, the sender's too
                pass


main()
