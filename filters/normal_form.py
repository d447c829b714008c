"""One normal form for text, used on both sides of every comparison: what a mail says and what the data knows."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

#: Characters that show nothing: soft hyphen, grapheme joiner, Arabic letter mark, Mongolian vowel separator, zero-width and
#: directional marks, invisible operators, BOM. Mailers pad previews with them, and forgers hide behind them.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
#: Combining marks are sorted by NFKC in time that grows with the square of their number: 40,000 in a row take a second.
#: The first of them stands alone, so that only such characters are looked at.
_MARKS = re.compile(r"([^\x00-\x7f\w\s][^\x00-\x7f\w\s]{99})[^\x00-\x7f\w\s]+")
_PLAIN: dict[int, str] = (
    dict.fromkeys([*range(0x0A), *range(0x0E, 0x20), 0x7F, *range(0x80, 0x85), *range(0x86, 0xA0)], " ")
    | dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4`"), "'")
    | dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u2039\u203a"), '"')
    | dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")
    | dict.fromkeys(map(ord, "\r\x0b\x0c\x85\u2028\u2029"), "\n")
)
_NOT_PLAIN = re.compile(f"[{''.join(map(chr, _PLAIN))}]")
_EMAIL = re.compile(r"\be-(?=mail)")
#: Runs of letters, digits and underscores are found faster than words, and mostly are words.
_RUN = re.compile(r"(\w+)")
_WORD = re.compile(r"[^\W\d_]+|\d+")


def normal(text: str) -> str:
    """NFKC, without invisible characters, with plain quotes, dashes and spaces; runs of blanks and of lines squeezed.

    Lone surrogates become U+FFFD, so that the result can always be encoded. Of a hundred marks and symbols in a row the rest
    is dropped.
    """
    if not text.isascii():  # nothing of this is in ASCII
        text = _INVISIBLE.sub("", text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
        # these two first: NFKC takes an acute accent for a blank and a mark, and a double prime for two primes
        text = _MARKS.sub(r"\1", text.replace("\u00b4", "'").replace("\u2033", '"'))
        text = unicodedata.normalize("NFKC", text)
    text = _NOT_PLAIN.sub(lambda char: _PLAIN[ord(char[0])], text)
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.split("\n"))))


def fold(text: str) -> str:
    """Lower case, character by character and of the same length: an offset in `fold(x)` is an offset in `x`.

    Turkish writes i with a dot and without, each in both cases, and `lower` cannot know the language: here all are "i".
    """
    if not text.isascii():
        text = text.replace("İ", "i").replace("ı", "i")
    folded = text.lower()
    if len(folded) == len(text):
        return folded
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def words(folded: str) -> list[str]:
    """The words of folded text. A number is the word "#" whatever its digits, so that "every 60 days" and "every 45 days" are
    the same wording; "e-mail" is "email"."""
    found: list[str] = []
    for run in _RUN.findall(_EMAIL.sub("e", folded) if "e-mail" in folded else folded):
        if run.isalpha():
            found.append(run)
        else:
            found += ["#" if word.isdecimal() else word for word in _WORD.findall(run)]
    return found


def spans(folded: str) -> list[tuple[int, int]]:
    """(start, end) of each word that `words` gives for the same text."""
    # what is between runs, a run, what is between runs, ...
    pieces = _RUN.split(_EMAIL.sub("ee", folded) if "e-mail" in folded else folded)
    ends = list(accumulate(map(len, pieces)))
    runs = list(zip(ends[0:-1:2], ends[1::2], strict=True))
    found: list[tuple[int, int]] = []
    before = 0
    for number, run in enumerate(pieces[1::2]):
        if not (run.isalpha() or run.isdecimal()):
            start = runs[number][0]
            found += runs[before:number]
            found += [(start + word.start(), start + word.end()) for word in _WORD.finditer(run)]
            before = number + 1
    return found + runs[before:]
