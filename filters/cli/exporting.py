"""The command that writes what is known of the sender's mail for other programs: export sieve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from filters import __version__, senders
from filters.authenticity import Authserv, parse_trust, pinned_for
from filters.cli.options import Access, Move, Never, Trust, access
from filters.cli.writing import check_free, write_private
from filters.config import Account
from filters.errors import UsageError
from filters.preferences import USUAL, Preferences
from filters.safe_text import safe_text
from filters.sources.location import SCHEMES, parse_url

export_app = typer.Typer(help="Write rules for servers on which unpitch cannot run.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    export_app.callback()(export)
    export_app.command()(sieve)
    app.add_typer(export_app, name="export")


def export() -> None:
    """Write rules for servers on which unpitch cannot run."""


def sieve(
    account: Annotated[
        str,
        typer.Argument(
            metavar="[ACCOUNT]",
            help="An account of the configuration, whose folder, receivers and names hold where no option says otherwise.",
            show_default=False,
        ),
    ] = "",
    trust: Trust = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="FOLDER", help="Folder to file in. Default: LinkedIn.")
    ] = None,
    move: Move = None,
    never: Never = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="EXTENSION",
            help="Do without body, index or mailbox, which a server lacks; repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write it there, for you alone (0600).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when there is one already.")] = False,
) -> None:
    """Write rules in Sieve, for a mail server that takes such a script, from the data that `audit` judges by.

    They file only what the server's own topmost Authentication-Results confirm, and less than `clean` moves: they have no model, no
    journal and no undo, know partner messages only by a few English sentences, and cannot see where a header stands. What is in
    doubt stays in the inbox. The script says so at its top, and what the server must keep to.
    """
    from filters.sieve import Wish, rules  # noqa: PLC0415  (for this command alone)

    if output:
        check_free(output, force)
    sender, way_in = senders.load(), access(to=to, move=move, never=never, trust=trust)
    found = _account(way_in, account) if account else None
    wanted = way_in.asked.over(found.preferences if found else Preferences()).over(USUAL)
    if wanted.older_than_days:
        raise UsageError(
            f"{safe_text(account)} moves only what is older than {wanted.older_than_days} days, and a server's rule acts when mail"
            " arrives. `unpitch clean` can wait; or set older_than_days = 0 for this account."
        )
    wish = Wish(
        trusted=tuple(parse_trust(one) for one in wanted.trust_authserv or ()) or _known(found),
        move=sender.promotional if wanted.move is None else wanted.move,
        to=wanted.to or sender.title,
        never=wanted.never or (),
        without=tuple(without or ()),
    )
    text = rules(sender, wish, f"unpitch {__version__}")
    if output:
        write_private(output, [text.encode()], force)
    else:
        print(text, end="")


def _account(way_in: Access, name: str) -> Account:
    """The account of this name. Raises UsageError."""
    found = way_in.config.named(name)
    if found is None:
        raise UsageError(
            f"There is no account {safe_text(name, 60)} in {way_in.config.path}. `unpitch config show` lists them."
        )
    return found


def _known(account: Account | None) -> tuple[Authserv, ...]:
    """Whom to believe on the server of this account, as far as that is known."""
    remote = account is not None and account.location.lower().startswith(SCHEMES)
    return pinned_for(parse_url(account.location).host) if account and remote else ()
