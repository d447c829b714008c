"""An identity provider on loopback: both ways of OAuth2 over TLS, refresh tokens that change each time, and a place where an IMAP
server asks about access tokens. It records what it gave, so that tests can look whether any of it is somewhere it should not be."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import trustme

CLIENT, SECRET = "unpitch-test-client", "client-secret-kept-by-nobody-else"


class IdentityProvider:
    """`with IdentityProvider(folder) as provider: ...`. `user` is who logs in there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.user = "ann"
        self.pending = 1
        """How often a program that waits for a code to be typed in is told to go on waiting."""
        self.lasts = 3600
        """Seconds that an access token is good for, as it says."""
        self.refuse: dict[str, object] | None = None
        """What every question for tokens is answered with."""
        self.given: list[str] = []
        """Every code and token, and what proves them."""
        self.asked: list[dict[str, str]] = []
        """Every question for tokens."""
        self._access: dict[str, str] = {}
        self._refresh: dict[str, str] = {}
        self._codes: dict[str, dict[str, str]] = {}

    def __enter__(self) -> IdentityProvider:
        authority = trustme.CA()
        self.ca_file = self._folder / "provider-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._servers = [self._started(), self._started()]
        secure, self._plain = self._servers
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.issuer = f"https://localhost:{secure.server_address[1]}"
        self.authority = f"{self.issuer}/tenant"
        self.tokeninfo = f"http://127.0.0.1:{self._plain.server_address[1]}/tokeninfo?access_token="
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def expire(self) -> None:
        """Access tokens that were given are good no longer."""
        self._access.clear()

    def revoke(self) -> None:
        """Nor are refresh tokens."""
        self._refresh.clear()

    def _started(self) -> ThreadingHTTPServer:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, said = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
                self._answer(provider.page(path, said))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._answer(provider.page(urlsplit(self.path).path, dict(parse_qsl(body)), posted=True))

            def _answer(self, answer: tuple[int, object]) -> None:
                status, said = answer
                body = b"" if status == 302 else json.dumps(said).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", str(said))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def page(self, path: str, said: dict[str, str], posted: bool = False) -> tuple[int, object]:
        """Status and JSON, or the address of a redirection."""
        if path.endswith("/.well-known/openid-configuration"):
            ends = {
                "authorization_endpoint": "authorize",
                "token_endpoint": "token",
                "device_authorization_endpoint": "devicecode",
            }
            issuer = self.authority + "/v2.0" if path.startswith("/tenant") else self.issuer
            return 200, {"issuer": issuer} | {key: f"{self.issuer}/{name}" for key, name in ends.items()}
        if path == "/tokeninfo":
            user = self._access.get(said.get("access_token", ""))
            return (200, {"username": user, "active": True}) if user else (401, {"error": "invalid_token"})
        if path == "/authorize":
            return self._authorized(said)
        if path == "/devicecode" and posted and self.refuse:
            return 400, self.refuse
        if path == "/devicecode" and posted:
            return 200, {
                "device_code": self._new("device"),
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.issuer}/device",
                "expires_in": 900,
                "interval": 1,
            }
        if path == "/token" and posted:
            self.asked.append(said)
            answer = self.refuse or self._tokens(said)
            return (400 if "error" in answer else 200), answer
        return 404, {}

    def _new(self, kind: str) -> str:
        self.given.append(f"{kind}-{secrets.token_urlsafe(300 if kind == 'access' else 24)}")
        return self.given[-1]

    def _authorized(self, said: dict[str, str]) -> tuple[int, object]:
        if self.refuse:
            return 302, f"{said['redirect_uri']}?{urlencode({'state': said['state']} | self.refuse)}"
        if said.get("code_challenge_method") != "S256" or said.get("response_type") != "code":
            return 400, {"error": "invalid_request"}
        code = self._new("code")
        self._codes[code] = said
        return (
            302,
            f"{said['redirect_uri']}?{urlencode({'state': said['state'], 'code': code, 'scope': said['scope']})}",
        )

    def _tokens(self, said: dict[str, str]) -> dict[str, object]:
        match said.get("grant_type"):
            case "authorization_code":
                asked = self._codes.pop(said.get("code", ""), {})
                proof = hashlib.sha256(said.get("code_verifier", "").encode()).digest()
                self.given.append(said.get("code_verifier", ""))
                good = asked.get("code_challenge") == base64.urlsafe_b64encode(proof).decode().rstrip("=")
                if not good or asked["redirect_uri"] != said["redirect_uri"]:
                    return {"error": "invalid_grant"}
                if (said["client_id"], said.get("client_secret")) != (CLIENT, SECRET):
                    return {"error": "invalid_client"}
            case "urn:ietf:params:oauth:grant-type:device_code":
                self.pending -= 1
                if self.pending >= 0:
                    return {"error": "authorization_pending"}
            case "refresh_token":
                if self._refresh.pop(said.get("refresh_token", ""), "") != said["client_id"]:
                    return {
                        "error": "invalid_grant",
                        "error_description": f"{said.get('refresh_token')} is not good any more",
                    }
        access, refresh = self._new("access"), self._new("refresh")
        self._access[access], self._refresh[refresh] = self.user, said["client_id"]
        return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": self.lasts}
