"""Options that several commands share, and what they become, with what the configuration says: a way in, and what is wanted there."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from filters import __version__, config, model, senders
from filters.authenticity import Authserv, parse_trust, pinned_for
from filters.cli.ending import ENDING
from filters.config import Account, Config
from filters.credentials import password_for, words_of
from filters.database import DamagedError, keep_aside
from filters.errors import InputError, UsageError
from filters.journal import Journal, open_journal
from filters.limits import MAX_MOVES, Limits
from filters.log import Log, log
from filters.oauth import TokenSource
from filters.preferences import USUAL, Preferences, checked_categories, checked_never, checked_target, checked_tokens
from filters.registry import Registry
from filters.safe_text import safe_text
from filters.senders import Sender
from filters.sources import Source
from filters.sources.opening import location_of, open_source
from filters.sources.patience import Patience
from filters.sweep import Policy, Setup

if TYPE_CHECKING:
    from filters.sources.describing import Description

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="A name from the configuration, a Maildir, an mbox file, a folder of .eml files, one .eml file, - for stdin, or "
        "imaps://user@host/Folder (imap+starttls:// for a server without TLS from the first byte).",
        show_default=False,
    ),
]
SourcesOrAll = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE...", help="As for `audit`; or --all instead.", show_default=False),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="FOLDER",
        help="Folder to move to; made when missing. {category} and {year} are filled in. Default: LinkedIn.",
    ),
]
Move = Annotated[
    list[str] | None,
    typer.Option(
        "--move", metavar="CATEGORY", help="Move mail of this category; may be repeated. Default: the promotional ones."
    ),
]
Never = Annotated[
    list[str] | None,
    typer.Option(
        "--never", metavar="NAME", help="Never move mail in which this sender or company is named; may be repeated."
    ),
]
OlderThan = Annotated[
    int | None, typer.Option("--older-than-days", metavar="N", min=0, help="Move only what is older than N days.")
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-authserv",
        metavar="ID[:PLACE]",
        help="Believe Authentication-Results of this receiver, written above (default), below its Received line, or at the bottom.",
    ),
]
Unverified = Annotated[
    str | None,
    typer.Option(
        "--unverified", metavar="keep|move", help="What to do with mail whose origin nobody confirms. Default: keep."
    ),
]
PasswordCommand = Annotated[
    str,
    typer.Option(
        "--password-command", metavar="COMMAND", help="Program that prints the IMAP password; run without a shell."
    ),
]
TokenCommand = Annotated[
    str,
    typer.Option(
        "--oauth-token-command",
        metavar="COMMAND",
        help="Program that prints an OAuth2 access token; run without a shell.",
    ),
]
OAuthTokens = Annotated[
    str,
    typer.Option(
        "--oauth-tokens", metavar="keyring|FILE", help="Where `unpitch login` keeps its OAuth2 tokens (extra: oauth)."
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", help="File with the IMAP password on its first line; yours alone (0600)."
    ),
]
Keyring = Annotated[
    bool, typer.Option("--keyring", help="The IMAP password is in the keyring of the system (extra: keyring).")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Certificate authority of a private server (PEM).")
]
Jobs = Annotated[
    int, typer.Option("--jobs", metavar="N", min=0, help="Processes for several files; 0: one for each processor.")
]
Scheduler = Annotated[
    str, typer.Option("--scheduler", metavar="ADDRESS", help="Look through files on this Dask cluster.")
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="eu|other", help="Where you live, for the routes to opt out. Default: both."),
]


LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format", metavar="text|json", help="Of what goes to stderr; json: one object a line, see the README."
    ),
]
LogAddresses = Annotated[
    bool,
    typer.Option(
        "--log-addresses", help="Show addresses in the log, statistics and metrics. Without it there is none in them."
    ),
]


def begin(command: str, log_format: str, addresses: bool, run: str = "", account: str | None = None) -> Log:
    """Let the log of this process begin, as options say; `run` is the id of the run that it belongs to, "" a new one, and `account` the
    only one that it is about. Raises UsageError."""
    if log_format not in ("text", "json"):
        raise UsageError(f"--log-format is text or json, not {safe_text(log_format, 40)}.")
    mine = log()
    mine.as_json, mine.addresses, mine.run = log_format == "json", addresses, run or mine.run
    mine.account = account
    mine.event("begun", command=command, version=__version__)
    return mine


def warn(text: str) -> None:
    """A line on stderr."""
    if log().as_json:
        log().event("warning", why=text)
    else:
        print(f"unpitch: {safe_text(text)}", file=sys.stderr)


PATIENCE = Patience(tell=warn, sleep=ENDING.pause)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a source is looked through and cleaned."""

    setup: Setup
    policy: Policy
    to: str
    limits: Limits
    judged_by: str = ""
    """What judging depends on, as a digest: where it is another than before, all mail is looked at anew. "": that is wanted anyway."""
    bytes_per_run: int = 0
    bytes_per_day: int = 0
    """What may be received; 0: no limit."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in, and what is wanted there: `asked` by options, which take precedence over the configuration. `password` gets the
    printable account, and is called only when a server asks; None: as the configuration says."""

    password: Callable[[str], str] | None = None
    asked: Preferences = Preferences()  # noqa: RUF009 (frozen)
    config: Config = Config(Path())  # noqa: RUF009 (frozen)

    def locations(self, sources: Iterable[str]) -> list[str]:
        """Where the mail is: an account's name stands for its folders, everything else for itself."""
        found: list[str] = []
        for source in sources:
            account = self.config.named(source)
            found += account.locations() if account else [source]
        return found

    def account(self, location: str) -> Account | None:
        """The account of the configuration that a location belongs to."""
        return self.config.of(location) if self.config.accounts else None

    def wants(self, location: str) -> Preferences:
        """What is wanted of a location."""
        account = self.account(location)
        said = account.preferences if account else Preferences()
        return self.asked.over(said).over(USUAL)

    def region(self, locations: Sequence[str]) -> str:
        """Where the person lives, as far as all of these agree."""
        places = {self.wants(location).region or "" for location in locations}
        return places.pop() if len(places) == 1 else ""

    def open(self, location: str, *, changes: bool) -> Source:
        """The source at a location."""
        password = self.password or self.secret(location)
        return open_source(
            location,
            password,
            changes=changes,
            ca_file=self.wants(location).ca_file,
            stdin=sys.stdin.buffer,
            patience=PATIENCE,
            oauth=self._oauth(location, password),
        )

    def _oauth(self, location: str, password: Callable[[str], str]) -> bool | Callable[[], float]:
        """Whether the login is by a token, and where that is known, for how long it is good."""
        return password.left if isinstance(password, TokenSource) else by_token(self.wants(location))

    def open_at(self, account: str) -> Callable[[str], Source]:
        """Opens a folder of an account, with leave to change it."""
        return lambda folder: self.open(location_of(account, folder), changes=True)

    def describe(self, location: str, newest: int, secret: Callable[[str], str] | None = None) -> Description:
        """What the server at an IMAP location says of itself, with the headers of so many messages. `secret`: the way to it, if made already."""
        from filters.sources.describing import describe  # noqa: PLC0415  (brings imapclient, as `open_source` does)

        ca_file, password = self.wants(location).ca_file, secret or self.password or self.secret(location)
        oauth = self._oauth(location, password)
        return describe(location, password, ca_file=ca_file, patience=PATIENCE, newest=newest, oauth=oauth)

    def secret(self, location: str) -> Callable[[str], str]:
        """A way to the password or the access token for a location, as options and configuration say; it gets the printable account."""
        account, wanted = self.account(location), self.wants(location)
        name = account.name if account else ""
        if wanted.oauth_tokens:
            return TokenSource(
                config.account_of(location), name or location, wanted.oauth_tokens, config.state_folder()
            )
        return lambda printable: password_for(
            printable,
            warn,
            name=name,
            command=wanted.password_command or wanted.oauth_token_command or (),
            file=wanted.password_file,
            keyring=bool(wanted.keyring),
        )

    def terms(self, location: str, source: Source | None, workers: int = 0) -> Terms:
        """The terms for a source that was opened at a location; None for files that others open. Raises UsageError for what cannot be wanted."""
        wanted = self.wants(location)
        how = setup(source, wanted.trust_authserv, workers, wanted.never or ())
        days = wanted.older_than_days or 0
        move = frozenset(how.sender.promotional if wanted.move is None else wanted.move)
        older = datetime.now(UTC) - timedelta(days=days) if days else None
        return Terms(
            how,
            Policy(move, wanted.unverified == "move", older),
            wanted.to or how.sender.title,
            Limits(wanted.max_moves or MAX_MOVES, wanted.brake is not False),
            _digest(how, sorted(move), wanted.unverified, days),
            (wanted.megabytes_per_run or 0) * 1_000_000,
            (wanted.megabytes_per_day or 0) * 1_000_000,
        )


def _digest(how: Setup, *more: object) -> str:
    """What a verdict, and what is done about it, depend on besides the mail."""
    said = [__version__, how.digest(), how.as_json() | {"model": ""}, *more]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def by_token(wanted: Preferences) -> bool:
    """Whether the login is by OAuth2."""
    return bool(wanted.oauth_token_command or wanted.oauth_tokens)


def policy(sender: Sender, move: list[str] | None, unverified: str) -> Policy:
    """What to move. Raises UsageError for unknown categories and for those that are never moved."""
    if unverified not in ("keep", "move"):
        raise UsageError(f"--unverified is keep or move, not {safe_text(unverified)}.")
    return Policy(frozenset(checked_categories(move) if move else sender.promotional), unverified == "move")


def setup(source: Source | None, trust: Sequence[str] | None, workers: int = 0, never: tuple[str, ...] = ()) -> Setup:
    """How to judge what comes from a source: whose word on authenticity counts there. None for mail in files."""
    sender = senders.load()
    named: tuple[Authserv, ...] = tuple(parse_trust(one) for one in trust or ())
    trusted = named or (pinned_for(source.host) if source and source.host else ())
    return Setup(sender, str(model_registry().active()), trusted, workers, never)


def model_registry() -> Registry:
    """The models of this person, beside the one that comes with unpitch."""
    return Registry(config.state_folder() / "models", model.shipped(senders.load().name))


def journal_path() -> Path:
    """Where the journal of all accounts lies."""
    return config.state_folder() / "journal.sqlite3"


def journal_to_change(path: Path) -> Journal:
    """Open the journal, or make it. A damaged one is kept aside, and InputError says so; else raises like `database.connect`."""
    try:
        return open_journal(path)
    except DamagedError as error:
        aside = keep_aside(path, datetime.now(UTC))
        raise InputError(
            f"The journal {path} is damaged, and was kept aside as {aside}. Nothing was moved. The next run begins a new journal;"
            f" unless you put a backup at {path} before, moves made so far cannot be undone by unpitch any more, and mail that"
            " you took back may be moved again."
        ) from error


def access(
    password_command: str = "",
    ca_file: Path | None = None,
    *,
    to: str | None = None,
    move: list[str] | None = None,
    never: list[str] | None = None,
    older_than_days: int | None = None,
    unverified: str | None = None,
    trust: list[str] | None = None,
    region: str | None = None,
    max_moves: int | None = None,
    no_brake: bool = False,
    password_file: Path | None = None,
    keyring: bool = False,
    oauth_token_command: str = "",
    oauth_tokens: str = "",
    megabytes_per_run: int | None = None,
    megabytes_per_day: int | None = None,
    poll_seconds: int | None = None,
) -> Access:
    """Access by options and configuration. Raises UsageError, ConfigError."""
    if unverified not in (None, "keep", "move"):
        raise UsageError(f"--unverified is keep or move, not {safe_text(unverified or '')}.")
    try:
        to = None if to is None else checked_target(to)
    except UsageError as error:
        raise UsageError(f"--to: {error}.") from None
    for one in trust or ():
        parse_trust(one)
    asked = Preferences(
        to=to,
        move=checked_categories(move) if move else None,
        never=checked_never(never) if never else None,
        older_than_days=older_than_days,
        unverified=unverified,
        trust_authserv=tuple(trust) if trust else None,
        region=check_region(region) if region else None,
        max_moves=max_moves,
        brake=False if no_brake else None,
        megabytes_per_run=megabytes_per_run,
        megabytes_per_day=megabytes_per_day,
        poll_seconds=poll_seconds,
        password_command=words_of(password_command) if password_command else None,
        password_file=password_file,
        keyring=True if keyring else None,
        oauth_token_command=words_of(oauth_token_command) if oauth_token_command else None,
        oauth_tokens=checked_tokens(oauth_tokens) if oauth_tokens else None,
        ca_file=ca_file,
    )
    return Access(None, asked, config.load(config.config_path()))


def console() -> Console:
    """Colour and tables on a terminal, plain text when piped; NO_COLOR and COLUMNS are obeyed."""
    return Console(highlight=False, emoji=False, markup=False)


def check_region(region: str | None) -> str:
    """The region, or UsageError."""
    if region not in (None, "", "eu", "other"):
        raise UsageError(f"--region is eu or other, not {safe_text(region or '')}.")
    return region or ""


def check_day(text: str) -> date | None:
    """A day as people write it to programs (2026-11-03), or UsageError; None for none."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{safe_text(text)} is no date; write it like 2026-11-03.") from None


def progress() -> Progress:
    """A line on stderr that says how far a sweep is, how fast, and how long it still takes; silent when stderr is no terminal."""
    quiet = log().as_json or not sys.stderr.isatty()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
        disable=quiet,
    )
