"""The place on this machine where a browser comes back to after a login on a provider's page (RFC 8252, 7.3)."""

from __future__ import annotations

import hmac
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TextIO
from urllib.parse import parse_qs, urlsplit

from filters.errors import LoginError

_DONE = b"unpitch has got what it needs. You can close this window and go back to the terminal.\n"
_NOT_IT = b"Nothing is here but the end of a login.\n"
_ADDRESS_CAP = 8_192


class Listener:
    """A port of 127.0.0.1 that takes one answer: the one with the `state` that went out. Everything else is turned away."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._found = ""
        listener = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                taken = listener.take(self.path)
                self.send_response(200 if taken else 404)
                for name, value in (
                    ("Content-Type", "text/plain; charset=utf-8"),
                    ("Cache-Control", "no-store"),
                    ("Referrer-Policy", "no-referrer"),
                    ("Connection", "close"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(_DONE if taken else _NOT_IT)

            def log_message(self, *_: object) -> None:
                """Nothing: the line would hold the code."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # somebody hung up

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where the browser is to come back to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def take(self, address: str) -> bool:
        """Keep an address that ends the login, whether a browser went there or a person typed it in."""
        if len(address) > _ADDRESS_CAP:
            return False
        said = parse_qs(urlsplit(address.strip()).query)
        ours = hmac.compare_digest(said.get("state", [""])[0].encode(), self._state.encode())
        if ours and ("code" in said or "error" in said) and not self._found:
            self._found = f"{self.address}?{urlsplit(address.strip()).query}"
            return True
        return False

    def wait(self, seconds: float, tell: Callable[[str], None], typed: TextIO | None = None) -> str:
        """The address with the answer. `typed`: a terminal, where it may be pasted as well. Raises LoginError after `seconds`."""
        deadline = time.monotonic() + seconds
        ends: list[Any] = [self._server, *([typed] if typed and typed.isatty() else [])]
        while not self._found and time.monotonic() < deadline:
            ready = select.select(ends, [], [], 0.2)[0]
            if self._server in ready:
                with suppress(OSError):
                    self._server.handle_request()
            if typed in ready and typed:
                line = typed.readline()
                if not line:
                    ends.remove(typed)
                elif line.strip() and not self.take(line):
                    tell(f"That is not the address; it begins with {self.address}?")
        if not self._found:
            raise LoginError(
                f"Nobody came back from the provider's page within {seconds / 60:.0f} minutes. Start again."
            )
        return self._found


def terminal() -> TextIO | None:
    """Standard input, if a person sits at it."""
    return sys.stdin if sys.stdin.isatty() else None
