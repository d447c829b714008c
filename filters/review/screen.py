"""The screen on which a person walks through doubtful mail, one message after the other, while the rest is still being read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from filters.errors import FiltersError
from filters.report.clues import why
from filters.report.explaining import lines
from filters.review import NONE, Labels
from filters.safe_text import safe_text
from filters.sweep import Finding

#: Lines of a message that are shown before it is opened.
_PREVIEW = 8
_POLL_SECONDS = 0.1


class StoppedError(Exception):
    """The person has gone; nothing more needs to be read."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """`read` gives what is to be reviewed; it calls its argument whenever it has looked at something, and that may raise."""

    read: Callable[[Callable[[], object]], Iterable[Finding]]
    seen: Callable[[], int]
    """How many messages have been looked at."""


class Review(App[None]):
    """Keys label the message on the screen; each label is on the disk before the next message is shown."""

    TITLE = "unpitch review"
    CSS = """
    #about { height: auto; padding: 0 1; }
    #state { height: 1; padding: 0 1; background: $panel; }
    #text { height: 1fr; padding: 0 1; border-top: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "label('promotional')", "promotional"),
        Binding("k", "label('keep')", "keep"),
        Binding("s", "skip", "skip"),
        Binding("o", "open", "open"),
        Binding("u", "undo", "undo"),
        Binding("q", "quit", "end"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, mailbox: Mailbox, labels: Labels) -> None:
        super().__init__()
        self.fault: FiltersError | None = None
        self.labelled = 0
        self._mailbox, self._labels = mailbox, labels
        self._queue: list[Finding] = []
        self._at = 0
        self._done: list[tuple[int, str]] = []
        self._found: deque[Finding] = deque()
        self._reading = self._reading_shown = True
        self._gone = self._opened = False

    def compose(self) -> ComposeResult:
        """From above: what is known, the mail, how far we are, the keys."""
        yield Static(id="about")
        with VerticalScroll(id="text"):
            yield Static(id="words")
        yield Static(id="state")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self.run_worker(self._read, thread=True)
        self.set_interval(_POLL_SECONDS, self._take)
        self._show()

    def on_unmount(self) -> None:
        """The reading stops at the next message."""
        self._gone = True

    def _read(self) -> None:
        """In a thread of its own, which waits for nothing that the screen does, so that it can always end."""
        try:
            for finding in self._mailbox.read(self._go_on):
                if not self._labels.of(finding):
                    self._found.append(finding)
        except StoppedError:
            return
        except FiltersError as error:
            self.fault = error
        self._reading = False

    def _go_on(self) -> None:
        if self._gone:
            raise StoppedError

    def _take(self) -> None:
        """Take over what was found meanwhile."""
        if not self.query("#state"):  # a last tick, while the screen is being taken down
            return
        waiting = self._at >= len(self._queue)
        before = (len(self._queue), self._reading_shown)
        self._reading_shown = self._reading
        while self._found:
            self._queue.append(self._found.popleft())
        if waiting and before != (len(self._queue), self._reading_shown):
            self._show()
        else:
            self._show_state()

    # Keys

    def action_label(self, label: str) -> None:
        """Write the label, and go on."""
        if self._at < len(self._queue) and self._write(label):
            self.labelled += 1
            self._forward(label)

    def action_skip(self) -> None:
        """Go on without a label: it comes again next time."""
        if self._at < len(self._queue):
            self._forward(NONE)

    def action_open(self) -> None:
        """Show all of the message, or the beginning again."""
        self._opened = not self._opened
        self._show()

    def action_undo(self) -> None:
        """Go back one message, and take its label back."""
        if not self._done:
            return
        self._at, label = self._done.pop()
        if label and self._write(NONE):
            self.labelled -= 1
        self._opened = False
        self._show()

    def _write(self, label: str) -> bool:
        try:
            self._labels.add(self._queue[self._at], label, datetime.now(UTC))
        except FiltersError as error:
            self.fault = error
            self.exit()
            return False
        return True

    def _forward(self, label: str) -> None:
        self._done.append((self._at, label))
        self._at += 1
        self._opened = False
        self._show()

    # What is shown

    def _show(self) -> None:
        about, text = self.query_one("#about", Static), self.query_one("#words", Static)
        if self._at < len(self._queue):
            finding = self._queue[self._at]
            about.update(_about(finding))
            text.update(_words(finding, 0 if self._opened else _PREVIEW))
        else:
            about.update("")
            text.update(self._end())
        self.query_one("#text", VerticalScroll).scroll_home(animate=False)
        self._show_state()

    def _end(self) -> str:
        if self._reading_shown:
            return "Looking for mail to review. It is shown as soon as it is found."
        return "That was all. Press q to end." if self._queue else "There is nothing to review here. Press q to end."

    def _show_state(self) -> None:
        count = len(self._queue)
        place = f"message {min(self._at + 1, count):,} of {count:,}" if self._at < count else f"{count:,} shown"
        far = f"{self._mailbox.seen():,} looked at{', reading' if self._reading_shown else ''}"
        self.query_one("#state", Static).update(f"{place}  ·  {self.labelled:,} labelled  ·  {far}")


def _about(finding: Finding) -> Text:
    shown = Text()
    for name, value in (("From", finding.from_), ("Subject", finding.subject), ("Date", finding.date[:10])):
        shown.append(f"{name:9}", "dim")
        shown.append(f"{safe_text(value, 68)}\n")
    shown.append(f"{'Verdict':9}", "dim")
    shown.append(f"P(promotional) = {finding.probability:.2f}; {safe_text(why(finding), 110)}")
    return shown


def _words(finding: Finding, most: int) -> Text:
    shown = Text()
    for number, line in enumerate(lines(finding)):
        if most and number >= most:
            shown.append("… o shows all of it", "dim")
            break
        for segment in line:
            shown.append(safe_text(segment.text), "bold underline" if segment.clue else "")
        shown.append("\n")
    return shown
