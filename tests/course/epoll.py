"""Chapter 8, epoll, edge-triggered as the course has it. Bugs are marked BUG."""
import re
import select
import socket
import sys


def answer(client, request):
    first_line = request.splitlines()[0]
    found = re.match(r"[^/]*([^ ]+)", first_line)
    path = found.group(1) if found else "/"
    if path == "/":
        path = "/index.html"
    try:
        with open("./html" + path, "rb") as f:
            body = f.read()
        head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        data = head.encode("utf-8") + body
    except OSError:
        text = "抱歉，没有找到这个文件"
        data = ("HTTP/1.1 404 NOT FOUND\r\nContent-Length: %d\r\n\r\n" % len(text) + text).encode("utf-8")
    client.sendall(data)  # BUG: a blocking socket: one client that does not read stops all


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen(128)
    print(server.getsockname()[1], flush=True)
    poller = select.epoll()
    poller.register(server.fileno(), select.EPOLLIN | select.EPOLLET)
    clients = {}
    while True:
        for fd, event in poller.poll():
            if fd == server.fileno():
                client, _ = server.accept()  # BUG: one accept per edge; the others wait for the next newcomer
                clients[client.fileno()] = client
                poller.register(client.fileno(), select.EPOLLIN | select.EPOLLET)
            elif event == select.EPOLLIN:  # BUG: a reset is IN|ERR|HUP and never equal: a leak
                try:
                    request = clients[fd].recv(1024).decode("utf-8")  # BUG: one recv per edge
                except Exception:
                    continue
                if request:
                    try:
                        answer(clients[fd], request)
                    except OSError:
                        pass
                else:
                    poller.unregister(fd)
                    clients.pop(fd).close()


main()
