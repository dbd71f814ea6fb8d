# 对端只要数据不收数据。回答写在 else: 里，那里的异常没有人接。
# A peer that asks and never reads. The answer is sent in else:, where nobody catches.
import socket

client, server = socket.socketpair()
server.setblocking(False)
answer = b"x" * 200_000

answers = 0
try:
    while True:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        try:
            request = server.recv(1024)
        except Exception:
            pass
        else:
            sent = server.send(answer)
            if sent < len(answer):
                print("send took only a part; the rest is lost")
            answers += 1
except BlockingIOError as error:
    print("the whole server ends:", type(error).__name__)
#> send took only a part; the rest is lost
#> the whole server ends: BlockingIOError
