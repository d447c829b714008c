"""Login by OAuth2 with a client id of one's own: a person gives leave once, on the provider's page; from then on a refresh token
gives access tokens, one for each login. Google's way is a browser that comes back to this machine (RFC 8252, PKCE), by authlib;
Microsoft's a code that is typed in on any device (RFC 8628), by msal. Both are an extra, and imported when they are needed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import re
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from filters.credentials import from_file, in_keyring, to_keyring
from filters.errors import FiltersError, LoginError, NotFoundError, TransientError, UsageError, WriteError
from filters.loopback import Listener, terminal
from filters.safe_text import safe_text, telling

#: Where tokens are kept, besides the path of a file.
KEYRING = "keyring"
_SERVICE = "unpitch oauth"
#: For one answer of a provider, and for a person who is at its page.
_SECONDS, _PERSON_SECONDS = 30.0, 900.0
_ADDRESS = re.compile(r"https://[!-~]{1,4000}")


@dataclass(frozen=True, slots=True)
class Provider:
    """What is asked of whom; the fields are explained in oauth.toml."""

    name: str
    title: str
    hosts: tuple[str, ...]
    flow: str
    server: str
    scopes: tuple[str, ...]
    parameters: Mapping[str, str]
    secret: bool
    steps: tuple[str, ...]
    note: str
    seen: str


@dataclass(frozen=True, slots=True)
class Client:
    """An application that the person registered at a provider. `server` "": the provider's own."""

    provider: str
    id: str
    secret: str = field(default="", repr=False)
    server: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """The leave that was given to a client: it lasts until somebody or something ends it."""

    client: Client
    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """How to talk to the person: `tell` writes a line as it is, `browse` opens an address where there is a browser."""

    tell: Callable[[str], None]
    browse: Callable[[str], None] = lambda _: None


@cache
def _data() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(files(__package__).joinpath("oauth.toml").read_text("utf-8"))


@cache
def providers() -> tuple[Provider, ...]:
    """What oauth.toml says."""
    lists = ("hosts", "scopes", "steps")
    return tuple(Provider(**one | {key: tuple(one[key]) for key in lists}) for one in _data()["provider"])


def provider_named(name: str) -> Provider:
    """A provider by its name. Raises UsageError."""
    for one in providers():
        if one.name == name:
            return one
    raise UsageError(f"--provider is {' or '.join(one.name for one in providers())}, not {safe_text(name, 40)}.")


def provider_at(host: str) -> Provider | None:
    """The provider that an IMAP server belongs to, or None."""
    return next((one for one in providers() if host in one.hosts), None)


def checked_server(address: str) -> str:
    """An issuer or authority. Raises UsageError."""
    if not _ADDRESS.fullmatch(address) or urlsplit(address).query:
        raise UsageError(f"--server wants an address that begins with https://, not {safe_text(address, 60)}.")
    return address.rstrip("/")


# --- giving leave


def give_leave(client: Client, user: str, asked: Asked) -> Grant:
    """Let a person give leave to read the mailbox of `user`. Takes as long as the person does, a quarter of an hour at most.

    Raises LoginError, TransientError.
    """
    provider = provider_named(client.provider)
    with _in_our_words(client, client.secret):
        ways = {"device": _by_device_code, "loopback": _by_loopback}
        answer = ways[provider.flow](provider, client, user, asked)
    token = answer.get("refresh_token")
    if not isinstance(token, str) or not token:
        raise LoginError(
            f"{_host(client)} gave leave for an hour only (no refresh token). Check the registration of the client, and start again."
        )
    return Grant(client, token)


def _by_device_code(provider: Provider, client: Client, user: str, asked: Asked) -> Mapping[str, Any]:
    app = _msal(client)
    flow = app.initiate_device_flow(scopes=list(provider.scopes))
    if "user_code" not in flow:
        raise _RefusalError(str(flow.get("error") or "no code to type in"), str(flow.get("error_description") or ""))
    page = _shown_address(flow.get("verification_uri"))
    minutes = int(flow.get("expires_in", _PERSON_SECONDS)) // 60
    asked.tell(f"On any device, open {page} and type in the code {safe_text(str(flow['user_code']), 40)}")
    asked.tell(f"Log in there as {safe_text(user)}. The code is good for {minutes} minutes; this waits.")
    return _checked(app.acquire_token_by_device_flow(flow))


def _by_loopback(provider: Provider, client: Client, user: str, asked: Asked) -> Mapping[str, Any]:
    from authlib.common.security import generate_token  # noqa: PLC0415  (an extra)

    state, verifier = generate_token(43), generate_token(64)
    found = _discovered(client)
    with Listener(state) as listener:
        session = _authlib(client, redirect_uri=listener.address, scope=" ".join(provider.scopes), state=state)
        more = dict(provider.parameters) | {"login_hint": user}
        page, _ = session.create_authorization_url(
            found["authorization_endpoint"], state=state, code_verifier=verifier, **more
        )
        asked.tell("Open this page in a browser on this machine, and log in there:")
        asked.tell(_shown_address(page))
        asked.tell("From another machine: when its browser cannot open the last page, paste that page's address here.")
        asked.browse(page)
        answer = listener.wait(_PERSON_SECONDS, asked.tell, terminal())
    said = parse_qs(urlsplit(answer).query)
    if "code" not in said:
        raise _RefusalError(said["error"][0], said.get("error_description", [""])[0])
    return session.fetch_token(found["token_endpoint"], authorization_response=answer, code_verifier=verifier)  # type: ignore[no-any-return]


def _shown_address(address: object) -> str:
    """An address that may be shown and opened as it is: https, and printable. Raises LoginError."""
    if isinstance(address, str) and _ADDRESS.fullmatch(address):
        return address
    raise LoginError("The provider names a page that is no https address. Check --server.")


# --- using it


def access_token(grant: Grant) -> tuple[str, float, Grant]:
    """A fresh access token, for how many seconds it is good (RFC 6749, 5.1; infinite where the provider does not say), and the grant as it
    is from now on: providers may give another refresh token each time.

    Raises LoginError with the word "ended" where leave was taken back or has run out; TransientError.
    """
    provider, client = provider_named(grant.client.provider), grant.client
    with _in_our_words(client, grant.refresh_token):
        if provider.flow == "device":
            app = _msal(client)
            answer = _checked(app.acquire_token_by_refresh_token(grant.refresh_token, scopes=list(provider.scopes)))
        else:
            session = _authlib(client)
            answer = session.refresh_token(_discovered(client)["token_endpoint"], refresh_token=grant.refresh_token)
        token, then = str(answer["access_token"]), answer.get("refresh_token")
        seconds = float(answer.get("expires_in") or math.inf)
    return token, seconds, Grant(client, then) if isinstance(then, str) and then else grant


@dataclass(slots=True)
class TokenSource:
    """Gives an access token for the account `id`, each time a new one. `name` is what the person calls it, `where` its tokens are
    ("keyring", or the path of a file), `state` a folder for a lock, so that two runs never use one refresh token at once."""

    id: str
    name: str
    where: str
    state: Path
    ends: float | None = None
    """When the last one that was given ends, by the clock on the wall, which goes on while the machine sleeps; None: none was given yet."""
    asked: bool = False

    def __call__(self, _: str) -> str:
        """Raises LoginError, NotFoundError, TransientError, WriteError."""
        self.asked = True
        with _alone(self.state):
            grant = kept(self.id, self.where, self.name)
            try:
                found, seconds, then = access_token(grant)
            except EndedError as error:
                raise LoginError(f"{error} Give it anew: unpitch login {self.name}") from None
            if then != grant:
                keep(self.id, self.where, then)
        self.ends = time.time() + seconds
        return found

    def left(self) -> float:
        """For how many seconds the last one is good."""
        return math.inf if self.ends is None else self.ends - time.time()


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state / "oauth.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # a disk that cannot be written; then nobody else writes tokens there either
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


# --- keeping it


def kept(id: str, where: str, name: str) -> Grant:
    """What `keep` kept. Raises LoginError, NotFoundError."""
    again = f"Log in with: unpitch login {name}"
    if where == KEYRING:
        text = in_keyring(id, _SERVICE)
        if not text:
            raise LoginError(f"The keyring holds no leave to read {safe_text(id)}. {again}")
    else:
        try:
            text = from_file(Path(where).expanduser(), "The file of tokens")
        except NotFoundError as error:
            raise LoginError(f"{error} {again}") from None
    try:
        said = json.loads(text)
        return Grant(Client(**said["client"]), str(said["refresh_token"]))
    except (ValueError, TypeError, KeyError):
        raise LoginError(f"What is kept of the login of {safe_text(id)} cannot be read. {again}") from None


def check_place(id: str, where: str) -> None:
    """Make sure, before a person goes to any page, that tokens can be kept. Raises LoginError, WriteError."""
    if where != KEYRING:
        if not os.access(Path(where).expanduser().parent, os.W_OK | os.X_OK):
            raise WriteError(
                f"No file can be written at {safe_text(where)}: its folder is missing, or may not be changed."
            )
        return
    try:
        in_keyring(id, _SERVICE)
    except LoginError as error:
        raise LoginError(
            f"{str(error).partition('. ')[0]}. Or keep the tokens in a file: --oauth-tokens FILE."
        ) from None


def keep(id: str, where: str, grant: Grant) -> None:
    """Keep a grant, in the keyring or in a file that is its owner's alone (0600). Raises LoginError, WriteError."""
    text = json.dumps(asdict(grant))
    if where == KEYRING:
        to_keyring(id, text, _SERVICE)
        return
    path = Path(where).expanduser()
    try:
        descriptor, room = tempfile.mkstemp(prefix=".unpitch-", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            os.replace(room, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(room)
            raise
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise WriteError(f"The tokens cannot be written to {safe_text(str(path))}: {why}.") from None


# --- the libraries


class EndedError(LoginError):
    """The leave that was given has ended."""


def _msal(client: Client) -> Any:
    try:
        import msal  # noqa: PLC0415  (an extra, and slow to start)
    except ImportError:
        raise _missing() from None
    logging.getLogger("msal").setLevel(logging.CRITICAL + 1)
    # no question to a third place whether the authority is Microsoft's: it is the one that the person named
    return msal.PublicClientApplication(
        client.id, authority=_server(client), validate_authority=False, instance_discovery=False, timeout=_SECONDS
    )


def _authlib(client: Client, **more: Any) -> Any:
    try:
        from authlib.integrations.requests_client import OAuth2Session  # noqa: PLC0415  (an extra)
    except ImportError:
        raise _missing() from None
    way = "client_secret_post" if client.secret else "none"
    return OAuth2Session(
        client.id,
        client.secret or None,
        token_endpoint_auth_method=way,
        code_challenge_method="S256",
        default_timeout=_SECONDS,
        **more,
    )


def _discovered(client: Client) -> dict[str, str]:
    """The addresses of a provider (OpenID Connect Discovery 1.0)."""
    import requests  # noqa: PLC0415  (comes with the extra)

    server = _server(client)
    answer = requests.get(f"{server}/.well-known/openid-configuration", timeout=_SECONDS)
    answer.raise_for_status()
    said = answer.json()
    if said["issuer"].rstrip("/") != server:
        raise ValueError("another issuer")
    return {key: _shown_address(said[key]) for key in ("authorization_endpoint", "token_endpoint")}


def _missing() -> LoginError:
    return LoginError("OAuth2 needs packages that are not installed. Install them with: pip install 'unpitch[oauth]'")


def _server(client: Client) -> str:
    return client.server or provider_named(client.provider).server


def _host(client: Client) -> str:
    return safe_text(urlsplit(_server(client)).netloc)


def _checked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """msal's answers, which hold errors instead of raising them."""
    if "error" in answer or "access_token" not in answer:
        raise _RefusalError(str(answer.get("error") or "no token"), str(answer.get("error_description") or ""))
    return answer


class _RefusalError(Exception):
    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error, self.description = error, description


@contextmanager
def _in_our_words(client: Client, secret: str) -> Iterator[None]:
    """What the libraries raise, as our errors. Their texts may hold tokens; of the provider's own words only what holds none is shown."""
    try:
        yield
    except FiltersError:
        raise
    except Exception as error:  # three libraries and what an odd answer makes of them
        raise _translated(client, secret, error) from None


def _translated(client: Client, secret: str, error: Exception) -> FiltersError:
    said, described = getattr(error, "error", None), getattr(error, "description", None) or ""
    if isinstance(said, str) and said:
        return _refused(client, secret, said, str(described))
    import requests  # noqa: PLC0415  (the extra is there: it raised)

    host = _host(client)
    if isinstance(error, requests.exceptions.SSLError):
        return LoginError(
            f"The certificate of {host} is not trusted, so nothing was sent there. Check the clock of this machine and --server; in a"
            " network that wants a login first, log in there."
        )
    if isinstance(error, requests.exceptions.HTTPError):
        code = error.response.status_code if error.response is not None else 0
        return TransientError(f"{host} answered with the HTTP error {code}. Check --server, or try again later.", 69)
    if isinstance(error, requests.exceptions.RequestException):
        return TransientError(f"{host} cannot be reached. Check whether you are online, and --server.", 69)
    return LoginError(f"{host} answered something that is no OAuth2 ({type(error).__name__}). Check --server.")


def _refused(client: Client, secret: str, error: str, description: str) -> LoginError:
    shown = ": ".join(safe_text(one, 160).rstrip(". ") for one in (error, description.partition("\n")[0]) if one)
    tells = telling(secret)
    says = "" if tells(f"{error} {description}") else f" ({_host(client)} says: {shown})"
    if error in ("invalid_grant", "interaction_required"):
        return EndedError(
            f"The leave to read this mailbox has ended: it was taken back, ran out, or the password changed{says}."
        )
    text = f"{error} {description}"
    advice = next(
        (one["advice"] for one in _data()["answer"] if one["sign"] in text), "Check the registration of the client."
    )
    return LoginError(f"OAuth2 was refused{says}. {advice}")
