# 浏览器先连上、什么也不发、又走了。单进程服务器会怎样？
# A browser connects, sends nothing and leaves. What becomes of a single-process server?
import socket

client, server = socket.socketpair()
client.close()

request = server.recv(1024).decode("utf-8")
lines = request.splitlines()
try:
    print("request line:", lines[0])
except IndexError as error:
    print("the server ends:", type(error).__name__, "because the request is", repr(request))
#> the server ends: IndexError because the request is ''
