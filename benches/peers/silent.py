"""Holds connections that say nothing: silent.py HOST PORT COUNT. Prints how many it holds; for each line of input, how
many of them the server still keeps open; ends with its input."""

import resource
import select
import signal
import socket
import struct
import sys
import time

signal.signal(signal.SIGINT, signal.SIG_DFL)  # who interrupts wants no traceback
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

held = []
for number in range(count):
    try:
        connection = socket.create_connection((host, port), timeout=3)
    except OSError as error:
        print(f"silent connection {number + 1} of {count}: {error}", file=sys.stderr)
        break
    # Ends in a reset, not in 10,000 sockets in TIME_WAIT.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    held.append(connection)
    if number % 128 == 127:
        time.sleep(0.002)  # the server empties its queue of newcomers

# Nobody says anything: whatever can be read here is the server's end of the connection.
poll = select.poll()
for connection in held:
    poll.register(connection, select.POLLIN)
print(len(held), flush=True)
for _ in sys.stdin:
    print(len(held) - len(poll.poll(0)), flush=True)
