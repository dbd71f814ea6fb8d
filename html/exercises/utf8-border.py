# “堵”占三个字节，正好跨在第 1024 个字节上。
# The character 堵 is three octets, and here the 1024th octet is inside it.
import socket

client, server = socket.socketpair()
server.setblocking(False)
request = b"GET / HTTP/1.1\r\nX-Note: " + b"a" * 999 + "堵".encode() + b"\r\n\r\n"
client.send(request)

received = ""
for turn in range(3):
    try:
        received += server.recv(1024).decode("utf-8")
    except Exception as error:
        print(f"turn {turn}: {type(error).__name__}")
print("sent", len(request), "octets, kept", len(received.encode()))
#> turn 0: UnicodeDecodeError
#> turn 1: UnicodeDecodeError
#> turn 2: BlockingIOError
#> sent 1030 octets, kept 0
