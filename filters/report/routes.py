"""The ways to opt out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console

from filters.errors import UsageError
from filters.report.console import say
from filters.safe_text import escaped, safe_text
from filters.senders import Advice, OptOut, Sender

#: The topic of advice that is no help: what nobody can know.
UNKNOWN = "unknown"
#: Names the format of `opt-out --format json`; filters/opt_out.schema.json describes it.
SCHEMA = "unpitch-opt-out-1"
_WHERE = {"eu": " (EU and EEA)", "other": " (outside the EU)", "any": ""}


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


def route_json(route: OptOut) -> dict[str, Any]:
    """One opt-out route with the published names."""
    names = ("category", "region", "title", "url", "live", "since", "until", "checked", "grade", "note")
    return {name: getattr(route, name) for name in names} | {"steps": list(route.steps)}


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
    for advice in _told(sender):
        guess = " (a guess at what was meant)" if advice.grade == "D" else ""
        say(console, f"  {advice.text}{guess}{f' {advice.url}' if advice.url else ''}", safe=escaped)


def _route(console: Console, route: OptOut) -> None:
    when = "today" if route.live else f"{route.since or '?'} to {route.until or '?'}"
    say(console, f"  {when}{_WHERE[route.region]}: {route.title}")
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


def opt_out_json(sender: Sender, categories: Sequence[str], region: str) -> str:
    """The routes of these categories, what the sender said at each time, and what else may be told, as one JSON object."""
    eras = ("text_id", "since", "until", "product", "place", "targeting", "promise", "grade")
    data = {
        "schema": SCHEMA,
        "routes": [route_json(route) for name in categories for route in routes(sender, name, region)],
        "eras": [{name: getattr(era, name) for name in eras} for era in sender.eras.values()],
        "advice": [{name: getattr(one, name) for name in ("topic", "text", "url", "grade")} for one in sender.advice],
    }
    return json.dumps(data, ensure_ascii=False, indent=1)


def opt_out_markdown(sender: Sender, categories: Sequence[str], region: str) -> str:
    """The same for a page of notes or a ticket."""
    lines: list[str] = []
    for name in categories:
        lines += [f"## How to switch off: {sender.categories[name].title}", ""]
        for route in routes(sender, name, region):
            lines += [*_markdown(route), ""]
    lines += ["## What else helps, and what to expect", ""]
    lines += [f"- {one.text}{f' <{one.url}>' if one.url else ''}" for one in _told(sender)]
    return "\n".join(lines) + "\n"


def _markdown(route: OptOut) -> list[str]:
    when = "Today" if route.live else f"{route.since or '?'} to {route.until or '?'}"
    lines = [f"### {when}{_WHERE[route.region]}: {route.title}", ""]
    if route.steps:
        lines += [" › ".join(route.steps), ""]
    if route.url:
        lines += [f"<{route.url}>" if route.live else f"`{route.url}` (no longer known to work)", ""]
    return [*lines, f"{route.note} (newest evidence: {route.checked}, grade {route.grade})"]


def pages(sender: Sender, categories: Sequence[str], region: str) -> list[OptOut]:
    """Today's routes that have a page of their own to open, each page once."""
    found: dict[str, OptOut] = {}
    for name in categories:
        for route in routes(sender, name, region):
            if route.live and route.url:
                found.setdefault(route.url, route)
    return list(found.values())


def _told(sender: Sender) -> list[Advice]:
    return [one for one in sender.advice if one.topic != UNKNOWN]
