"""The data as rules in plain Sieve, for servers on which nothing of ours can run: they move less than the judge does, never more.

Whatever such rules cannot look at speaks for keeping. They see no model, words without what stands around them, and a header
without its place among the others: that the topmost Authentication-Results is the receiver's holds only on a server that
writes one on each mail, or removes those that claim its name (RFC 8601, 5).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from filters.errors import UsageError
from filters.message import MESSAGE_CAP, ONCE
from filters.normal_form import fold, normal, words
from filters.receivers import Authserv
from filters.safe_text import safe_text
from filters.senders import DIGEST, Disclosure, Sender
from filters.sieve.results import confirmed
from filters.sieve.syntax import Lines, all_of, any_of, because, comment, literal, no, quoted, test

#: Extensions that the rules can do without, and what is then different.
OPTIONAL = {
    "body": "no partner messages are moved, and names of --never count in From and Subject only",
    "index": "only mail with a single Authentication-Results is moved",
    "mailbox": "the folder must be there already",
}
_NEEDED = ("comparator-i;ascii-numeric", "envelope", "fileinto", "relational")
_COUNT = ':comparator "i;ascii-numeric"'
_PLAIN, _SHOWN, _SOURCE = 'body :content "text/plain"', "body :text", 'body :content "text"'
#: Marks that open a quotation or cite a line (`filters.senders.phrases`), as plain text has them.
_CITES = ('"', "“", "”", "„", "‟", "«", "»", "‹", "›", "‘", "‚", "‛", " '", "\t'", "('", "\n>", "---- ")
#: Characters of a sentence that a mail cuts once at most.
_LINE = 60
_CHUNK = re.compile(r"[^\W\d_]+|\d+")
#: Octets of a folder or a word: lines of scripts stay below 998 octets (RFC 5322, 2.1.1), for they are mailed around.
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of the rules. `without`: extensions of `OPTIONAL` that the server lacks."""

    trusted: Sequence[Authserv]
    move: Sequence[str]
    to: str
    never: Sequence[str] = ()
    without: Sequence[str] = ()


def rules(sender: Sender, wish: Wish, written_by: str) -> str:
    """The script, which names `written_by` as its author. Raises UsageError for what such rules cannot do."""
    _check(sender, wish)
    body = "body" not in wish.without
    ways = [_partner(sender)] if body else []
    if set(sender.promotional) <= set(wish.move):
        ways.append(_marketing(sender))
    if not ways:
        raise UsageError("Only the text of a partner message gives it away: leave out --without body, or --move.")
    addresses = [*_advertising(sender), *(_mixed(sender) if body else ())]
    domains = sorted({*sender.domains, *(address.partition("@")[2] for address in addresses)})
    whole = all_of(
        because("A mail of usual size, with each header once: what is put on top is not signed.", _once(sender)),
        because("From is one address and nothing else; answers go to the same house.", _from(sender)),
        because(
            "The receiver confirms it in the topmost of its headers that speaks of it.",
            confirmed(wish.trusted, domains, "index" not in wish.without),
        ),
        because(
            "Nothing speaks for mail that is never moved, or for several messages in one.", _harmless(sender, body)
        ),
        *(_not_from(name, body) for name in wish.never),
        because("What is moved.", any_of(*ways)),
    )
    require = test("require", sorted({*_NEEDED, *OPTIONAL} - set(wish.without)))
    into = "fileinto" if "mailbox" in wish.without else "fileinto :create"
    action = f"  {into} {quoted(unicodedata.normalize('NFC', wish.to))};"
    lines = [
        *comment(_head(sender, wish, written_by)),
        "",
        *_ended(require, ";"),
        *_ended([f"if {whole[0]}", *whole[1:]], " {"),
        action,
        "}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _ended(lines: Lines, end: str) -> Lines:
    return [*lines[:-1], lines[-1] + end]


def _check(sender: Sender, wish: Wish) -> None:
    """Raise UsageError for wishes that no rule can fulfil."""
    if not wish.trusted:
        raise UsageError(
            "Rules believe nobody by themselves. Name the server that checks your mail, the first word of its"
            " Authentication-Results header: --trust-authserv mx.example.org. `unpitch audit` shows what your mail has."
        )
    for name in wish.without:
        if name not in OPTIONAL:
            raise UsageError(
                f"--without is one of {', '.join(OPTIONAL)}, not {safe_text(name, 40)}; the rest is needed."
            )
    for name in wish.move:
        if name not in sender.promotional:
            known = ", ".join(sender.promotional)
            raise UsageError(
                f"A rule of a server cannot tell {name}, only {known}: choose by --move. `unpitch clean` can."
            )
    if "{" in wish.to:
        raise UsageError(
            f"--to {safe_text(wish.to, 60)}: a rule of a server has one folder; leave out the curly brackets."
        )
    for text in (wish.to, *wish.never):
        if len(text.encode("utf-8", "replace")) > _LONGEST or not text.isprintable():
            raise UsageError(f"{safe_text(text, 60)} is too long for a rule, or holds what is no letter.")
    if not {one.category for one in _seen(sender)} <= set(wish.move):
        raise UsageError(
            f"Partner messages come from the same addresses as {sender.title}'s own advertising, and a rule cannot always tell"
            " them apart. Leave out --move, or choose partner_inmail."
        )


# --- who it is from


def _advertising(sender: Sender) -> list[str]:
    """Addresses that send advertising and nothing else, as far as mail has shown."""
    streams = sender.streams.values()
    return [one.address for one in streams if one.category in sender.promotional and one.grade != "D"]


def _mixed(sender: Sender) -> list[str]:
    """Addresses whose mail may turn out to be advertising, by what it says; those that send several messages in one left out."""
    return [
        one.address
        for one in sender.streams.values()
        if not one.wanted
        and one.kind == "product"
        and one.category not in (*sender.promotional, DIGEST)
        and sender.categories[one.category].action != "never"
    ]


def _once(sender: Sender) -> Lines:
    names = sorted({*ONCE, sender.class_header.lower(), sender.template_header.lower()})
    twice = [test(f'header :count "gt" {_COUNT} {quoted(name)}', ["1"]) for name in names]
    return all_of(no([f"size :over {MESSAGE_CAP // 1024}K"]), ['exists ["date", "message-id"]'], no(any_of(*twice)))


def _from(sender: Sender) -> Lines:
    odd = ["*@*@*", "*<*<*", "*(*", "*:*", "*;*"]
    own = [pattern for domain in sender.domains for pattern in (domain, f"*.{domain}")]
    back = all_of(
        test(f'address :count "eq" {_COUNT} "reply-to"', ["1"]),
        test('address :domain :matches "reply-to"', own),
        no(test('header :matches "reply-to"', odd)),
    )
    return all_of(
        test(f'header :count "eq" {_COUNT} "from"', ["1"]),
        test(f'address :count "eq" {_COUNT} "from"', ["1"]),
        no(test('header :matches "from"', odd)),
        any_of(no(['exists "reply-to"']), back),
    )


# --- what is never moved


def _harmless(sender: Sender, body: bool) -> Lines:
    spared = [one.stem for one in sender.templates.values() if sender.categories[one.category].action == "never"]
    parts = [part.partition(":")[0] for part in sender.never_parts]
    several = [re.sub(r"\d+", "*", literal(normal(one))) for one in sender.several]
    tests = [
        no(test(f"header :contains {quoted(sender.template_header.lower())}", [*parts, *spared])),
        no(test('header :matches "subject"', several)),
    ]
    if body:
        prefixes = {place.prefix for place in sender.link_places.values()}
        named = [
            f"{prefix}{more}{part}" for prefix in sorted(prefixes - {""}) for more in ("", "email_") for part in parts
        ]
        tests.append(no(test(f"{_SOURCE} :contains", [*spared, *named])))
        tests.append(no(test('body :content "message" :contains', [""])))
    return all_of(*tests)


def _not_from(name: str, body: bool) -> Lines:
    """That not all words of a name occur in the mail: wider than the judge, which wants them side by side."""
    places = ['header :contains ["from", "subject"]', *([f"{_SHOWN} :contains"] if body else [])]
    tests = [any_of(*(test(place, _spellings(word)) for place in places)) for word in _CHUNK.findall(normal(name))]
    return because(f"You said never to move mail of {unicodedata.normalize('NFC', name)}.", no(all_of(*tests)))


def _spellings(word: str) -> list[str]:
    """A word in the cases that the server's comparison, of ASCII letters only, takes for others; any digit for a number."""
    if word.isdecimal():
        return list("0123456789")
    low = fold(word)
    cases = (word, low, word.lower(), word.upper(), word.title(), low.replace("i", "ı"), low.replace("i", "İ").upper())
    return list(dict.fromkeys(unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD")))


# --- what is moved


def _marketing(sender: Sender) -> Lines:
    return test('address :all :is "from"', _advertising(sender))


def _partner(sender: Sender) -> Lines:
    """Two sentences of a notice, one of which nobody else writes, and nothing that looks like a quotation: that would be a person
    who wonders about such a message."""
    cited = (*_CITES, *(f"----{letter}" for letter in ascii_lowercase))  # "-----Original Message-----"
    return all_of(
        test('address :all :is "from"', _mixed(sender)),
        test(f"{_PLAIN} :matches", _patterns(sender, "decisive")),
        test(f"{_PLAIN} :matches", _patterns(sender, "strong")),
        no(test(f"{_PLAIN} :contains", cited)),
    )


def _patterns(sender: Sender, strength: str) -> Iterator[str]:
    """Of the sentences that have been seen in mail and fit on a line, without those that hold another one."""
    seen = [one.text for one in _seen(sender) if one.strength == strength]
    cut = {text: " ".join(words(fold(normal(text)))) for text in seen}
    for text, own in cut.items():
        if len(text) <= _LINE and not any(other in own and other != own for other in cut.values()):
            yield from _wrapped(text)


def _seen(sender: Sender) -> list[Disclosure]:
    return [one for one in sender.disclosures if not one.guess and one.category in sender.promotional]


def _wrapped(sentence: str) -> Iterator[str]:
    """Patterns of a sentence on one line, and of one that is cut at a blank: by CRLF, or by a blank and CRLF (RFC 3676)."""
    parts = [literal(part) for part in _CHUNK.findall(sentence)]
    yield f"*{'?'.join(parts)}*"
    for at in range(1, len(parts)):
        for gap in ("??", "???"):
            yield f"*{'?'.join(parts[:at])}{gap}{'?'.join(parts[at:])}*"


def _head(sender: Sender, wish: Wish, written_by: str) -> str:
    """What the rules do, what they take for granted, and what they cannot see; one line for each paragraph."""
    ids = " or ".join(one.id for one in wish.trusted)
    paragraphs = [
        f"{sender.title}'s advertising to the folder {wish.to}: rules for a mail server that takes Sieve (RFC 5228). Written by"
        f" {written_by} from what is known of {sender.title}'s mail; that changes, so write them anew now and then.",
        "They do one thing: file a message. In a script of your own, the require goes to the top. Whatever they are not sure of goes on as if they were not there. Where rules of your"
        ' own below them would file the same message again, add a line with "stop;" behind fileinto.',
        f"They believe the topmost Authentication-Results of {ids}, and cannot see where among the other headers it stands. Use"
        " them only on a server that writes one on each mail, or removes those that bear its name (RFC 8601, 5). To try that,"
        f' send yourself a mail with the header "Authentication-Results: {wish.trusted[0].id.replace("*", "mx")}; dmarc=pass"'
        " from another server: it must not arrive as the topmost header of this name.",
        "What unpitch looks at and a rule cannot: its model, and so advertising in any words but a few known English sentences,"
        " in HTML alone, or from an address that also sends several messages in one; whether a sentence is quoted (any"
        " quotation mark in a partner message speaks for keeping it); your flags and corrections. Nothing limits what rules"
        " move, no journal knows of it, and `unpitch undo` cannot take it back.",
        *(f"Without the extension {name}: {OPTIONAL[name]}." for name in wish.without),
    ]
    return "\n\n".join(paragraphs)
