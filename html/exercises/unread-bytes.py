# 只读 1024 字节就回答、关闭。没读完的字节会变成 RST。
# Read 1024 octets, answer, close. What was not read turns the close into a reset.
import socket
import threading
import time

listener = socket.create_server(("127.0.0.1", 0))


def serve():
    while True:
        connection, _ = listener.accept()
        connection.recv(1024)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.close()


threading.Thread(target=serve, daemon=True).start()
for size in (500, 3000):
    with socket.create_connection(listener.getsockname()) as client:
        client.send(b"x" * size)
        time.sleep(0.2)
        try:
            answer = client.recv(1024)
            rest = client.recv(1024)
            print(f"{size} octets: {len(answer)} octets of answer, then a clean end")
        except ConnectionResetError:
            print(f"{size} octets: ConnectionResetError")
#> 500 octets: 40 octets of answer, then a clean end
#> 3000 octets: ConnectionResetError
