# 非堵塞的 send 只收下它装得下的。返回值就是它收下多少。
# A nonblocking send takes what fits. What it returns is how much that was.
import socket

client, server = socket.socketpair()
server.setblocking(False)
answer = b"x" * 10_000_000

sent = server.send(answer)
print("one send took all of it:", sent == len(answer))

client.setblocking(False)
turns = 1
received = 0
while sent < len(answer) or received < len(answer):
    try:
        received += len(client.recv(1 << 20))
    except BlockingIOError:
        pass
    try:
        if sent < len(answer):
            sent += server.send(answer[sent : sent + (1 << 20)])
            turns += 1
    except BlockingIOError:
        pass  # 下一轮再试 / try again next turn
print("with the rest remembered, received:", received, "- in several turns:", turns > 1)
#> one send took all of it: False
#> with the rest remembered, received: 10000000 - in several turns: True
