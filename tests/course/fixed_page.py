"""Chapter 1, the fixed page: one client at a time, the same answer to everyone.

Rewritten for the checker with the bugs that such listings are born with; each is marked BUG.
"""
import socket
import sys


def main():
    # BUG: no SO_REUSEADDR, so a restart within a minute cannot bind its port again.
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen(128)
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        # BUG: one recv is taken for one request; more than 1024 octets stay unread and close() becomes a reset.
        request = client.recv(1024).decode("utf-8")  # BUG: one octet 0xFF ends the server
        first_line = request.splitlines()[0]  # BUG: a client that says nothing ends the server
        print(first_line)
        # BUG: a colon too many; no length, no type, no date, no word about closing
        head = "HTTP:/1.1 200 OK\r\n\r\n"
        client.send((head + "<h1>这是固定的页面</h1>").encode("utf-8"))
        client.close()


main()
