# 对端被杀，连接被复位。event == EPOLLIN 看得见吗？
# The peer is killed and the connection reset. Does event == EPOLLIN see it?
import select
import socket
import struct

listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
client.close()  # RST, not FIN

epoll = select.epoll()
epoll.register(server, select.EPOLLIN)
for turn in range(3):
    for _, event in epoll.poll(1):
        seen = "equal" if event == select.EPOLLIN else "not equal"
        bit = "set" if event & select.EPOLLIN else "not set"
        print(f"turn {turn}: event {event:#x}, {seen} to EPOLLIN, its bit is {bit}")
#> turn 0: event 0x19, not equal to EPOLLIN, its bit is set
#> turn 1: event 0x19, not equal to EPOLLIN, its bit is set
#> turn 2: event 0x19, not equal to EPOLLIN, its bit is set
