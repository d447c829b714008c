"""Two mail providers as small servers that keep mail: what they answer is made after transcripts and documents that name it.

Gmail: Google's page "IMAP Extensions" (capabilities, LIST with the marks of special folders, X-GM-MSGID), a log of 2022
(jstedfast/MailKit issue 1396: greeting, capabilities before and after the login, "Success [THROTTLED]"), and ruby/net-imap issue 398
(COPYUID in the tagged answer of a MOVE). Exchange Online: jstedfast/MailKit issues 1494 and 1496, simonrob/email-oauth2-proxy issues 74
and 191 (greeting, capabilities, "authenticated but not connected", the throttling text and what follows it), domainaware/parsedmarc
issue 80 (the bare COPYUID line), OfflineIMAP issue 645 ("Mailbox already exists."). Words that none of these tell are ours.

A command that the provider does not document as accepted is answered with BAD, and stands in `refused`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from scripted_imap import CUT, Answer, asked


@dataclass
class Letter:
    raw: bytes
    number: int
    flags: set[str] = field(default_factory=lambda: {"\\Seen"})


@dataclass
class Mailbox:
    marks: str = ""
    validity: int = 1
    uidnext: int = 1
    letters: dict[int, Letter] = field(default_factory=dict)

    def add(self, letter: Letter) -> int:
        self.letters[self.uidnext] = letter
        self.uidnext += 1
        return self.uidnext - 1

    def uid_of(self, letter: Letter) -> int:
        return next((uid for uid, one in self.letters.items() if one is letter), 0)


class Provider:
    """Mail of one account. `answers` is for ScriptedServer, which asks for each connection anew."""

    greeting = b"* OK hello\r\n"
    before_login = after_login = "IMAP4rev1"
    special: Mapping[str, str] = {}
    success = "done"
    items: tuple[str, ...] = ("UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE")
    commands = "UID (?:SEARCH|FETCH|MOVE|COPY)|SELECT|EXAMINE|STATUS|LIST|NAMESPACE|CREATE|SUBSCRIBE|NOOP|UNSELECT|LOGOUT|CAPABILITY"

    def __init__(self) -> None:
        self.boxes = {"INBOX": Mailbox()} | {
            name: Mailbox(marks, number + 2) for number, (name, marks) in enumerate(self.special.items())
        }
        self.refused: list[str] = []
        self.once: dict[str, list[bytes]] = {}
        """Answers that are given instead, each once, by the beginning of a command."""
        self._lock, self._letters = threading.Lock(), 0

    def deliver(self, raw: bytes, folder: str = "INBOX", flags: str = "\\Seen") -> Letter:
        self._letters += 1
        letter = Letter(raw, 1_278_455_344_230_334_865 + self._letters, set(flags.split()))
        self.boxes[folder].add(letter)
        return letter

    def uids(self, folder: str) -> list[int]:
        return sorted(self.boxes[folder].letters) if folder in self.boxes else []

    def where(self, letter: Letter) -> set[str]:
        return {name for name, box in self.boxes.items() if box.uid_of(letter) and "\\Noselect" not in box.marks}

    def answers(self) -> Mapping[str, Answer]:
        session = _Session(self)
        return {
            "": session.answer,
            # with SASL-IR the answer to the question stands in the command
            "AUTHENTICATE": lambda command: session.log_in(command) if command.count(" ") > 1 else b"+ \r\n",
            "SASL": session.log_in,
            "LOGIN": session.log_in,
            **dict.fromkeys(
                ("CAPABILITY", "NAMESPACE", "LIST", "EXAMINE", "SELECT", "STATUS", "LOGOUT"), session.answer
            ),
        }

    # What differs

    def status_end(self) -> str:
        return ""

    def searched(self, criteria: str) -> bool:
        """Whether a search by these criteria, after the UIDs, is documented."""
        return re.fullmatch(r"(?: HEADER Message-ID \S+| SINCE \S+)?", criteria) is not None

    def moved(self, source: Mailbox, target: Mailbox, uids: list[int], *, stays: bool) -> bytes:
        raise NotImplementedError

    def created(self, name: str) -> bytes:
        if any(name.lower() == one.lower() for one in self.boxes):
            return b"TAG NO [ALREADYEXISTS] Duplicate folder name (Failure)\r\n"
        self.boxes[name] = Mailbox(validity=40 + len(self.boxes))
        return b"TAG OK %s\r\n" % self.success.encode()


@dataclass
class _Session:
    provider: Provider
    inside: bool = False
    opened: str = ""

    def log_in(self, command: str) -> bytes:
        self.inside = True
        return self._instead("LOGIN") or b"TAG OK %s\r\n" % self.provider.success.encode()

    def answer(self, command: str) -> bytes:
        provider = self.provider
        with provider._lock:
            if instead := self._instead(command):
                return instead
            if re.match(f"(?:{provider.commands})(?: |$)", command):
                verb = command.split()[1] if command.startswith("UID ") else command.split(maxsplit=1)[0]
                found: bytes | None = getattr(self, f"_{verb.lower()}")(command)
                if found is not None:
                    return found
            provider.refused.append(command)
            return b"TAG BAD Unknown command or arguments\r\n"

    def _instead(self, command: str) -> bytes:
        for beginning, some in self.provider.once.items():
            if some and command.startswith(beginning):
                return some.pop(0)
        return b""

    def _ok(self, *lines: str) -> bytes:
        return ("".join(f"* {line}\r\n" for line in lines) + f"TAG OK {self.provider.success}\r\n").encode("latin-1")

    def _capability(self, command: str) -> bytes:
        told = self.provider.after_login if self.inside else self.provider.before_login
        return self._ok(f"CAPABILITY {told}")

    def _noop(self, command: str) -> bytes:
        return self._ok()

    def _subscribe(self, command: str) -> bytes:
        return self._ok()

    def _unselect(self, command: str) -> bytes:
        self.opened = ""
        return self._ok()

    def _logout(self, command: str) -> bytes:
        return self._ok("BYE LOGOUT Requested")

    def _namespace(self, command: str) -> bytes:
        return self._ok('NAMESPACE (("" "/")) NIL NIL')

    def _list(self, command: str) -> bytes | None:
        match = re.fullmatch(r'LIST "" "([^"]*)"', command)
        if not match:
            return None
        pattern = re.escape(match[1]).replace(r"\*", ".*").replace("%", "[^/]*")
        found = {name: box for name, box in self.provider.boxes.items() if re.fullmatch(pattern, name)}
        return self._ok(
            *(f'LIST (\\HasNoChildren{f" {box.marks}" * bool(box.marks)}) "/" "{name}"' for name, box in found.items())
        )

    def _box(self, command: str) -> tuple[str, Mailbox | None]:
        name = re.findall(r'"([^"]*)"', command)[0]
        box = self.provider.boxes.get(name)
        return name, None if box and "\\Noselect" in box.marks else box

    def _status(self, command: str) -> bytes:
        name, box = self._box(command)
        if not box:
            return f"TAG NO Unknown Mailbox: {name} (Failure)\r\n".encode()
        numbers = f"(UIDVALIDITY {box.validity} UIDNEXT {box.uidnext}){self.provider.status_end()}"
        return self._ok(f'STATUS "{name}" {numbers}')

    def _select(self, command: str) -> bytes:
        name, box = self._box(command)
        if not box:
            self.opened = ""
            return f"TAG NO [NONEXISTENT] Unknown Mailbox: {name} (Failure)\r\n".encode()
        self.opened = name
        mode = "READ-ONLY" if command.startswith("EXAMINE") else "READ-WRITE"
        lines = (
            "FLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen)",
            "OK [PERMANENTFLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen \\*)] Flags permitted.",
            f"OK [UIDVALIDITY {box.validity}] UIDs valid.",
            f"{len(box.letters)} EXISTS",
            "0 RECENT",
            f"OK [UIDNEXT {box.uidnext}] Predicted next UID.",
        )
        return self._ok(*lines).replace(b"TAG OK", b"TAG OK [%s]" % mode.encode())

    _examine = _select

    def _search(self, command: str) -> bytes | None:
        match = re.fullmatch(r"UID SEARCH UID [\d:,]+(.*)", command)
        if not match or not self.provider.searched(match[1]):
            return None
        box = self.provider.boxes[self.opened]
        uids = asked(command, box.letters)
        if sought := re.fullmatch(r' HEADER Message-ID "(.*)"', match[1]):
            uids = [uid for uid in uids if sought[1].encode() in box.letters[uid].raw]
        return self._ok(f"SEARCH {' '.join(map(str, uids))}".rstrip())

    def _fetch(self, command: str) -> bytes | None:
        match = re.fullmatch(r"UID FETCH [\d:,]+ \((.*)\)", command)
        rest = re.sub(r"BODY\.PEEK\[[^\]]*\](?:<[\d.]+>)?", "", match[1]) if match else "?"
        if not set(rest.split()) <= set(self.provider.items):
            return None
        box = self.provider.boxes[self.opened]
        lines = [
            self._line(number, uid, box.letters[uid], command)
            for number, uid in enumerate(sorted(box.letters), 1)
            if uid in asked(command, box.letters)
        ]
        return b"".join(lines) + b"TAG OK %s\r\n" % self.provider.success.encode()

    def _line(self, number: int, uid: int, letter: Letter, command: str) -> bytes:
        told = [f"UID {uid}"]
        told += [f"X-GM-MSGID {letter.number}"] if "X-GM-MSGID" in command else []
        told += [f"FLAGS ({' '.join(sorted(letter.flags))})"] if "FLAGS" in command else []
        told += ['INTERNALDATE "03-May-2016 10:00:00 +0000"'] if "INTERNALDATE" in command else []
        told += [f"RFC822.SIZE {len(letter.raw)}"] if "RFC822.SIZE" in command else []
        match = re.search(r"BODY\.PEEK(\[.*\])<0\.(\d+)>", command)
        if not match:
            return f"* {number} FETCH ({' '.join(told)})\r\n".encode()
        header = letter.raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        body = (header if "HEADER" in match[1] else letter.raw)[: int(match[2])]
        return f"* {number} FETCH ({' '.join(told)} BODY{match[1]}<0> {{{len(body)}}}\r\n".encode() + body + b")\r\n"

    def _create(self, command: str) -> bytes:
        return self.provider.created(self._box(command)[0])

    def _move(self, command: str) -> bytes | None:
        name, target = self._box(command)
        if not target:
            return b"TAG NO [TRYCREATE] No folder " + name.encode() + b" (Failure)\r\n"
        source = self.provider.boxes[self.opened]
        uids = asked(command.replace("UID COPY", "UID MOVE"), source.letters)
        return self.provider.moved(source, target, uids, stays=command.startswith("UID COPY"))

    _copy = _move


def _copyuid(target: Mailbox, old: list[int], new: list[int]) -> str:
    return f"COPYUID {target.validity} {','.join(map(str, old))} {','.join(map(str, new))}"


class Gmail(Provider):
    """Folders are labels, and their names are German here."""

    greeting = b"* OK Gimap ready for requests from 127.0.0.1 x2mb241876667wmk\r\n"
    before_login = (
        "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR AUTH=XOAUTH2 AUTH=PLAIN"
        " AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER AUTH=XOAUTH"
    )
    after_login = (
        "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS COMPRESS=DEFLATE ENABLE MOVE CONDSTORE"
        " ESEARCH UTF8=ACCEPT LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584"
    )
    special: Mapping[str, str] = {
        "[Gmail]": "\\Noselect",
        "[Gmail]/Alle Nachrichten": "\\All",
        "[Gmail]/Chats": "",
        "[Gmail]/Markiert": "\\Flagged",
        "[Gmail]/Papierkorb": "\\Trash",
        "[Gmail]/Spam": "\\Junk",
        "[Gmail]/Wichtig": "\\Important",
    }
    success = "Success"
    items = (*Provider.items, "X-GM-MSGID")

    def deliver(self, raw: bytes, folder: str = "INBOX", flags: str = "\\Seen") -> Letter:
        letter = super().deliver(raw, folder, flags)
        self.boxes["[Gmail]/Alle Nachrichten"].add(letter)
        return letter

    def label(self, letter: Letter, folder: str) -> None:
        """Put a label on a message, as a person does in the browser, or a filter of the account."""
        self.boxes.setdefault(folder, Mailbox(validity=40 + len(self.boxes)))
        if not self.boxes[folder].uid_of(letter):
            self.boxes[folder].add(letter)

    def moved(self, source: Mailbox, target: Mailbox, uids: list[int], *, stays: bool) -> bytes:
        new, gone = [], []
        for uid in uids:
            letter = source.letters[uid]
            new.append(target.uid_of(letter) or target.add(letter))
            if not stays:
                gone.append(f"* {sorted(source.letters).index(uid) + 1} EXPUNGE\r\n")
                del source.letters[uid]
        if not uids:
            return b"TAG OK Success\r\n"
        return f"{''.join(gone)}TAG OK [{_copyuid(target, uids, new)}] (Success)\r\n".encode()

    def created(self, name: str) -> bytes:
        if "^" in name or "  " in name or any(part != part.strip() for part in name.split("/")):
            return b"TAG NO [CANNOT] Invalid folder name (Failure)\r\n"
        return super().created(name)


class Exchange(Provider):
    """Exchange Online: no marks of special folders, a name that is reserved, and a MOVE that says where mail went in a line of its own."""

    greeting = b"* OK The Microsoft Exchange IMAP4 service is ready. [RgBSADMAUAAyADgAMQBDAEEA]\r\n"
    before_login = (
        "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
    )
    after_login = (
        "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES"
        " CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+"
    )
    special: Mapping[str, str] = {"Deleted Items": "", "Drafts": "", "Junk Email": "", "Sent Items": ""}
    bare = False
    """Whether COPYUID stands in a line without a star, which ends the connection of many a client."""

    def status_end(self) -> str:
        return " "

    def moved(self, source: Mailbox, target: Mailbox, uids: list[int], *, stays: bool) -> bytes:
        new = [target.add(source.letters[uid]) for uid in uids]
        for uid in uids if not stays else ():
            del source.letters[uid]
        if not uids:
            return b"TAG OK MOVE completed.\r\n"
        line = f"[{_copyuid(target, uids, new)}]"
        gone = "" if stays else "* 1 EXPUNGE\r\n" * len(uids)
        return f"{line if self.bare else f'* OK {line}'}\r\n{gone}TAG OK MOVE completed.\r\n".encode()

    def created(self, name: str) -> bytes:
        if name.lower() == "files":
            return b"TAG NO CREATE failed.\r\n"
        if name in self.boxes:
            return b"TAG NO Mailbox already exists.\r\n"
        return super().created(name)


def throttled(milliseconds: int) -> bytes:
    """How Exchange asks to be left alone, and leaves."""
    return (
        b"TAG BAD Request is throttled. Suggested Backoff Time: %d milliseconds\r\n* BYE Connection closed. 14\r\n"
        % milliseconds
        + CUT
    )
