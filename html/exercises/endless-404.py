# 404 没有长度，连接又不关：正文在哪里结束？
# A 404 without a length on a connection that stays open: where does the body end?
import http.client
import socket
import threading

listener = socket.create_server(("127.0.0.1", 0))


def serve(length):
    connection, _ = listener.accept()
    connection.recv(1024)
    connection.send(b"HTTP/1.1 404 Not Found\r\n" + length + b"\r\n-- not found --")
    connection.recv(1024)  # 长连接：等下一个请求 / kept open for the next request


for length in (b"", b"Content-Length: 15\r\n"):
    threading.Thread(target=serve, args=(length,), daemon=True).start()
    client = http.client.HTTPConnection(*listener.getsockname(), timeout=0.5)
    client.request("GET", "/nothing")
    try:
        print(length or b"no length", "->", client.getresponse().read())
    except TimeoutError:
        print(length or b"no length", "-> still waiting when time was up")
#> b'no length' -> still waiting when time was up
#> b'Content-Length: 15\r\n' -> b'-- not found --'
