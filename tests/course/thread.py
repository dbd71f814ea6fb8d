"""Chapter 4, a thread per client. Bugs are marked BUG."""
import re
import socket
import sys
import threading


def serve(client):
    request = client.recv(1024).decode("utf-8")  # BUG: an exception here leaves the client waiting for ever
    first_line = request.splitlines()[0]
    path = re.match(r"[^/]+(/[^ ]*)", first_line).group(1)
    if path == "/":
        path = "/index.html"
    try:
        with open("./html" + path, "rb") as f:
            body = f.read()
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"  # BUG: everything is a page
    except OSError:
        body = "抱歉，没有找到这个文件".encode("utf-8")
        head = "HTTP/1.1 404 NOT FOUND\r\nContent-Type: text/html\r\n"
    client.send((head + "\r\n").encode("utf-8"))
    client.sendall(body)
    client.close()


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen(128)
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


main()
