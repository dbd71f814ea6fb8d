# 边沿触发只说一次变化。一次事件只 accept 一个，够吗？
# Edge triggering tells of a change once. Is one accept per event enough?
import select
import socket

for mode, flag in (("level", 0), ("edge", select.EPOLLET)):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN | flag)
    accepted = []
    while epoll.poll(0.2):
        accepted.append(listener.accept())
    print(f"{mode}: {len(accepted)} of {len(clients)}")
#> level: 5 of 5
#> edge: 1 of 5
