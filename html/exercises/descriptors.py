# 描述符用完时 accept 失败，而连接还排着队。except: pass 会看到什么？
# With no descriptor free accept fails, and the connection stays queued. What does except: pass see?
import errno
import resource
import socket

listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
client = socket.create_connection(listener.getsockname())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))

for turn in range(3):
    try:
        listener.accept()
    except OSError as error:
        print(f"turn {turn}: {errno.errorcode[error.errno]}")
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
connection, _ = listener.accept()
print("with a descriptor free it is still there:", connection.getpeername() == client.getsockname())
#> turn 0: EMFILE
#> turn 1: EMFILE
#> turn 2: EMFILE
#> with a descriptor free it is still there: True
