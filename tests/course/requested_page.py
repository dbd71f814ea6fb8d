"""Chapter 2, the requested page: the path chooses the file, still one client at a time. Bugs are marked BUG."""
import re
import socket
import sys


def serve(client):
    request = client.recv(1024).decode("utf-8")  # BUG: one recv, one request; 0xFF ends the server
    first_line = request.splitlines()[0]  # BUG: silence ends the server
    # BUG: the query stays in the name, nothing is decoded, ".." leads out; no match ends the server
    path = re.match(r"[^/]+(/[^ ]*)", first_line).group(1)
    if path == "/":
        path = "/index.html"
    try:
        with open("./html" + path, "rb") as f:
            body = f.read()
        head = "HTTP/1.1 200 OK\r\n"
    except OSError:  # BUG: a NUL in the name is a ValueError
        body = "抱歉，没有找到这个文件"
        head = "HTTP/1.1 404 NOT FOUND\r\n"
    finally:
        client.send((head + "\r\n").encode("utf-8"))
        client.send(body)  # BUG: the error text is a str, and sending it ends the server
        client.close()


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen(128)
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        serve(client)


main()
