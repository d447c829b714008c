"""The commands that learn: train makes a model of one's own, evaluate says how good one is, models keeps them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from filters import model as models
from filters import senders
from filters.cli.labelling import LabelList, Labels, LabelSources, Reading, names_of, said_of, telling
from filters.cli.options import (
    CaFile,
    Jobs,
    PasswordCommand,
    Scheduler,
    access,
    console,
    model_registry,
    warn,
)
from filters.errors import InputError, LimitError, UsageError
from filters.labelled import Label, Labelled, Read, Shelf, is_ours, read_list
from filters.registry import SHIPPED, Registry, write_file
from filters.report import say, table_for
from filters.safe_text import safe_text
from filters.senders import Sender

if TYPE_CHECKING:  # scikit-learn takes a second to load, which a list of models need not wait for
    from filters.measures import Measures, Scored, Threshold
    from filters.training import Trained

_KINDS = ("text", "json", "csv")

Folds = Annotated[
    Path | None,
    typer.Option("--folds", metavar="FILE", help="A list with the fold of each message, to compare with other tools."),
]
Output = Annotated[
    str,
    typer.Option(
        "--format", metavar="text|json|csv", help="Text for you; JSON or CSV with every message for programs."
    ),
]
Curves = Annotated[
    Path | None,
    typer.Option("--curves", metavar="FILE", help="Draw ROC curve and calibration as .svg or .png; needs matplotlib."),
]


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    app.command()(train)
    app.command()(evaluate)
    app.command(name="models")(show_models)


def train(
    sources: LabelSources = None,
    label: Labels = None,
    labels: LabelList = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Learn from this mail alone, without the corpus that comes with unpitch."),
    ] = False,
    private: Annotated[
        int,
        typer.Option(
            "--private", metavar="K", min=0, help="Leave out words that fewer than K senders use, to share the model."
        ),
    ] = 0,
    target: Annotated[
        float,
        typer.Option(
            "--target-fp", metavar="SHARE", min=0, max=0.5, help="Share of wanted mail that may be called promotional."
        ),
    ] = 0.001,
    folds: Folds = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure only, and keep no model.")] = False,
    to: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the model there; the one in use stays in use."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Use the model even if something speaks against it.")] = False,
    output: Output = "text",
    curves: Curves = None,
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
    jobs: Jobs = 0,
    scheduler: Scheduler = "",
) -> None:
    """Train a model on your own mail, measure it on mail it did not see, and use it unless it is worse than the one in use."""
    from filters import training  # noqa: PLC0415  (scikit-learn)
    from filters.material import Plan  # noqa: PLC0415
    from filters.train import as_json  # noqa: PLC0415

    _check_output(output, curves)
    sender, registry = senders.load(), model_registry()
    way_in = access(password_command, ca_file)
    said = said_of(way_in, sources, label, labels)
    out = console() if output == "text" else Console(stderr=True, highlight=False, emoji=False, markup=False)
    given = _folds(folds) if folds else None
    ours = _ours(said, sender)
    general = from_scratch or not ours or models.load(registry.active()).general
    with Reading(way_in, jobs, scheduler, ours, general).all(said) as (own, read):
        _check_enough(out, own, read, said)
        plan = Plan(target, from_scratch, private, given)
        with telling() as tell:
            trained = training.course(own, sender, registry, plan, positive=_sought(said, ours), progress=tell)
        _tell(out, output, read, own.counts, trained.measures, trained.scored, trained.threshold, trained)
        _draw(curves, trained.scored, trained.measures)
        if to:
            write_file(to, lambda file: file.write(as_json(trained.model).encode()))
            say(out, f"The model was written to {to}; the one in use is as it was.", "bold")
        elif dry_run:
            say(out, "Dry run: no model was kept.", "bold")
        elif not ours:
            raise UsageError(
                f"A model of {' and '.join(sorted(map(safe_text, own.counts)))} says nothing of {sender.title}'s mail, so it"
                " cannot be used here. It was measured; --output writes it to a file."
            )
        else:
            adopt(out, registry, trained, own, force=force)
    _end_for(read)


def _folds(path: Path) -> dict[str, int]:
    """The fold of each message that a list names. Raises like `read_list`."""
    table = read_list(path, "fold")
    if odd := [fold for fold in table.values() if not re.fullmatch(r"[0-9]{1,9}", fold)]:
        raise InputError(f"{path}: a fold is a number, not {odd[0]!r}. Nothing was trained.")
    return {name: int(fold) for name, fold in table.items()}


def _check_enough(out: Console, own: Shelf, read: Read, said: Sequence[Label]) -> None:
    """Raise InputError when there is too little mail; then say what was read, and what of it does not count."""
    from filters import figures, training  # noqa: PLC0415  (scikit-learn)

    try:
        training.check(own.counts, {one.name for one in said if one.name})
    except InputError:
        figures.read_text(out, read, own.counts)
        raise


def adopt(out: Console, registry: Registry, trained: Trained, own: Iterable[Labelled], *, force: bool) -> None:
    """Keep a model, use it unless something speaks against it, and say so. Raises LimitError where something does."""
    from filters import training  # noqa: PLC0415

    number = training.adopt(registry, trained, own, force=force)
    if trained.objections and not force:
        raise LimitError(
            f"The new model was kept as {number}, but is not in use: {'; '.join(trained.objections)}. To use it all the same:"
            f" unpitch models --use {number}"
        )
    say(out, f"Model {number} is in use now. Back to the one before it: unpitch models --back", "bold green")


def evaluate(
    sources: LabelSources = None,
    label: Labels = None,
    labels: LabelList = None,
    model: Annotated[
        str,
        typer.Option("--model", metavar="FILE|NUMBER|shipped", help="The model to measure. Default: the one in use."),
    ] = "",
    threshold: Annotated[
        float,
        typer.Option("--threshold", metavar="P", min=0, max=1, help="Where promotional begins. Default: the model's."),
    ] = 0,
    output: Output = "text",
    curves: Curves = None,
    password_command: PasswordCommand = "",
    ca_file: CaFile = None,
    jobs: Jobs = 0,
    scheduler: Scheduler = "",
) -> None:
    """Say how good a model is on mail that you have labelled: rates with intervals, calibration, and the worst mistakes."""
    from filters.measures import measure  # noqa: PLC0415  (scikit-learn)
    from filters.training import evaluated  # noqa: PLC0415

    _check_output(output, curves)
    sender, registry = senders.load(), model_registry()
    chosen = _model_file(registry, model)
    way_in = access(password_command, ca_file)
    said = said_of(way_in, sources, label, labels)
    out = console()
    measured = models.load(chosen)
    known = {one.mail.identity: one.score for one in registry.lessons(chosen.stem) if one.score >= 0}
    known = known if chosen.parent == registry.folder else {}
    ours = _ours(said, sender)
    with Reading(way_in, jobs, scheduler, ours, measured.general).all(said) as (own, read):
        if not own.counts:
            raise UsageError(
                "None of this mail has a label, so there is nothing to measure. `--label NAME=SOURCE` says what mail is."
            )
        reference = models.load(registry.shipped)
        scored = evaluated(own, measured, reference, sender, known, _sought(said, ours))
    found = measure(scored, threshold or measured.threshold)
    if output == "text" and (times := sum(one.identity in known for one in scored)):
        say(
            out,
            f"{times:,} of these mails were trained on; their scores are those of the time when they were held out.",
            "yellow",
        )
    _tell(out, output, read, own.counts, found, scored, None, None)
    _draw(curves, scored, found)
    _end_for(read)


def show_models(
    number: Annotated[str, typer.Argument(metavar="[NUMBER]", help="One model, with what it says of itself.")] = "",
    use: Annotated[str, typer.Option("--use", metavar="NUMBER|shipped", help="Judge by this model from now on.")] = "",
    back: Annotated[bool, typer.Option("--back", help="Judge by the model that was in use before.")] = False,
    output: Annotated[
        str, typer.Option("--format", metavar="text|json", help="Text for you, JSON for programs.")
    ] = "text",
) -> None:
    """List the models that you have trained, show what one says of itself, or choose which one judges."""
    if output not in ("text", "json"):
        raise UsageError(f"--format is text or json, not {output}.")
    if sum(map(bool, (number, use, back))) > 1:
        raise UsageError("NUMBER, --use and --back exclude each other.")
    registry, out = model_registry(), console()
    if use or back:
        if use:
            models.load_for(registry.path(use), senders.load().categories)
            registry.use(use)
        say(out, f"Model {use or registry.back()} is in use now.", "bold green")
    elif number:
        about = models.load(registry.path(number)).about
        _print_json({"number": number, **about}) if output == "json" else _card(out, number, registry)
    else:
        _list(out, registry, output)


def _list(out: Console, registry: Registry, output: str) -> None:
    rows = [_summary(registry, number) for number in [SHIPPED, *registry.numbers()]]
    if output == "json":
        _print_json({"models": rows})
        return
    table = table_for(out)
    for name in ("model", "trained on", "mails", "found", "FP", ""):
        table.add_column(name)
    for row in rows:
        mark = "in use" if row["in_use"] else ""
        table.add_row(row["number"], row["trained_on"], str(row["mails"]), row["found"], row["fp"], mark)
    out.print(table)


def _summary(registry: Registry, number: str) -> dict[str, Any]:
    """What the list says of a model; a broken one is in it too, so that it can be seen."""
    row = {"number": number, "in_use": number == registry.in_use(), "trained_on": "", "mails": 0, "found": "", "fp": ""}
    try:
        about = models.load(registry.path(number)).about
        counts = about.get("own_mails") or about.get("mails", {})
        cross = about.get("cross_validation", {})
        row |= {"trained_on": str(about.get("trained_on", "")), "mails": sum(map(int, counts.values()))}
        if "true_positives" in cross:
            row["found"] = f"{cross['true_positives']} of {cross['true_positives'] + cross['false_negatives']}"
            row["fp"] = f"{cross['false_positives']} of {cross['false_positives'] + cross['true_negatives']}"
    except (InputError, AttributeError, KeyError, TypeError, ValueError):  # whoever made it
        row["trained_on"] = "broken: it cannot be read"
    return row


def _card(out: Console, number: str, registry: Registry) -> None:
    path = registry.path(number)
    model = models.load(path)
    say(out, f"Model {number}: {len(model.weights):,} features, {len(model.categories)} categories.", "bold")
    say(out, f"Promotional from {model.threshold:.3f}, unsure from {model.unsure:.3f}.")
    for name, value in sorted(model.about.items()):
        say(out, f"{name}: {_flat(value)}")


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(one)}" for name, one in value.items())
    return f"{value}"


def _print_json(data: object) -> None:
    print(json.dumps(data, indent=1))


def _check_output(output: str, curves: Path | None) -> None:
    from filters.figures import PICTURES  # noqa: PLC0415  (scikit-learn)

    if output not in _KINDS:
        raise UsageError(f"--format is {', '.join(_KINDS[:-1])} or {_KINDS[-1]}, not {output}.")
    if curves and curves.suffix.lower() not in PICTURES:
        raise UsageError(f"--curves writes a picture: {' or '.join(PICTURES)}, not {curves.name}.")


def _ours(said: Sequence[Label], sender: Sender) -> bool:
    return is_ours(names_of(said), sender)


def _sought(said: Sequence[Label], ours: bool) -> str:
    """Where the labels are none of the sender's, the one that is sought: the first."""
    return "" if ours else next(names_of(said))


def _tell(
    out: Console,
    output: str,
    read: Read,
    counts: Counter[str],
    found: Measures,
    scored: Sequence[Scored],
    threshold: Threshold | None,
    trained: Trained | None,
) -> None:
    from filters import figures  # noqa: PLC0415  (scikit-learn)

    if output == "json":
        print(figures.evaluation_json(found, scored, read, threshold))
    elif output == "csv":
        print(figures.evaluation_csv(scored, found.threshold), end="")
    else:
        figures.read_text(out, read, counts)
        if trained:
            figures.trained_text(out, trained)
        else:
            figures.evaluated_text(out, found, scored)


def _end_for(read: Read) -> None:
    """Name the files that could not be read, and say so by the exit code."""
    for why, _ in read.failed:
        warn(why)
    if read.failed:
        raise typer.Exit(read.failed[0][1])


def _draw(curves: Path | None, scored: Sequence[Scored], found: Measures) -> None:
    from filters.figures import draw  # noqa: PLC0415  (scikit-learn)

    if curves:
        write_file(curves, lambda file: draw(file, curves.suffix.lower(), scored, found))


def _model_file(registry: Registry, model: str) -> Path:
    """A model by its number, or by its path."""
    if not model:
        return registry.active()
    return Path(model) if Path(model).is_file() else registry.path(model)
