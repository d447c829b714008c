"""What the page costs beside the audit itself: 100,000 messages, of which 3,000 LinkedIn's; and a page of 10,000 mails, 1,500 of them promotional.

Needs no network and nothing beside the project; memory or a fast disk for 150 MB (TMPDIR).
"""

from __future__ import annotations

import gzip
import random
import resource
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mails
from findings import finding
from years import dated

from filters import __version__, senders
from filters.cli.mailbox import gather
from filters.cli.options import Access, policy, setup
from filters.cli.writing import write_private
from filters.report import Audit, Figures
from filters.report.page import Page, write_page
from filters.wording import Wording

START = datetime(2012, 1, 2, 7, tzinfo=UTC)
NAMES = (
    "Northfield School",
    "Camden & Leith Bank",
    "Halden Cloud",
    "Solenne Barthélemy-Roux",
    "Society for Tax",
    "Gull Airways",
)
KINDS = (
    "job_alert",
    "notification",
    "network_digest",
    "invitation",
    "member_message",
    "newsletter",
    "job_recommendation",
    "security",
)


def memory() -> int:
    """The most that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def box(path: Path, messages: int, linkedin: int) -> None:
    """An mbox."""
    every = messages // linkedin
    friend = mails.friend().replace(b"\r\n", b"\n")
    with path.open("wb") as file:
        for number in range(messages):
            raw = friend
            if number % every == 0:
                advert = mails.mail(
                    number=number, subject=f"Offer {number}", sender=f"{NAMES[number % 6]} <hit-reply@linkedin.com>"
                )
                raw = advert if number % (3 * every) == 0 else mails.job_alert(number)
                raw = dated(raw, START + timedelta(hours=1.2 * number)).replace(b"\r\n", b"\n")
                raw = raw.replace(b"<%d." % number, b"<%d.1." % number)
            file.write(b"From a@example.org Tue May  3 10:00:00 2016\n" + raw + b"\n")


def many(mail_count: int, promotional: int) -> Audit:
    """An audit of so many mails, as a long life with LinkedIn gives."""
    chance = random.Random(6)
    audit = Audit(sources=["/home/ann/takeout.mbox"])
    quote = "This is a promotional message from a marketing or hiring partner and was sent to you based on your browsing activity or non-personal information such as job title, primary industry, or region."
    for number in range(mail_count):
        advert = number < promotional
        kind = (
            chance.choice(["partner_inmail", "partner_inmail", "linkedin_marketing"])
            if advert
            else chance.choice(KINDS)
        )
        when = START + timedelta(days=chance.triangular(0, 5300, 3500), hours=chance.gauss(3, 3))
        partner = kind == "partner_inmail"
        one = finding(
            source=audit.sources[0], key=str(number), message_id=f"{number}@lva1", date=when.isoformat(), category=kind,
            from_=f"{chance.choice(NAMES)} {number % 90} <hit-reply@linkedin.com>" if partner else "LinkedIn <linkedin@e.linkedin.com>",
            subject=f"Your {chance.choice(['executive MBA', 'free trial', 'seat at the summit', 'new card'])}, number {number}: register before it is gone",
            promotional=advert, probability=chance.uniform(0.7, 1) if advert else 0.01, action="move" if advert else "keep",
            evidence=({"feature": f"stream:{kind}", "quote": "linkedin@e.linkedin.com", "weight": 3.0},),
            wording=Wording("T5", quote, (60,)) if partner and number % 3 else None,
        )  # fmt: skip
        audit.findings.append(replace(one, reason="not promotional") if not advert else one)
    audit.tally.messages = 8 * mail_count
    return audit


def cost(room: Path) -> None:
    """Time and memory of the page beside those of the audit."""
    path = room / "box.mbox"
    box(path, 100_000, 3_000)
    sender, found = senders.load(), Audit()
    source = Access(str).open(str(path), changes=False)
    began = time.perf_counter()
    gather(source, setup(source, [mails.TRUSTED]), policy(sender, None, "keep"), {}, found)
    audited, held = time.perf_counter() - began, memory()
    began = time.perf_counter()
    write_private(
        room / "page.html", write_page(Page(Figures(found, sender, datetime.now(UTC), None), "", __version__)), True
    )
    written = time.perf_counter() - began
    print(
        f"{found.tally.messages:,} messages, {len(found.findings):,} LinkedIn's, {len(found.promotional):,} promotional: audit {audited:.1f} s,"
        f" page {written:.2f} s ({written / audited:.1%}); memory {held} MB before the page, {memory()} MB after"
    )


def size(room: Path) -> None:
    """How large a page is."""
    audit = many(10_000, 1_500)
    figures = Figures(audit, senders.load(), datetime(2026, 11, 1, tzinfo=UTC), UTC)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else room / "many.html"
    began = time.perf_counter()
    write_private(path, write_page(Page(figures, "", __version__)), True)
    raw = path.read_bytes()
    print(
        f"10,000 mails, 1,500 promotional: {len(raw) / 1e6:.2f} MB ({len(gzip.compress(raw)) / 1e3:.0f} KB packed),"
        f" written in {time.perf_counter() - began:.2f} s"
    )


with tempfile.TemporaryDirectory(prefix="unpitch-bench-") as folder:
    size(Path(folder))
    cost(Path(folder))
