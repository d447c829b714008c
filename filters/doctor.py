"""A look at everything that a nightly run depends on: one line each, and for what is not well the next step. Changes nothing."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filters import model, senders
from filters.authenticity import Authserv, seen_ids
from filters.errors import FiltersError, LoginError
from filters.journal import Journal, look_into
from filters.message import parse
from filters.sources.describing import TELLING, Description

SCHEMA = 1
#: Messages whose Authentication-Results are looked at; of so many of them an id must be in nine of ten to be proposed.
NEWEST = 50
_OFTEN = 0.9
#: Days before its end at which a certificate is worth a word, and how far a newest message may lie ahead of our clock.
_SOON, _AHEAD = timedelta(days=14), timedelta(days=1)
#: Share of a quota that is nearly all.
_NEARLY = 0.95


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at: how it is ("ok", "warning" or "failure"), in words, and what to do about it."""

    about: str
    state: str
    text: str
    next_step: str = ""


def as_json(accounts: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """Lines by account, as one JSON object."""
    found = [{"account": name, "lines": [asdict(line) for line in lines]} for name, lines in accounts]
    return json.dumps({"schema": SCHEMA, "accounts": found}, ensure_ascii=False, indent=1)


def machine(journal_file: Path, now: datetime) -> list[Line]:
    """What holds for all accounts: the model, the journal, the clock."""
    return [_model(), *_journal(journal_file, now)]


def _model() -> Line:
    name = senders.load().name
    try:
        found = model.load(model.shipped(name))
    except FiltersError as error:
        return Line("model", "failure", str(error), "Install unpitch anew.")
    return Line("model", "ok", f"{name}, {found.sha256[:12]}")


def _journal(path: Path, now: datetime) -> Iterator[Line]:
    try:
        journal = look_into(path)
        if not journal:
            yield Line("journal", "ok", f"none yet; the first run makes {path}")
            return
        with journal:
            yield from _about_runs(journal, path, now)
    except FiltersError as error:
        yield Line("journal", "failure", str(error))


def _about_runs(journal: Journal, path: Path, now: datetime) -> Iterator[Line]:
    runs = journal.runs()
    accounts = {run.account for run in runs}
    still_open = sum(len(journal.open_folders(account)) for account in accounts)
    text = f"{len(runs):,} runs of {len(accounts)} accounts in {path}"
    if still_open:
        yield Line(
            "journal", "warning", f"{text}; a run broke off, and not all it did is proven", "Run clean once more."
        )
    else:
        yield Line("journal", "ok", text)
    if runs and max(run.started for run in runs) > now + _AHEAD:
        yield Line("clock", "warning", "the journal has runs of the future", "Set the clock of this machine right.")


def account(location: str, look: Callable[[], Description], trusted: Sequence[Authserv], now: datetime) -> list[Line]:
    """One account: `look` describes it, or raises what keeps us out, which is then the last line."""
    try:
        found = look()
    except LoginError as error:
        about = "TLS" if "certificate" in str(error) else "login"
        return [Line(about, "failure", *_halves(str(error)))]
    except FiltersError as error:
        about = {68: "name", 69: "connection", 66: "folder"}.get(error.exit_code, "server")
        return [Line(about, "failure", *_halves(str(error)))]
    return [
        Line("connection", "ok", location),
        *_tls(found, now),
        Line("login", "ok", f"{found.folder} has {found.messages:,} messages"),
        _capabilities(found),
        _strategy(found),
        _naming(found),
        _special(found),
        *_quota(found),
        *_results(found, trusted),
        *_clock(found, now),
    ]


def token_program(name: str) -> Line:
    """Of an account whose access tokens a program prints."""
    return Line("OAuth2", "ok", f"{name} prints the access token; how long it is good knows only that program")


def no_leave(error: FiltersError) -> Line:
    """Of an account whose refresh token is not where it should be."""
    return Line("OAuth2", "failure", *_halves(str(error)))


def leave(kept: str, asked: bool, seconds: float | None) -> Line:
    """Whether the leave that is `kept`, in words, still gives access tokens: one of so many `seconds`, or None, if it was `asked` for."""
    if seconds is not None:
        good = (
            f"for {seconds / 60:.0f} minutes" if math.isfinite(seconds) else "for a time that the provider does not say"
        )
        return Line("OAuth2", "ok", f"{kept}; it gave an access token just now, good {good}")
    if asked:
        return Line("OAuth2", "failure", f"{kept}, and gave no access token", "The line about the login says why.")
    return Line("OAuth2", "ok", f"{kept}; not tried, because the server was not reached")


def _halves(error: str) -> tuple[str, str]:
    """What happened, and what to do next."""
    what, dot, then = error.partition(". ")
    return (what + dot.strip(), then) if then else (error, "")


def _tls(found: Description, now: datetime) -> Iterator[Line]:
    if not found.tls:
        yield Line("TLS", "ok", "none, which is all right on this machine only")
        return
    ends = datetime.fromtimestamp(found.expires, UTC)
    text = f"{found.tls}, certificate until {ends:%Y-%m-%d}"
    if ends - now < _SOON:
        yield Line(
            "TLS", "warning", text, "Without a new certificate nothing works from then on; tell whoever runs it."
        )
    else:
        yield Line("TLS", "ok", text)


def _capabilities(found: Description) -> Line:
    has = [name for name in TELLING if name in found.capabilities]
    lacks = [name for name in TELLING[:5] if name not in found.capabilities]
    return Line("capabilities", "ok", " ".join(has) + (f"; not: {' '.join(lacks)}" if lacks else ""))


def _strategy(found: Description) -> Line:
    if found.strategy == "move":
        return Line("moves", "ok", "by MOVE, in one step")
    if found.strategy == "copy":
        return Line(
            "moves", "ok", "journalled copy: the server has no MOVE, so mail is copied, looked at, then removed"
        )
    return Line("moves", "failure", *_halves(f"refused: {found.strategy}"))


def _naming(found: Description) -> Line:
    prefix = f"prefix {found.prefix}, " if found.prefix else ""
    delimiter = f"levels are divided by {found.delimiter}" if found.delimiter else "no levels"
    return Line("names of folders", "ok", f"{prefix}{delimiter}")


def _special(found: Description) -> Line:
    return Line("special folders", "ok", ", ".join(found.special) or "the server names none")


def _quota(found: Description) -> Iterator[Line]:
    for quota in found.quotas:
        unit = " KiB" if quota.resource.upper() == "STORAGE" else ""
        text = f"{quota.resource.lower()}: {quota.used:,} of {quota.most:,}{unit}"
        if quota.most and quota.used >= _NEARLY * quota.most:
            yield Line("quota", "warning", text, "Make room, or moves to another folder may be refused.")
        else:
            yield Line("quota", "ok", text)


def _results(found: Description, trusted: Sequence[Authserv]) -> Iterator[Line]:
    """Which receivers the newest mail names where receivers write, and whether one that counts is among them."""
    mails = [parse(header + b"\r\n") for header in found.headers]
    seen = Counter(one for mail in mails for one in seen_ids(mail))
    named = {f"{one.id}:{one.placement}": count for one, count in seen.most_common(3) if one.id}
    text = ", ".join(f"{name} on {count} of the newest {len(mails)}" for name, count in named.items())
    about = "Authentication-Results"
    if trusted:
        ours = ", ".join(f"{one.id or 'one without a name'}:{one.placement}" for one in trusted)
        yield Line(about, "ok", f"believed: {ours}; seen: {text or 'none with a name'}")
    elif proposed := [name for name, count in named.items() if count >= _OFTEN * len(mails)]:
        step = f'If that is your provider or server, put it into the configuration: trust_authserv = ["{proposed[0]}"]'
        yield Line(about, "warning", f"nobody is believed; seen: {text}", step)
    else:
        step = 'Mail then counts as not verified, and is kept; unverified = "move" accepts it.'
        yield Line(about, "warning", f"nobody is believed; seen: {text or 'none'}", step)


def _clock(found: Description, now: datetime) -> Iterator[Line]:
    dates = [mail.date for mail in (parse(header + b"\r\n") for header in found.headers[-5:]) if mail.date]
    aware = sorted(date if date.tzinfo else date.replace(tzinfo=UTC) for date in dates)
    if len(aware) > 2 and aware[len(aware) // 2] > now + _AHEAD:
        yield Line("clock", "warning", "the newest mail is of the future", "Set the clock of this machine right.")
    else:
        yield Line("clock", "ok", f"{datetime.fromtimestamp(time.time()).astimezone():%Y-%m-%d %H:%M %z}")


def worst(lines: Iterable[Line]) -> str:
    """The worst of the states."""
    states = {line.state for line in lines}
    return next((state for state in ("failure", "warning") if state in states), "ok")
