"""What scripts/generalise runs; see there."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from filters import senders
from filters.measures import wilson
from filters.message import parse
from filters.normal_form import normal
from filters.senders import Disclosure, Sender, Statement
from filters.senders.notices import vocabulary
from filters.senders.phrases import catalogue
from filters.senders.reading import read
from filters.train import Example, Judged, Recipe, fit, read_corpus

ROOT = Path(__file__).parent.parent
TARGET = "partner_inmail"
#: The texts that stood on messages or in the dialog beside them; the others are labels of the app and of settings. Texts 2 and 4 are
#: one text under two names of the product: with one of them known, no mail of the other would be unknown.
ERAS = (("T2", "T4"), ("T3",), ("T5",))
#: Authors are held out a fifth at a time: one at a time takes three times as long.
FOLDS = 5


@dataclass(frozen=True)
class Part:
    """What is left out: these disclosures and statements of the data, and from training the mails that show the former or are in
    `language`."""

    group: str
    name: str
    disclosures: frozenset[Disclosure]
    statements: tuple[Statement, ...]
    """What is left of the vocabulary of notices."""
    language: str = ""

    def reduced(self, sender: Sender) -> Sender:
        """The sender's data without it."""
        known = tuple(one for one in sender.disclosures if one not in self.disclosures)
        phrases = catalogue([*known, *sender.footers])
        clues = sender.link_clues if self.language else ()  # links to the switch of an era tell of the era
        return replace(
            sender, disclosures=known, phrases=phrases, notices=vocabulary(self.statements), link_clues=clues
        )


@dataclass(frozen=True)
class Result:
    """What came of leaving one part out."""

    part: Part
    untrained: int
    """Mails kept from training."""
    of: int
    """Partner InMail among them that shows no disclosure but what was left out, ..."""
    found: int
    """... and how much of it is judged promotional all the same."""
    missed: tuple[str, ...]
    wanted: int
    """Wanted mails of the whole corpus, ..."""
    wrong: tuple[str, ...]
    """... and those of them that are judged promotional."""


def parts(sender: Sender, statements: tuple[Statement, ...], languages: Iterable[str]) -> Iterator[Part]:
    """Each era, each language."""
    for era in ERAS:
        texts = [one.text for one in sender.disclosures if one.text_id in era]
        # texts of different years share sentences: whatever of another year stands in these goes too
        shared = {found.entry for text in texts for found in sender.find(normal(text))}
        gone = frozenset(one for one in sender.disclosures if one.text_id in era or one in shared)
        yield Part("era", "+".join(era), gone, statements)
    for language in sorted(languages):
        gone = frozenset(one for one in sender.disclosures if one.language == language)
        left = tuple(one for one in statements if one.language != language)
        yield Part("language", language, gone, left, language)


def measure(part: Part) -> Result:
    """Each mail is judged by a model that has seen neither its author nor what `part` hides."""
    sender, recipe = senders.load(), Recipe()
    corpus = ROOT / "corpus" / sender.name
    reduced = part.reduced(sender)
    examples = read_corpus(corpus, reduced)
    texts = {one.path: parse((corpus / one.path).read_bytes()).text for one in examples}
    hidden = {path for path, text in texts.items() if _hides(part, path, text, sender)}
    held = {path for path in hidden if path.startswith(f"{TARGET}/") and not any(_told(reduced, texts[path]))}
    judged = list(_judge(examples, hidden, recipe))
    target = [one for one in judged if one.example.path in held]
    missed = tuple(one.example.path for one in target if one.promotional(reduced) < recipe.threshold)
    wanted = [one for one in judged if not sender.categories[one.example.category].promotional]
    wrong = tuple(one.example.path for one in wanted if one.promotional(reduced) >= recipe.threshold)
    return Result(part, len(hidden), len(target), len(target) - len(missed), missed, len(wanted), wrong)


def _hides(part: Part, path: str, text: str, sender: Sender) -> bool:
    if part.language:
        return _language(path) == part.language
    return any(one in part.disclosures for one in _told(sender, text))


def _told(sender: Sender, text: str) -> Iterator[Disclosure]:
    """The disclosures in a text, but for the weak ones, which ordinary mail shows too."""
    for found in sender.find(text):
        if isinstance(found.entry, Disclosure) and found.entry.strength != "weak":
            yield found.entry


def _language(path: str) -> str:
    return path.rpartition("/")[2][:2]


def _judge(examples: Sequence[Example], hidden: set[str], recipe: Recipe) -> Iterator[Judged]:
    authors = sorted({example.author for example in examples})
    for held in (authors[fold::FOLDS] for fold in range(FOLDS)):
        model, _ = fit([one for one in examples if one.author not in held and one.path not in hidden], recipe, {})
        for one in examples:
            if one.author in held:
                yield Judged(one, model.probabilities(model.values(one.variants[0])))


def main() -> int:
    sender = senders.load()
    folder = Path(senders.__file__).parent / sender.name
    statements = tuple(one for one in read(folder)[1]["statement"] if isinstance(one, Statement))
    languages = {_language(path.name) for path in (ROOT / "corpus" / sender.name / TARGET).glob("*.eml")}
    everything = Part("nothing", "", frozenset(), statements)
    chosen = [
        part
        for part in (everything, *parts(sender, statements, languages))
        if len(sys.argv) < 2 or {part.group, part.name} & set(sys.argv[1:])
    ]
    results = []
    with ProcessPoolExecutor(2) as pool:
        for result in pool.map(measure, chosen):
            results.append(result)
            print(_row(result), file=sys.stderr, flush=True)
    print(table(results))
    for result in results:
        for path in result.missed:
            print(f"missed without {result.part.group} {result.part.name}: {path}")
        for path in result.wrong:
            print(f"false positive without {result.part.group} {result.part.name}: {path}")
    return 0


def table(results: Sequence[Result]) -> str:
    """Markdown: one row for each part, and one for each group together."""
    lines = [
        "| left out | mails kept from training | partner InMail judged | found | 95 % interval | false positives |",
        "|---|---|---|---|---|---|",
    ]
    for group in dict.fromkeys(result.part.group for result in results):
        here = [result for result in results if result.part.group == group]
        lines += map(_row, here)
        if len(here) > 1:
            lines.append(_row(_together(here)))
    return "\n".join(lines) + "\n"


def _together(results: Sequence[Result]) -> Result:
    """The sums; a wanted mail that was called promotional in several parts is one."""
    first = results[0]
    return replace(
        first,
        part=replace(first.part, name="(all)"),
        untrained=sum(one.untrained for one in results),
        of=sum(one.of for one in results),
        found=sum(one.found for one in results),
        wrong=tuple({path for one in results for path in one.wrong}),
    )


def _row(result: Result) -> str:
    found, of = result.found, result.of
    low, high = wilson(found, of)
    share = f"{found} = {found / of:.3f}" if of else "-"
    name = f"{result.part.group} {result.part.name}".strip()
    wrong = f"{len(result.wrong)} of {result.wanted}"
    return f"| {name} | {result.untrained} | {of} | {share} | {low:.3f} to {high:.3f} | {wrong} |"


if __name__ == "__main__":
    sys.exit(main())
