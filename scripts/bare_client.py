"""A raw socket that sends commands in turn and drops the answers: what server and network take alone.

Usage: python -I -S bare_client.py PORT < COMMANDS, one a line.
"""

import socket
import sys


def main() -> None:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = memoryview(bytearray(1 << 20))

        def answered(tag: bytes) -> None:
            tail = b""
            while True:
                count = connection.recv_into(buffer)
                tail = (tail + bytes(buffer[max(0, count - 2_000) : count]))[-2_000:]
                if tail.endswith(b"\r\n") and tail[tail.rfind(b"\n", 0, -1) + 1 :].startswith(tag):
                    return

        answered(b"* OK")
        for number, command in enumerate(sys.stdin):
            connection.sendall(f"a{number} {command.strip()}\r\n".encode())
            answered(f"a{number} ".encode())


if __name__ == "__main__":
    main()
