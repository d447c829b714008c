"""Mail with labels: what a person says of folders, of Takeout labels, or of messages in a list; read in worker processes."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zlib
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from filters import senders
from filters.authenticity import check, claims_to_be
from filters.errors import InputError, NotFoundError, UsageError
from filters.features import Features, read, templates_of
from filters.grouping import Kinship, kinship
from filters.message import MESSAGE_CAP, Message, decode_words, parse, read_headers
from filters.senders import Sender
from filters.sources import Mail, Passed, Source, Unreadable, Wanted
from filters.workers import Failure, Workers

#: What a person calls mail that is to be moved, and mail that is not; LinkedIn's own categories do as well.
PROMOTIONAL, KEEP = "promotional", "keep"
_GMAIL_HEADER = "x-gmail-labels"
#: Why a message does not count, and how that is said.
PASSED = {
    "elsewhere": "not the sender's",
    "forged": "look forged",
    "ruled": "decided by rules above any model",
    "repeated": "read already",
    "unlabelled": "without a label",
}
#: Columns of a list that name a message, and bytes of such a list.
_NAMES = ("path", "key", "place", "identity", "message_id")
_LIST_CAP = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Label:
    """`name` is said of the mail at `location`; of a Takeout mbox, of the mail with the Gmail label `gmail` alone.

    With `by` the label of each message stands in a list instead, by its path, identity or Message-ID.
    """

    name: str
    location: str
    gmail: str = ""
    by: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled message, without its text: `place` is for a person, `identity` the same for the same message anywhere."""

    place: str
    identity: str
    names: tuple[str, ...]
    """What a list may call it by."""
    label: str
    features: Features = field(repr=False)
    kin: Kinship = field(repr=False)
    author: str
    """Who it says that it is from."""
    barred: bool = False
    """By data no advertising as a whole, whatever a model says."""

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {
            "place": self.place,
            "identity": self.identity,
            "names": self.names,
            "label": self.label,
            "author": self.author,
            "barred": self.barred,
            **self.features.as_json(),
            "signs": sorted(self.kin.signs),
            "hashes": self.kin.hashes,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Labelled:
        """What `as_json` wrote. Raises KeyError, TypeError, AttributeError or ValueError for anything else."""
        return cls(
            place=str(row["place"]),
            identity=str(row["identity"]),
            names=tuple(map(str, row["names"])),
            label=str(row["label"]),
            features=Features.from_json(row),
            kin=Kinship(frozenset(row["signs"]), tuple(row["hashes"])),
            author=str(row["author"]),
            barred=bool(row["barred"]),
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """One message as it was read, all but its names packed (`pack`): so it travels and waits, and mostly nobody looks into it."""

    place: str
    identity: str
    names: tuple[str, ...]
    label: str
    content: str = field(repr=False)

    def as_json(self) -> list[Any]:
        """The fields as JSON has them."""
        return [self.place, self.identity, self.names, self.label, self.content]

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> Sealed:
        """What `as_json` wrote."""
        place, identity, names, label, content = row
        return cls(place, identity, tuple(names), label, content)

    def opened(self) -> Labelled:
        """The same to be looked into."""
        row = {"place": self.place, "identity": self.identity, "names": self.names, "label": self.label}
        return Labelled.from_json(row | unpacked(self.content))


def pack(content: Mapping[str, Any]) -> str:
    """A JSON object as a word: zlib, base64."""
    return b64encode(zlib.compress(json.dumps(content).encode(), 1)).decode()


def unpacked(content: str) -> dict[str, Any]:
    """What `pack` packed. Raises ValueError for anything else."""
    try:
        return dict(json.loads(zlib.decompress(b64decode(content))))
    except zlib.error as error:
        raise ValueError(str(error)) from error


class Shelf:
    """Labelled mail on disk, to be gone through more than once: in a temporary file without a name, for its owner only. Of any number
    of mails, one is in memory."""

    def __init__(self) -> None:
        self._file = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115 (closed with the shelf)
        self.counts: Counter[str] = Counter()
        """Mails by label."""

    def __enter__(self) -> Shelf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, one: Sealed) -> None:
        """Put one at the end; not after the first has been taken."""
        self._file.write(json.dumps(one.as_json()).encode() + b"\n")
        self.counts[one.label] += 1

    def __iter__(self) -> Iterator[Labelled]:
        self._file.seek(0)
        return (Sealed.from_json(json.loads(line)).opened() for line in self._file)


@dataclass(slots=True)
class Read:
    """What was seen besides the mail that counts: all messages, those passed over by reason (`PASSED`), and unreadable ones; `failed`
    says of each file that could not be read to its end why, and an exit code."""

    messages: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)
    failed: list[tuple[str, int]] = field(default_factory=list)


def parse_label(text: str) -> Label:
    """Read NAME=SOURCE, or NAME=TAKEOUT.mbox#GMAIL-LABEL. Raises UsageError."""
    name, equals, location = text.partition("=")
    if not equals or not name.strip() or not location:
        raise UsageError(f"--label wants NAME=SOURCE, such as promotional=~/Maildir/.Ads; not {text}.")
    path, mark, gmail = location.partition("#")
    if mark and "://" not in location and not Path(location).exists():
        return Label(name.strip(), str(Path(path).expanduser()), gmail.strip())
    return Label(name.strip(), str(Path(location).expanduser()) if "://" not in location else location)


def is_ours(names: Iterable[str], sender: Sender) -> bool:
    """Whether the labels are about the sender's mail (promotional, keep, or its categories), or about any mail at all.

    Raises UsageError when some are the one and some the other.
    """
    known = {PROMOTIONAL, KEEP, *sender.categories}
    found = set(names)
    if found & known and found - known:
        raise UsageError(
            f"The labels {', '.join(sorted(found - known))} do not go with {', '.join(sorted(found & known))}. Labels are"
            f" {PROMOTIONAL} and {KEEP}, or {sender.title}'s categories: {', '.join(sorted(sender.categories))}."
        )
    return not found - known


def read_labelled(
    labels: Sequence[Label],
    open_source: Callable[[str], Source],
    sender: Sender,
    *,
    ours: bool,
    general: bool,
    read: Read,
) -> Iterator[Sealed]:
    """The mail of each label in turn. With `ours` only what is the sender's, and not forged; else all of it. With `general` its
    features include the tokens of any mail. What is passed over is counted in `read`.

    Raises InputError for a message under two labels, when it is met the second time; and whatever sources raise.
    """
    with Workers("filters.labelled:worker", {"ours": ours, "general": general}) as workers:
        yield from once_each(_of_sources(labels, open_source, sender if ours else None, workers, read), read)


def _of_sources(
    labels: Sequence[Label],
    open_source: Callable[[str], Source],
    sender: Sender | None,
    workers: Workers,
    read: Read,
) -> Iterator[Sealed]:
    for label in labels:
        with closing(open_source(label.location)) as source:
            for one in read_source(source, label.gmail, sender, workers, read):
                if found := called(one, label, read):
                    yield found


def read_source(source: Source, gmail: str, sender: Sender | None, workers: Workers, read: Read) -> Iterator[Sealed]:
    """What counts of a source, without a label yet; all of it, or what is the sender's. The tasks of `workers` are our `worker`."""
    for mail, result in workers.map(_mails(source, gmail, sender, read)):
        if isinstance(result, Failure):
            read.unreadable.append(Unreadable(mail.place, result.reason))
        elif found := counted(result, mail, read):
            yield found


def called(one: Sealed, label: Label, read: Read) -> Sealed | None:
    """The message with the name that its label, or a list, gives it; None when the list does not name it."""
    by = label.by
    name = label.name if by is None else next((by[name] for name in one.names if name in by), "")
    if not name:
        read.passed["unlabelled"] += 1
    return replace(one, label=name) if name else None


def once_each(found: Iterable[Sealed], read: Read) -> Iterator[Sealed]:
    """Each message once, whoever reads it where. Raises InputError for one under two labels, when it is met the second time."""
    known: dict[str, tuple[str, str]] = {}
    for one in found:
        if one.identity in known:
            _agree(*known[one.identity], one)
            read.passed["repeated"] += 1
        else:
            known[one.identity] = one.place, one.label
            yield one


def _agree(place: str, label: str, found: Sealed) -> None:
    if label != found.label:
        raise InputError(
            f"One message has two labels: {place} is {label}, {found.place} is {found.label}. Take it out of one of them."
        )


def _mails(source: Source, gmail: str, sender: Sender | None, read: Read) -> Iterator[tuple[Mail, bytes]]:
    def wanted(block: bytes) -> bool:
        if gmail and gmail.casefold() not in gmail_labels(block):
            return False
        return sender is None or claims_to_be(block, sender)

    fields = (*(sender.header_fields if sender else ("FROM",)), *((_GMAIL_HEADER.upper(),) if gmail else ()))
    for seen in source.scan(Wanted(fields, wanted)):
        read.messages += seen.count if isinstance(seen, Passed) else 1
        if isinstance(seen, Passed):
            read.passed["elsewhere"] += seen.count
        elif isinstance(seen, Unreadable):
            read.unreadable.append(seen)
        else:
            yield seen, seen.raw


def gmail_labels(block: bytes) -> frozenset[str]:
    """The labels that Gmail's export wrote above a message, case folded: they may be encoded, and quoted where they hold a comma."""
    headers, _ = read_headers(block)
    values = [decode_words(value) for name, value in headers if name == _GMAIL_HEADER]
    rows = csv.reader(io.StringIO(",".join(values)), skipinitialspace=True)
    return frozenset(word.strip().casefold() for row in rows for word in row if word.strip())


def counted(result: dict[str, Any], mail: Mail, read: Read) -> Sealed | None:
    """The message as a worker read it, unless it does not count."""
    if result["passed"]:
        read.passed[result["passed"]] += 1
        return None
    identity = mail.identity or f"sha256:{sha256(mail.raw).hexdigest()}"
    place = "/".join(part for part in (mail.place.account, mail.place.folder, mail.place.key) if part)
    return Sealed(place, identity, (mail.place.key, place, identity, result["message_id"]), "", result["content"])


def read_list(path: Path, column: str) -> dict[str, str]:
    """What a list says of messages: CSV with a head, or JSON lines. Each row has `column`, and names a message by one or more of
    path, key, place, identity, message_id.

    Raises NotFoundError, or InputError for what is no such list, with the line.
    """
    found: dict[str, str] = {}
    entries = 0
    try:
        with path.open("rb") as file:
            raw = file.read(_LIST_CAP + 1)  # it may be a pipe, whose size nobody knows
        if len(raw) > _LIST_CAP:
            raise InputError(f"{path} is larger than {_LIST_CAP >> 20} MB, which no list is.")
        text = raw.decode("utf-8")
        rows = map(json.loads, text.splitlines()) if text.startswith("{") else csv.DictReader(io.StringIO(text))
        for row in rows:
            if row[column] is None:  # a line that is cut off
                raise ValueError
            said = str(row[column]).strip()
            found |= {str(row[name]).removeprefix("<").removesuffix(">"): said for name in _NAMES if row.get(name)}
            entries += 1
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {(error.strerror or 'unknown error').lower()}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error, RecursionError) as error:
        where = f": entry {entries + 1} is none, or is cut off" if entries else ""
        raise InputError(
            f"{path} is no list with a column {column}, as CSV with a head or JSON lines{where}."
        ) from error
    if not found:
        raise InputError(f"{path} names no message: it wants one of the columns {', '.join(_NAMES)}, and {column}.")
    return found


def worker(setup: Mapping[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """For a worker process: the answer has "passed", a key of `PASSED` for a message that does not count, else "", its Message-ID and
    its packed "content": features, kinship, author."""
    sender = senders.load()

    def read_bytes(raw: bytes) -> dict[str, Any]:
        message = parse(raw, truncated=len(raw) >= MESSAGE_CAP)
        if setup["ours"] and (why := _passed_over(message, sender)):
            return {"passed": why}
        features = features_of(message, sender, general=setup["general"])
        kin = kinship(message, [word for word in features.words if " " not in word])
        content = {
            **features.as_json(),
            "signs": sorted(kin.signs),
            "hashes": kin.hashes,
            "author": f"{message.from_name.casefold()} <{message.from_address}>",
            "barred": setup["ours"] and is_barred(message, sender),
        }
        return {"passed": "", "message_id": message.message_id, "content": pack(content)}

    return read_bytes


def _passed_over(message: Message, sender: Sender) -> str:
    if not claims_to_be(message.headers, sender):
        return "elsewhere"
    authenticity = check(message, sender, ())
    if authenticity.state == "forged" or authenticity.contradicted:
        return "forged"
    return "ruled" if sender.never(message.from_address, templates_of(message, sender)) else ""


def features_of(message: Message, sender: Sender, *, general: bool) -> Features:
    """The features of one message, as a trainer wants them: as if a signature covered all of it."""
    return read(message, sender, templates_of(message, sender), general=general)


def is_barred(message: Message, sender: Sender) -> bool:
    """Whether the sender's data say that it is no advertising as a whole, whatever a model says (see `judge`)."""
    stream = sender.stream(message.from_address)
    several = sender.holds_several(message.from_address, message.subject, message.links)
    return several or (stream is not None and stream.wanted)
