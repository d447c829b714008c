"""The one way to an IMAP server: what goes out is checked against a list of commands, what comes in has bounds, and whatever
imapclient answers or raises becomes a plain value or one of our errors.

Numbers such as IC5 name measured defects of imapclient 4.1 and imaplib; tests/test_guarded.py has a test for each.
"""

from __future__ import annotations

import imaplib
import logging
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from imapclient import IMAPClient

from filters.errors import (
    FiltersError,
    LoginError,
    NotFoundError,
    QuotaError,
    RefusedError,
    ServerError,
    TransientError,
)
from filters.safe_text import safe_text, telling
from filters.sources.answers import (
    Fetched,
    answers,
    ascii_text,
    checked_uid,
    copied,
    fetched,
    listed,
    number,
    together,
    uid_set,
)
from filters.sources.refusals import APP_PASSWORD, NO_PASSWORDS, meaning, wait_named
from filters.sources.wire import CHANGING, READING, SILENCE_SECONDS, BrokenOffError, SilentError, Wire

#: A header value that may be searched for (T1): a hostile one cannot leave its quotes.
SEARCHABLE = re.compile(r"[!#-\[\]-~]{1,250}")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Characters of a folder name; of user name and password, which make three bytes each at most, and four of base64 of them.
_NAME_CAP, _SECRET_CAP = 1_000, 1_000
#: Characters of an access token; Microsoft's have up to some 2,500. The line that carries it has a third more.
_TOKEN_CAP = 5_000


class RejectedError(ServerError):
    """The server answered NO or BAD. `code` is its response code (RFC 5530), such as "TRYCREATE", or ""."""

    def __init__(self, message: str, code: str, bad: bool) -> None:
        super().__init__(message)
        self.code, self.bad = code, bad


class BusyServerError(RejectedError, TransientError):
    """A NO or BAD that says: not now. `wait` is how many seconds the server asked for."""

    def __init__(self, message: str, code: str, bad: bool, wait: float) -> None:
        super().__init__(message, code, bad)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Folder:
    """A line of LIST. `raw` is the name as the server spells it (modified UTF-7), `flags` in lower case."""

    raw: str
    flags: frozenset[str]
    delimiter: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What SELECT or EXAMINE says of a folder. `told`: it named the UIDNEXT, which else comes from STATUS (P24); `sticky`: its UIDs last longer than the session; `removable`: messages can be marked
    as deleted for good (PERMANENTFLAGS)."""

    raw: str
    uidvalidity: int
    uidnext: int
    exists: int
    writable: bool
    told: bool
    sticky: bool
    removable: bool


class _Library(IMAPClient):  # type: ignore[misc]
    """imapclient over our wire instead of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__(wire.host, wire.port)
        wire.debug = 0
        self.folder_encode = False

    def _create_IMAP4(self) -> Wire:  # noqa: N802
        return self._wire


class GuardedClient:
    """A connection to an IMAP server. Implicit TLS, STARTTLS, or none at all, which the caller allows on loopback only.

    Every method raises ServerError (RejectedError, BrokenOffError) or RefusedError. After a BrokenOffError or a plain ServerError
    `dead` says whether the connection can still be used.
    """

    def __init__(
        self, host: str, port: int, *, tls: bool, changes: bool, ca_file: Path | None = None, starttls: bool = False
    ) -> None:
        logging.getLogger("imapclient").setLevel(logging.CRITICAL + 1)  # it logs mail and passwords (M3)
        self.host, self.changes, self.dead = host, changes, False
        self._inside = False
        self.capabilities: frozenset[str] = frozenset()
        self._tells = telling("")
        self._begun: deque[tuple[bytes, str, str]] = deque()
        """FETCHes that were sent and whose answers nobody has read: tag, UIDs, items."""
        self._early: dict[int, Fetched] = {}
        """Answers to them that came before their turn: servers may say of several commands at once that they are done (Dovecot does)."""
        context = _tls_context(ca_file) if tls else None
        with _connecting(host, port):
            self._wire = Wire(host, port, context, READING + (CHANGING if changes else ()), starttls=starttls)
            self._library = _Library(self._wire)
        if self._wire.state != "NONAUTH":
            self._shut()
            raise ServerError(f"{host} lets people in without asking who they are. That is not an account to work on.")

    @property
    def received(self) -> int:
        """Bytes that came from the server so far."""
        return self._wire.total

    def login(self, user: str, password: str, *, oauth: bool = False) -> None:
        """AUTHENTICATE PLAIN where offered, because LOGIN cannot carry every password (N23); with `oauth` XOAUTH2 or OAUTHBEARER, and
        `password` is an access token. Raises LoginError."""
        most = _TOKEN_CAP if oauth else _SECRET_CAP
        if re.search("[\r\n\0\1\ud800-\udfff]", user + password) or len(user + password) > most:
            raise LoginError(
                "The user name or the password is far too long, or holds a line break, a NUL, or bytes that are no text; "
                "no server takes that."
            )
        self._tells = telling(password)
        offered = {one.upper() for one in self._wire.capabilities}
        plain = "AUTH=PLAIN" in offered
        if not (plain or oauth) and "LOGINDISABLED" in offered:
            raise LoginError(f"{self.host} takes no passwords (LOGINDISABLED). {NO_PASSWORDS}")
        if oauth:
            return self._log_in_by_token(user, password, offered)
        if not plain and not re.fullmatch("[ -~]*", user + password):
            raise LoginError(f"{self.host} takes only printable ASCII in user name and password. {APP_PASSWORD}")
        answer: list[Any]
        with self._asking():
            try:
                if plain and "SASL-IR" in offered:
                    answer = list(self._wire.authenticate_at_once("PLAIN", f"\0{user}\0{password}".encode())[1])
                elif plain:
                    answer = list(self._wire.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())[1])
                else:
                    answer = list(self._wire.login(_quoted(user), password)[1])
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                raise _login_error(self.host, error, self._tells) from None
        return self._logged_in(answer)

    def _log_in_by_token(self, user: str, token: str, offered: set[str]) -> None:
        """RFC 7628, and XOAUTH2 as Google and Microsoft describe it."""
        bearer = f"auth=Bearer {token}\1\1"
        ways = {
            "XOAUTH2": f"user={user}\1{bearer}",
            "OAUTHBEARER": f"n,a={user},\1host={self.host}\1port={self._wire.port}\1{bearer}",
        }
        way = next((name for name in ways if f"AUTH={name}" in offered), "")
        if not way:
            raise LoginError(f"{self.host} offers no login by OAuth2. Give a password instead.")
        words = iter([ways[way].encode()])
        with self._asking():
            try:
                answer = list(self._wire.authenticate(way, lambda _: next(words, b""))[1])
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                raise _login_error(self.host, error, self._tells, _OAUTH_ADVICE) from None
        self._logged_in(answer)

    def _logged_in(self, answer: list[Any]) -> None:
        told = self._wire.untagged_responses.get("CAPABILITY", [])
        # what was offered before login does not count (section 4, iCloud)
        self.capabilities = _told_at_login(answer, told) or self._asked_capabilities()
        self._library._cached_capabilities = tuple(one.encode("ascii", "replace") for one in self.capabilities)

    def _asked_capabilities(self) -> frozenset[str]:
        with self._asking():
            return frozenset(one.decode("ascii", "replace") for one in self._library.capabilities())

    def namespace(self) -> tuple[str, str]:
        """Prefix and delimiter of personal folders (RFC 2342), such as ("INBOX.", "."); ("", "") when not told."""
        if "NAMESPACE" in self.capabilities:
            with self._asking():
                personal = self._library.namespace().personal
            return (ascii_text(personal[0][0]), ascii_text(personal[0][1])) if personal else ("", "")
        return "", next((folder.delimiter for folder in self.folders("")), "")

    def folders(self, pattern: str) -> list[Folder]:
        """Folders by a LIST pattern. Names that cannot be sent back are left out: with 8-bit characters (IC6), or too long (S5)."""
        with self._asking():
            answer = self._wire.list('""', _quoted(_name(pattern)))
            self._library._checkok("list", *answer)
        found = filter(None, map(listed, answers(answer[1])))
        return [Folder(*one) for one in found if one[0].isascii() and len(one[0]) <= _NAME_CAP]

    def status(self, raw: str) -> tuple[int, int]:
        """(UIDVALIDITY, UIDNEXT) of a folder; RejectedError when it does not exist or cannot be used."""
        with self._asking():
            found = self._library.folder_status(_name(raw), ["UIDVALIDITY", "UIDNEXT"])
        return number(found.get(b"UIDVALIDITY")), number(found.get(b"UIDNEXT"))

    def looked_up(self, raw: str) -> tuple[list[Folder], tuple[int, int] | None]:
        """`folders` and `status` of one name in one round trip; None where the server has no status of it."""
        name = _quoted(_name(raw))
        with self._asking():
            asked = self._wire.begin("LIST", '""', name), self._wire.begin("STATUS", name, "(UIDVALIDITY UIDNEXT)")
            told = self._wire.ended("LIST", asked[0], "LIST")
            self._library._checkok("list", *told)
            kind, lines = self._wire.ended("STATUS", asked[1], "STATUS")
        listing = [Folder(*one) for one in filter(None, map(listed, answers(told[1]))) if one[0] == raw]
        said = (
            dict(_NUMBERS.findall(lines[-1].rpartition(b"(")[2]))
            if kind == "OK" and isinstance(lines[-1], bytes)
            else {}
        )
        numbers = int(said.get(b"UIDVALIDITY", 0)), int(said.get(b"UIDNEXT", 0))
        return listing, numbers if kind == "OK" else None

    def open(self, raw: str, *, writing: bool = False) -> Opened:
        """EXAMINE, or SELECT to move from it. A folder that turns out to be read-only is not `writable` (IC18)."""
        writing = writing and self.changes
        with self._asking():
            try:
                found = self._library.select_folder(_name(raw), readonly=not writing)
            except imaplib.IMAP4.readonly:
                writing = False
                found = self._library.select_folder(_name(raw), readonly=True)
        validity, uidnext = number(found.get(b"UIDVALIDITY")), number(found.get(b"UIDNEXT"))
        told, self._inside = bool(uidnext), True
        if not told:
            uidnext = self.status(raw)[1]
        kept = found.get(b"PERMANENTFLAGS")  # not told means all (RFC 3501, 6.3.1)
        removable = kept is None or b"\\deleted" in {flag.lower() for flag in kept if isinstance(flag, bytes)}
        exists, sticky = number(found.get(b"EXISTS")), b"UIDNOTSTICKY" not in found
        return Opened(raw, validity, uidnext, exists, writing, told, sticky, removable)

    def rights(self, raw: str) -> str:
        """The letters of what this login may do in a folder (RFC 4314), such as "lrswte"; all of them when the server does not tell."""
        if "ACL" not in self.capabilities:
            return ALL_RIGHTS
        with self._asking():
            answer = self._wire.myrights(_quoted(_name(raw)))
            self._library._checkok("myrights", *answer)
        told = answer[1][-1] if answer[1] else None
        return told.split()[-1].decode("ascii", "replace") if isinstance(told, bytes) and told.split() else ""

    def secured(self) -> tuple[str, float]:
        """Version of TLS, and when the server's certificate ends, in seconds since 1970; ("", 0.0) without TLS."""
        sock = self._wire.sock
        if not isinstance(sock, ssl.SSLSocket):
            return "", 0.0
        ends = (sock.getpeercert() or {}).get("notAfter")
        return sock.version() or "", float(ssl.cert_time_to_seconds(str(ends))) if ends else 0.0

    def quotas(self, raw: str) -> list[tuple[str, int, int]]:
        """GETQUOTAROOT (RFC 9208): each limit as (resource, used, most), such as ("STORAGE", 12, 100) in KiB."""
        with self._asking():
            answer = self._wire.getquotaroot(_quoted(_name(raw)))
            self._library._checkok("getquotaroot", *answer)
        lines = [line for line in answer[1][1] if isinstance(line, bytes)]
        found = [triple for line in lines for triple in _LIMIT.findall(line.rpartition(b"(")[2])]
        return [(resource.decode("ascii"), int(used), int(most)) for resource, used, most in found]

    def noop(self) -> None:
        """NOOP: the server looks at what other clients did. What is asked next must wait for its end: Dovecot answers commands that come
        together before it looks."""
        with self._asking():
            self._library.noop()

    def search(self, first: int, last: int, message_id: str = "") -> list[int]:
        """The UIDs that exist from `first` to `last`, sorted; with `message_id` those whose Message-ID holds it (a hint only,
        P16)."""
        criteria = f"UID {checked_uid(first)}:{checked_uid(last)}"
        if message_id:
            if not SEARCHABLE.fullmatch(message_id):
                raise RefusedError("A Message-ID with characters that do not belong there is not searched for.")
            criteria += f' HEADER Message-ID "{message_id}"'
        return sorted(uid for uid in self._search(criteria) if first <= uid <= last)

    def since(self, first: int, last: int, day: date) -> list[int]:
        """The UIDs from `first` to `last` of what came on that day or later, by the server's date (P18), sorted."""
        written = f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04}"
        found = self._search(f"UID {checked_uid(first)}:{checked_uid(last)} SINCE {written}")
        return sorted(uid for uid in found if first <= uid <= last)

    def existing(self, uids: Sequence[int]) -> set[int]:
        """Which of these UIDs there are now."""
        return self._search(f"UID {uid_set(uids)}").intersection(uids)

    def _search(self, criteria: str) -> set[int]:
        """Several SEARCH lines in one answer are joined (IC7)."""
        with self._asking():
            answer = self._wire.uid("SEARCH", criteria)
            self._library._checkok("search", *answer)
            return {int(word) for line in answer[1] if line for word in line.partition(b"(")[0].split()}

    def fetch(self, uids: Sequence[int], items: str) -> dict[int, Fetched]:
        """What the server answers about these UIDs; those it does not answer about in a way we understand are left out.

        Each answer is parsed by itself (IC5) and by its own UID: an unsolicited FETCH without one is dropped (IC3, IC4).
        """
        asked = uid_set(uids)
        begun = bool(self._begun) and self._begun[0][1:] == (asked, items)
        if not begun:
            self._early.clear()
        with self._asking(go_on=begun):
            try:
                answer = (
                    self._wire.ended("UID", self._begun.popleft()[0])
                    if begun
                    else self._wire.uid("FETCH", asked, f"({items})")
                )
                self._library._checkok("fetch", *answer)
            except imaplib.IMAP4.error:  # with it may have come answers to what was begun after it
                self._begun = deque((tag, "", "") for tag, _, _ in self._begun)
                raise
        for parts in answers(answer[1]):
            with suppress(*_LIBRARY_ERRORS):
                if one := fetched(parts):
                    early = self._early.get(one.uid)
                    self._early[one.uid] = together(early, one) if early else one
        found = {uid: self._early.pop(uid) for uid in uids if uid in self._early}
        if not self._begun:
            self._early.clear()
        return found

    def begin_fetch(self, uids: Sequence[int], items: str) -> None:
        """Send what `fetch` will be asked next, so that server and network are at work meanwhile; the answer is read by `fetch`. Several
        may be under way, of different messages, to be fetched in the same order: any other command lets them go unread. UIDs mean the
        same whatever comes between (P4)."""
        asked = uid_set(uids)
        with self._asking(go_on=True):
            self._begun.append((self._wire.begin("UID", "FETCH", asked, f"({items})"), asked, items))

    def _let_go(self) -> None:
        """Read what was begun and nobody wants any more; what the server says to it is nobody's business."""
        while self._begun:
            try:
                self._wire.ended("UID", self._begun.popleft()[0])
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error:  # a BAD
                pass
            self._wire.untagged_responses.clear()

    def create(self, raw: str) -> None:
        """CREATE."""
        with self._asking():
            self._library.create_folder(_name(raw))

    def subscribe(self, raw: str) -> None:
        """SUBSCRIBE."""
        with self._asking():
            self._library.subscribe_folder(_name(raw))

    def move(self, uids: Sequence[int], raw: str) -> tuple[int, dict[int, int]]:
        """UID MOVE. Answers (UIDVALIDITY of the target, new UID of each moved one) as far as COPYUID tells it (P3).

        A UID that is not in the answer may have been moved all the same, or not (P6, P8).
        """
        return self._transferred(self._library.move, uids, raw)

    def copy(self, uids: Sequence[int], raw: str) -> tuple[int, dict[int, int]]:
        """UID COPY. Answers like `move`."""
        return self._transferred(self._library.copy, uids, raw)

    def _transferred(
        self, command: Callable[[str, str], Any], uids: Sequence[int], raw: str
    ) -> tuple[int, dict[int, int]]:
        asked = uid_set(uids)
        with self._patient(len(uids)), self._asking():
            command(asked, _name(raw))
            return copied(self._wire.untagged_responses.get("COPYUID", []), frozenset(uids))

    def store(self, uids: Sequence[int], sign: str, flags: Iterable[str]) -> None:
        """UID STORE: add ("+") or take off ("-") system flags. Answers of the server about flags are not believed (IC4)."""
        asked = uid_set(uids)
        with self._patient(len(uids)), self._asking():
            answer = self._wire.uid("STORE", asked, f"{sign}FLAGS.SILENT", f"({' '.join(sorted(flags))})")
            self._library._checkok("store", *answer)

    def uid_expunge(self, uids: Sequence[int]) -> None:
        """UID EXPUNGE (RFC 4315): removes what is marked as deleted and among these UIDs, and nothing else (P10)."""
        asked = uid_set(uids)
        with self._patient(len(uids)), self._asking():
            self._library.uid_expunge(asked)

    @contextmanager
    def _patient(self, count: int) -> Iterator[None]:
        """Some servers take long for each message (N6)."""
        self._wire.silence = SILENCE_SECONDS + count
        try:
            yield
        finally:
            self._wire.silence = SILENCE_SECONDS

    def heard(self) -> list[str]:
        """Warnings that came with the answer to the last command: that the server slows us down or is nearly full; and the texts of
        ALERT since this was asked last, the login's among them (S6)."""
        untagged = self._wire.untagged_responses
        alerts = [alert.decode("utf-8", "replace") for alert in self._wire.alerts]
        self._wire.alerts.clear()
        codes = {*untagged, *(["THROTTLED"] if self._wire.slowed else [])}
        self._wire.slowed = False
        return [f"{self.host}{_UNSAID if self._tells(alert) else _says(alert)}" for alert in alerts] + [
            f"{self.host} {text}" for code, text in _WARNINGS if code in codes
        ]

    def logout(self) -> None:
        """LOGOUT, never CLOSE, which would expunge (D2). Never raises."""
        self._wire.silence = 5.0
        with suppress(FiltersError), self._asking(go_on=True):
            self._library.logout()
        self._shut()

    def _shut(self) -> None:
        self.dead = True
        with suppress(OSError):
            self._wire.shutdown()

    @contextmanager
    def _asking(self, *, go_on: bool = False) -> Iterator[None]:
        """One command: no old answers lie about (IC15), and what is raised is ours. `go_on`: what was begun stays under way."""
        if self.dead:
            raise BrokenOffError(f"The connection to {self.host} is lost.")
        self._wire.untagged_responses.clear()
        try:
            if not go_on:
                self._let_go()
            yield
        except (RefusedError, UnicodeEncodeError) as error:  # nothing was sent
            for tag in self._unanswered():
                del self._wire.tagged_commands[tag]
            if isinstance(error, RefusedError):
                raise
            raise RefusedError("A command with characters beyond ASCII was not sent.") from None
        except LoginError:
            raise
        except (ServerError, *_LIBRARY_ERRORS) as error:
            ours: FiltersError = error if isinstance(error, ServerError) else self._ours(error)
            before, says, _ = str(ours).partition(" (server says: ")
            if says and self._tells(f"{error} {self._wire.untagged_responses.get('BYE')}"):
                ours.args = (f"{before}{_UNSAID}.",)
            # a command without its tagged reply: nobody knows what the next line belongs to
            if self._unanswered() or isinstance(error, ServerError | imaplib.IMAP4.abort | OSError):
                self._shut()
            raise ours from None

    def _unanswered(self) -> set[bytes]:
        """Tags of commands that nobody waits for, and that have no reply."""
        return self._wire.tagged_commands.keys() - {tag for tag, _, _ in self._begun}

    def _ours(self, error: Exception) -> FiltersError:
        if isinstance(error, TimeoutError):
            return SilentError(f"{self.host} did not answer in time. Try again later.")
        if isinstance(error, OSError | imaplib.IMAP4.abort):
            bye = self._wire.untagged_responses.get("BYE", [b""])[-1]
            known = meaning(bye.decode("utf-8", "replace") if isinstance(bye, bytes) else "")
            if known and known.means == "traffic":
                return ServerError(f"{self.host} broke off the connection{_says(bye)}. {known.advice}", 75)
            return BrokenOffError(f"{self.host} broke off the connection{_says(bye)}. Try again later.")
        reply = _REPLY.match(str(error)) if type(error) is imaplib.IMAP4.error else None
        if not reply:
            return BrokenOffError(f"{self.host} answered something that cannot be understood.")
        text = reply["no"] or reply["bad"] or ""
        match = re.match(r"\[([A-Z-]+)", text)
        return self._rejection(text, match[1] if match else "", reply["no"] is None)

    def _rejection(self, text: str, code: str, bad: bool) -> FiltersError:
        """What a NO or BAD means (imap.md 2.4, and refusals.toml)."""
        says = f"{self.host} refused{_says(text)}."
        wait, known = wait_named(text), meaning(text)
        if wait or code in _BUSY:
            return BusyServerError(says, code, bad, wait)
        if known and known.means == "traffic":
            return ServerError(f"{says} {known.advice}", 75)
        if known and known.means == "login":
            self._shut()
            if self._inside:  # what worked a moment ago may work again
                return BrokenOffError(f"{self.host} let go of the mailbox{_says(text)}. Try again later.")
            return LoginError(f"{says} {known.advice}")
        if code in ("EXPIRED", "AUTHENTICATIONFAILED"):
            self._shut()
            return BrokenOffError(f"{self.host} ended the login{_says(text)}.")
        if code == "OVERQUOTA":
            return QuotaError(
                f"{self.host} says that a quota is used up{_says(text)}. Make room in the mailbox, or go on tomorrow where the "
                "provider limits the traffic of a day."
            )
        return RejectedError(says, code, bad)


#: What imapclient and imaplib raise for odd answers (IC5), besides what they document.
_LIBRARY_ERRORS = (imaplib.IMAP4.error, OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
#: How imapclient and imaplib word a NO and a BAD.
_REPLY = re.compile(r"(?s)\S+ failed: (?P<no>.*)|\S+ command error: BAD \[b['\"](?P<bad>.*)['\"]\]")


#: A refusal for now only, so that looking again and going on may help.
_BUSY = frozenset({"EXPUNGEISSUED", "INUSE", "SERVERBUG", "UNAVAILABLE"})
#: Codes of an OK that is a success and a warning.
_WARNINGS = (
    ("THROTTLED", "slows us down: too much was asked for. What is left to do takes longer."),
    ("OVERQUOTA", "says that the mailbox is over its quota."),
)
#: Every right of RFC 4314.
ALL_RIGHTS = "lrswipkxtea"


def _name(raw: str) -> str:
    if not re.fullmatch(r"[ -~]*", raw) or len(raw) > _NAME_CAP:
        raise RefusedError(f"The folder name {safe_text(raw, 60)} cannot be sent to an IMAP server.")
    return raw


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError:  # ssl.SSLError is one
        raise NotFoundError(
            f"No certificates can be read from {safe_text(str(ca_file))}. Give a file in PEM form."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _says(text: Any) -> str:
    shown = safe_text(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text), 200)
    return f" (server says: {shown.rstrip('. ')})" if shown.strip() else ""


@contextmanager
def _connecting(host: str, port: int) -> Iterator[None]:
    """Turn everything that can go wrong before login into our errors."""
    where = f"{safe_text(host)}:{port}"
    try:
        yield
    except FiltersError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise LoginError(
            f"The certificate of {where} is not trusted: {safe_text(error.verify_message, 200)}. No password was sent. "
            f"{_CERTIFICATE_ADVICE.get(error.verify_code, _FOREIGN_AUTHORITY)}"
        ) from None
    except (socket.gaierror, UnicodeError):
        raise TransientError(
            f"The host {safe_text(host)} is unknown. Check its name, and whether you are online.", 68
        ) from None
    except ssl.SSLError:
        raise ServerError(
            f"{where} does not speak TLS 1.2 or newer. Check the port: 993 is the usual one, or "
            "143 with imap+starttls://."
        ) from None
    except OSError as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else safe_text(error.strerror or "no connection")
        raise TransientError(
            f"{where} cannot be reached: {why}. Check host and port, and whether you are online.", 69
        ) from None
    except _LIBRARY_ERRORS as error:
        greeting = error.args[0] if error.args and isinstance(error.args[0], bytes) else b""
        raise TransientError(f"{where} did not greet as an IMAP server does{_says(greeting)}.") from None


def _told_at_login(answer: Sequence[Any], untagged: Sequence[Any]) -> frozenset[str]:
    """Capabilities on a line of their own before the OK of the login (RFC 3501, 6.2.2), which saves asking; none when there is none. Not
    those within the OK, which imaplib takes for the same: a proxy may have left them as they were before (section 4, iCloud)."""
    told = (
        untagged[-1]
        if untagged and not any(isinstance(one, bytes) and b"[CAPABILITY" in one.upper() for one in answer)
        else None
    )
    return frozenset(told.decode("ascii", "replace").upper().split()) if isinstance(told, bytes) else frozenset()


_NUMBERS = re.compile(rb"(UIDVALIDITY|UIDNEXT) (\d{1,10})(?=[ )])", re.IGNORECASE)
_LIMIT = re.compile(rb"([A-Z0-9-]{1,40}) (\d{1,18}) (\d{1,18})", re.IGNORECASE)
_FOREIGN_AUTHORITY = "Check the host name; for a server of your own give its certificate authority with --ca-file."
#: What to do, by OpenSSL's verify codes: not yet valid, expired, another name, another address.
_CERTIFICATE_ADVICE = {
    9: "Is the clock of this machine right? If it is, the server's certificate was installed too early.",
    10: "Is the clock of this machine right? If it is, whoever runs the server must renew the certificate.",
} | dict.fromkeys(
    (62, 64),
    "Check the host name. In a network that wants a login first, as hotels have, open a web page and log in there; for a server of"
    " your own give its certificate authority with --ca-file.",
)
_UNSAID = " (what the server says holds your password, and is not shown)"
_OAUTH_ADVICE = "The access token is not valid, or not for IMAP of this mailbox: see what oauth_token_command prints, and which scope it asks for."
_LATER = re.compile(r"\[(?:UNAVAILABLE|INUSE|LIMIT|SERVERBUG)\]")


def _login_error(host: str, error: imaplib.IMAP4.error, tells: Callable[[str], bool], usual: str = "") -> FiltersError:
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    says = _UNSAID if tells(text) else _says(text)
    wait, known = wait_named(text), meaning(text)
    if known and known.means == "traffic":
        return ServerError(f"{host} lets nobody in now{says}. {known.advice}", 75)
    if wait or _LATER.search(text) or (known and known.means == "busy"):
        then = known.advice if known else "Try again later."
        return TransientError(f"{host} cannot let anybody in now{says}. {then}", 75 if wait else 69, wait=wait)
    advice = known.advice if known else usual
    if not advice and re.fullmatch(r"LOGIN failed\.?|AUTHENTICATE failed\.?", text):  # Microsoft's words
        advice = f"If this is a Microsoft account: {NO_PASSWORDS}"
    advice = advice or "Check user name and password; many providers want an app password and IMAP to be switched on."
    return LoginError(f"{host} refused the login{says}. {advice}")
