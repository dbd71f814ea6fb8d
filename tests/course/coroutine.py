"""Chapter 5, a coroutine per client. The course uses gevent; asyncio is in every Python 3 and has the same bugs,
marked BUG."""
import asyncio
import re
import socket
import sys


async def serve(loop, client):
    request = (await loop.sock_recv(client, 1024)).decode("utf-8")
    first_line = request.splitlines()[0]
    path = re.match(r"[^/]*([^ ]+)", first_line).group(1)
    if path == "/":
        path = "/index.html"
    try:
        with open("./html" + path, "rb") as f:  # BUG: a slow disk, or a pipe, stops every coroutine
            body = f.read()
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    except OSError:
        body = "抱歉，没有找到这个文件".encode("utf-8")
        head = "HTTP/1.1 404 NOT FOUND\r\nContent-Type: text/html\r\n"
    head += "Content-Length: %d\r\n" % len(body)
    await loop.sock_sendall(client, (head + "\r\n").encode("utf-8") + body)
    client.close()  # BUG: closes without having said so


async def main():
    loop = asyncio.get_running_loop()
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen(128)
    server.setblocking(False)
    print(server.getsockname()[1], flush=True)
    tasks = []  # BUG: grows for ever; without it Python may collect a running task
    while True:
        client, _ = await loop.sock_accept(server)
        client.setblocking(False)
        tasks.append(loop.create_task(serve(loop, client)))


asyncio.run(main())
