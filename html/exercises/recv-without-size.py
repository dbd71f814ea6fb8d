# 课程 §4.5 的 recv() 少了参数。异常被接住了，程序看起来很健康。
# recv() without its argument, as in §4.5. The exception is caught, and all looks well.
import socket

client, server = socket.socketpair()
server.setblocking(False)
client.send(b"hello")

for turn in range(3):
    try:
        data = server.recv()
    except Exception as error:
        print(f"turn {turn}: no data ({type(error).__name__})")
    else:
        print(f"turn {turn}: {data}")

try:
    print("the right call:", server.recv(1024))
except BlockingIOError:
    print("no data")
#> turn 0: no data (TypeError)
#> turn 1: no data (TypeError)
#> turn 2: no data (TypeError)
#> the right call: b'hello'
