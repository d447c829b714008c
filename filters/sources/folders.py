"""Folders of an IMAP account: as a person types their names, as the server spells them (D8), and which of them are special."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from filters.errors import TargetError
from filters.safe_text import safe_text
from filters.sources import Target
from filters.sources.gmail import has_labels, is_own, unfit
from filters.sources.guarded import ALL_RIGHTS, Folder, GuardedClient, RejectedError
from filters.sources.location import USUAL_SPECIAL, decoded, encoded
from filters.sources.session import Session

#: RFC 6154 and RFC 8457. Flagged and important mail lies elsewhere as well: such folders are views.
_SPECIAL = frozenset({"\\all", "\\drafts", "\\flagged", "\\important", "\\junk", "\\sent", "\\trash"})
_ABSENT = frozenset({"\\noselect", "\\nonexistent"})
#: Rights to move mail out of a folder, and into one (RFC 4314): mark as deleted and expunge; insert, and set flags.
_OUT, _INTO = "te", "iws"


class Folders:
    """The folders of one account, found by what people type."""

    def __init__(self, session: Session, account: str) -> None:
        self._session, self._account = session, account
        self._named: tuple[str, str] | None = None
        self._told = "NAMESPACE" in session.client.capabilities
        self._tells = "SPECIAL-USE" in session.client.capabilities
        self._labels = has_labels(session.client.capabilities)
        self._raws: dict[str, str] = {}
        self._numbered: dict[str, Target] = {}

    @property
    def _prefix(self) -> str:
        return self._naming()[0]

    @property
    def _delimiter(self) -> str:
        return self._naming()[1]

    def _naming(self) -> tuple[str, str]:
        """Prefix and delimiter. Asked for when they are needed: a night without new mail needs neither."""
        if self._named is None:
            self._named = self._session.ask("", GuardedClient.namespace)
        return self._named

    def find(self, folder: str) -> Folder | None:
        """The folder that is meant, or None."""
        for raw in self._spellings(folder):
            if raw == "INBOX":
                return Folder(raw, frozenset(), "")
            for found in self._session.ask("", partial(GuardedClient.folders, pattern=raw)):
                if found.raw == raw and not found.flags & _ABSENT:
                    return found
        return None

    def _spellings(self, folder: str) -> Iterator[str]:
        if folder.upper() == "INBOX":
            yield "INBOX"
            return
        levels = folder.replace("/", self._delimiter) if "/" in folder and self._delimiter else folder
        names = [encoded(levels), *([levels] if levels.isascii() and "&" in levels else [])]
        yield from names
        yield from (self._prefix + name for name in names if self._prefix and not name.startswith(self._prefix))

    def raw_of(self, folder: str) -> str:
        """How the server spells a folder; "" when there is none."""
        if folder not in self._raws:
            found = self.find(folder)
            if not found:
                return ""
            self.remember(found)
            self._raws[folder] = found.raw  # also as it was typed
        return self._raws[folder]

    def remember(self, found: Folder) -> str:
        """Keep a folder's spelling; gives its name."""
        name = decoded(found.raw)
        self._raws[name] = found.raw
        return name

    def forget(self, folder: str) -> None:
        """A folder is not what it was."""
        self._raws.pop(folder, None)

    def missing(self, folder: str) -> str:
        """A sentence about a folder that is not there, with some that are."""
        names = [safe_text(decoded(one.raw), 40) for one in self._all() if not one.flags & _ABSENT]
        some = f" There are: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}." if names else ""
        return f"There is no folder {safe_text(folder)} at {self._account}.{some}"

    def _all(self) -> list[Folder]:
        return self._session.ask("", partial(GuardedClient.folders, pattern="*"))

    def usual(self) -> list[str]:
        """Names of the folders that can be opened and are not special."""
        return [decoded(one.raw) for one in self._all() if not one.flags & _ABSENT and not self.special(one)]

    def special(self, folder: Folder) -> str:
        """What makes a folder special, such as "\\\\Junk"; "" for any other."""
        told = ", ".join(f"\\{flag[1:].capitalize()}" for flag in sorted(folder.flags & _SPECIAL))
        name = folder.raw.rpartition(folder.delimiter)[2] if folder.delimiter else folder.raw
        if self._labels and not told and is_own(folder.raw):
            return f"Gmail's own {name}"
        if told or self._tells or name.lower() not in USUAL_SPECIAL:
            return told
        top = folder.raw in (name, f"INBOX{folder.delimiter}{name}", f"{self._prefix}{name}")
        return f"called {name}" if top else ""

    def numbered(self, folder: str) -> Target | None:
        """How a folder is numbered now; None when there is none, or it has no numbers. The name as it is mostly is the server's: then one
        question is enough."""
        for raw in self._known_or_guessed(folder):
            with suppress(RejectedError):
                validity, uidnext = self._session.ask("", partial(GuardedClient.status, raw=raw))
                if not (validity and uidnext):
                    return None
                found = Target(decoded(raw), validity, self._session.bound(raw, uidnext))
                self._raws[folder] = self._raws[found.folder] = raw
                self._numbered[raw] = found
                return found
            self.forget(folder)
        return None

    def _known_or_guessed(self, folder: str) -> Iterator[str]:
        if folder not in self._raws:
            yield encoded(folder)
        if raw := self.raw_of(folder):
            yield raw

    def lacks_out(self, folder: Folder) -> str:
        """Rights that are missing to move mail out of a folder, as letters of RFC 4314."""
        return _lacking(_OUT, self._session.ask("", partial(GuardedClient.rights, raw=folder.raw)))

    def target(self, folder: str, home: str) -> Target:
        """A folder to move to, made if there is none, in which the STATUS must be OK (D10). Raises TargetError."""
        folder, shown = folder.strip("/"), safe_text(folder)
        if not folder:
            raise TargetError("The folder to move to has no name. Give one, such as News/Ads.")
        if self._labels and (why := unfit(folder)):
            raise TargetError(f"The folder {shown} cannot be used: {why}. Choose another name.")
        try:
            there, numbers = self._looked_up(folder)
            found = there or self._created(folder)
            if found.raw == home:
                raise TargetError(f"Mail cannot be moved from {shown} to {shown}. Choose another folder.")
            if self.special(found):
                raise TargetError(
                    f"{shown} is a special folder, which servers treat in ways of their own. Choose another folder."
                )
            if lacking := _lacking(_INTO, self._session.ask("", partial(GuardedClient.rights, raw=found.raw))):
                raise TargetError(
                    f"This login may not put mail into {shown} (it lacks the rights {lacking}). Choose another folder."
                )
            if not numbers and (known := self._numbered.pop(found.raw, None)):
                return known  # of a moment ago, which is before the first move as well
            validity, uidnext = numbers or self._session.ask("", partial(GuardedClient.status, raw=found.raw))
            uidnext = self._session.bound(found.raw, uidnext) if uidnext else 0
        except RejectedError as error:
            raise TargetError(f"The folder {shown} cannot be used: {error} Choose another one.") from None
        if not validity or not uidnext:
            raise TargetError(f"The server keeps no numbers of messages in {shown}. Choose another folder.")
        return Target(self.remember(found), validity, uidnext)

    def _looked_up(self, folder: str) -> tuple[Folder | None, tuple[int, int] | None]:
        """`find`, and the numbers of what it finds, in one round trip for each spelling."""
        for raw in self._spellings(folder):
            if raw == "INBOX":
                return Folder(raw, frozenset(), ""), None
            listing, numbers = self._session.ask("", partial(GuardedClient.looked_up, raw=raw))
            for found in listing:
                if not found.flags & _ABSENT:
                    return found, numbers
        return None, None

    def _created(self, folder: str) -> Folder:
        name = encoded(folder.replace("/", self._delimiter) if self._delimiter else folder)
        names = [name if name.startswith(self._prefix) else self._prefix + name]
        if not self._told and not self._prefix and self._delimiter:
            names.append(f"INBOX{self._delimiter}{name}")  # where nobody tells the prefix (N20)
        for raw in names:
            found = Folder(raw, frozenset(), self._delimiter)
            try:
                self._session.ask("", partial(GuardedClient.create, raw=raw))
            except RejectedError as error:
                refusal = error
                # NO may mean that it is there, also because we made it a moment ago (P12)
                with suppress(RejectedError):
                    self._session.ask("", partial(GuardedClient.status, raw=raw))
                    return found
            else:
                with suppress(RejectedError):
                    self._session.ask("", partial(GuardedClient.subscribe, raw=raw))
                return found
        raise refusal


def _lacking(wanted: str, granted: str) -> str:
    return "" if granted == ALL_RIGHTS else "".join(letter for letter in wanted if letter not in granted)
