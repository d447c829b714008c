"""The ways to opt out."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from filters.errors import UsageError
from filters.report.console import say
from filters.safe_text import escaped, safe_text
from filters.senders import OptOut, Sender


def routes(sender: Sender, category: str, region: str) -> list[OptOut]:
    """Routes for a category: today's first (EU and elsewhere), then former ones; `region` "" is both.

    Raises UsageError for a category that does not exist.
    """
    if category not in sender.categories:
        raise UsageError(
            f"There is no category {safe_text(category)}. There are: {', '.join(sorted(sender.categories))}."
        )
    both = [*sender.opt_outs(category, live=True), *sender.opt_outs(category, live=False)]
    return [route for route in both if region in ("", route.region) or route.region == "any"]


def opt_out_text(
    console: Console, sender: Sender, categories: Iterable[str], region: str, *, brief: bool = False
) -> None:
    """How to switch kinds of mail off: today's routes, and unless `brief` the former ones, what the sender said at each time
    that it used, and the wider opt-outs."""
    for category in categories:
        say(console, f"How to switch off: {sender.categories[category].title}", "bold")
        for route in routes(sender, category, region):
            if route.live or not brief:
                _route(console, route)
        if brief:
            say(console, f"  Former routes and what else helps: unpitch opt-out {category}", "dim")
        console.print()
    if not brief and any(sender.categories[category].promotional for category in categories):
        _eras(console, sender)
        _advice(console, sender)


def _advice(console: Console, sender: Sender) -> None:
    say(console, "What else helps, and what to expect", "bold")
    for advice in sender.advice:
        guess = " (a guess at what was meant)" if advice.grade == "D" else ""
        say(console, f"  {advice.text}{guess}{f' {advice.url}' if advice.url else ''}", safe=escaped)


def _route(console: Console, route: OptOut) -> None:
    where = {"eu": " (EU and EEA)", "other": " (outside the EU)", "any": ""}[route.region]
    when = "today" if route.live else f"{route.since or '?'} to {route.until or '?'}"
    say(console, f"  {when}{where}: {route.title}")
    if route.steps:
        say(console, f"    {' > '.join(route.steps)}")
    if route.url:
        say(console, f"    {route.url}", "cyan" if route.live else "dim", safe=escaped)
    if route.shortcut and route.live:
        say(console, f"    perhaps directly (one source only): {route.shortcut}", safe=escaped)
    say(console, f"    {route.note} (newest evidence: {route.checked}, grade {route.grade})", "dim")


def _eras(console: Console, sender: Sender) -> None:
    say(console, f"What {sender.title} said that it uses to choose whom partners may write to", "bold")
    for era in sender.eras.values():
        if era.targeting or era.promise:
            say(
                console,
                f"  {era.since or '?'} to {era.until or '?'} ({era.product}): {era.targeting or 'nothing said'}",
            )
            if era.promise:
                say(console, f"    and promised: {era.promise}")
    console.print()
