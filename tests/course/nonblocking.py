"""Chapter 6, nonblocking: one list of sockets, asked one after another. Bugs are marked BUG."""
import re
import socket
import sys
import time


def answer(client, request):
    first_line = request.splitlines()[0]
    found = re.match(r"[^/]*([^ ]+)", first_line)  # BUG: "OPTIONS * HTTP/1.1" asks for /1.1
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
        # BUG: characters are counted, octets are sent
        data = ("HTTP/1.1 404 NOT FOUND\r\nContent-Length: %d\r\n\r\n" % len(text) + text).encode("utf-8")
    # BUG: send() takes what fits and says how much, nobody listens; a full buffer raises and ends the server
    client.send(data)


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
        except Exception:
            pass
        else:
            client.setblocking(False)
            clients.append(client)
        for client in clients:
            try:
                request = client.recv(1024).decode("utf-8")
            except Exception:  # BUG: a broken character is "no data yet", and the request is gone
                pass
            else:
                if request:
                    answer(client, request)
                else:
                    client.close()
                    clients.remove(client)  # BUG: the neighbour is skipped in this turn


main()
