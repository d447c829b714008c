"""Tests of Authentication-Results (RFC 8601) that nobody but the receiver can make true, although Sieve only compares text with `*` and `?`.

A pattern cannot say "outside of comments and quoted strings", where a sender may have a say. But it can count: with the name of a
method once in a header, and of n opening brackets before it the last one closed again, the name stands outside of comments.
"""

from __future__ import annotations

from collections.abc import Sequence

from filters.errors import UsageError
from filters.receivers import Authserv
from filters.sieve.syntax import Lines, all_of, any_of, because, literal, no, test

#: How many headers at the top are looked at: Fastmail writes its word on DKIM and DMARC into the fourth.
_DEPTH = 4
_SPEAKING = ("dkim=", "dmarc=", "spf=")
#: What a receiver says of DKIM and DMARC (RFC 8601, 2.7) when it does not confirm.
_DENIED = ("fail", "neutral", "none", "permerror", "policy", "temperror")
#: Between the semicolon and a method, when the header is unfolded.
_BLANKS = ("", "\t", *(" " * count for count in range(1, 9)))
#: What follows a value: its end, the next word, the next clause.
_ENDS = ("", " *", ";*")
#: Comments before the last word that counts, and values in quotation marks, that are looked through.
_COMMENTS, _VALUES = 4, 2
#: The only value in quotation marks that may stand there: of eight characters (RFC 6008), too few to say anything with.
_SHORT = 'header.b="????????"'


def confirmed(trusted: Sequence[Authserv], domains: Sequence[str], index: bool) -> Lines:
    """That a trusted receiver confirms a From in one of these domains, in the topmost of its headers that speaks of it, and that
    no header denies it. Without `index`, it must be the only header. Raises UsageError for a receiver that writes elsewhere."""
    for one in trusted:
        if one.placement == "bottom" or not one.id:
            where = "below everything else" if one.id else "without a name"
            raise UsageError(
                f"{one.id or 'This server'} writes its Authentication-Results {where}, so that a rule cannot tell them from a"
                " sender's. There are no rules for such a server; `unpitch clean` can do it."
            )
    denied = test(_header(0, ":contains"), [f"{method}={word}" for method in ("dkim", "dmarc") for word in _DENIED])
    only = (
        [test('header :count "eq" :comparator "i;ascii-numeric" "Authentication-Results"', ["1"])] if not index else []
    )
    depth = _DEPTH if index else 1
    ways = [
        all_of(*(_silent(place, trusted) for place in range(1, last)), *_says(last if index else 0, trusted, domains))
        for last in range(1, depth + 1)
    ]
    return all_of(
        because(
            "What the sender chose and the receiver repeats holds no encoded word, which Sieve would decode.",
            _unencoded(),
        ),
        because("Nobody denies it.", no(denied)),
        *only,
        any_of(*ways),
    )


def _unencoded() -> Lines:
    """That no text of the sender's in a result (RFC 2047, in the envelope, a signature's tags or the HELO name) becomes another one
    when a server decodes headers, as it must for each test (RFC 5228, 2.7.2)."""
    signatures = '["arc-message-signature", "arc-seal", "dkim-signature"]'
    return all_of(
        no(test('envelope :contains "from"', ["=?", '"', "=pass"])),
        no(test(f"header :contains {signatures}", ["?", "=3f", "=pass"])),
        no(test('header :contains "received"', ["=pass"])),
    )


def _header(place: int, match: str) -> str:
    """The beginning of a test of the header in this place from the top; of any one for 0."""
    return f'header {f":index {place} " if place else ""}{match} "Authentication-Results"'


def _pinned(place: int, trusted: Sequence[Authserv]) -> Lines:
    """That a trusted receiver's id is the first word, the whole of it."""
    ways = []
    for one in trusted:
        named = [f"{literal(one.id.removeprefix('*'))}{end}" for end in (";*", " 1;*", " (*;*")]
        if not one.id.startswith("*."):
            ways.append(test(_header(place, ":matches"), named))
            continue
        odd = [f"*{char}*{named[0]}" for char in ' ;("=@\t']  # so that what stands for the star is one host's name
        ways.append(
            all_of(test(_header(place, ":matches"), [f"*{named[0]}"]), no(test(_header(place, ":matches"), odd)))
        )
    return any_of(*ways)


def _silent(place: int, trusted: Sequence[Authserv]) -> Lines:
    """That this header is a trusted receiver's, and says nothing of what counts."""
    return all_of(_pinned(place, trusted), no(test(_header(place, ":contains"), _SPEAKING)))


def _says(place: int, trusted: Sequence[Authserv], domains: Sequence[str]) -> tuple[Lines, Lines]:
    """That this header is a trusted receiver's and says that DMARC passed; or the topmost, where none speaks of DMARC, DKIM."""
    matches = _header(place, ":matches")
    ways = [_dmarc(matches, domains)]
    if place < 2:
        ways.append(all_of(no(test(_header(0, ":contains"), ["dmarc="])), *_dkim(matches, domains)))
    return _pinned(place, trusted), any_of(*ways)


def _dmarc(matches: str, domains: Sequence[str]) -> Lines:
    """Each of the two words once, in one clause, outside of comments and of quotation marks."""
    return all_of(
        test(matches, [f"*;{blank}dmarc=pass{end}" for end in (" *", "(*") for blank in _BLANKS]),
        test(matches, [f"*dmarc=pass* header.from={domain}{end}" for domain in domains for end in _ENDS]),
        no(test(matches, ["*dmarc=*dmarc=*", "*header.from=*header.from=*", "*dmarc=*;*header.from=*", "*\\\\*"])),
        _behind_closed(matches, "dmarc=", "(*)*", "(*", 1, _COMMENTS - 1),
        _behind_closed(matches, "header.from=", "(*)*", "(*", 1, _COMMENTS),
        _behind_closed(matches, "header.from=", f"{_SHORT}*", '"*', 2, _VALUES),
    )


def _behind_closed(matches: str, word: str, closed: str, mark: str, marks: int, most: int) -> Lines:
    """That before the word, which is there once, stand as many closed ones, none to `most`, as there are marks for: nothing is open."""
    ways = [no(test(matches, [f"*{mark}{word}*"]))]
    for count in range(1, most + 1):
        more = no(test(matches, [f"*{mark * (count * marks + 1)}{word}*"]))
        ways.append(all_of(test(matches, [f"*{closed * count}{word}*"]), more))
    return any_of(*ways)


def _dkim(matches: str, domains: Sequence[str]) -> tuple[Lines, ...]:
    """A clause that says whose signature it is right away, or after the only comment, before all quotation marks."""
    of = [f"header.{key}{domain}{end}" for domain in domains for key in ("d=", "i=@") for end in _ENDS]
    return (
        test(matches, [f"*;{blank}dkim=pass *" for blank in _BLANKS]),
        no(test(matches, ["*(*dkim=*", '*"*dkim=*', "*\\\\*"])),
        any_of(
            test(matches, [f"*{before}dkim=pass {one}" for before in "; " for one in of]),
            all_of(
                test(matches, [f"*{before}dkim=pass (*) {one}" for before in "; " for one in of]),
                no(test(matches, ["*(*(*header.*", "*dkim=*dkim=*"])),
            ),
        ),
    )
