"""A promise against the mail that makes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from findings import finding

from filters import senders
from filters.report import Audit, Figures
from filters.report.promises import Checked, check
from filters.wording import Wording

SENDER = senders.load()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2016, 3, 1, 12, tzinfo=UTC)
MAKES_IT = Wording("T5", "one every 60 days", (60,))


def checked(*days: float, **changes: object) -> list[Checked]:
    found = [
        finding(
            **{
                "message_id": str(number),
                "date": (START + timedelta(days=day)).isoformat(),
                "wording": MAKES_IT,
                **changes,
            }
        )
        for number, day in enumerate(days)
    ]
    return check(Figures(Audit(findings=found), SENDER, NOW))


def test_sixty_days_are_enough_and_a_minute_less_is_not() -> None:
    (one,) = checked(0, 60, 120 - 1 / 1440)
    assert (one.mails, len(one.gaps), len(one.sooner)) == (3, 2, 1)
    assert one.sooner[0].first.message_id == "1"
    assert one.sooner[0].second.message_id == "2"
    assert 59.9 < one.sooner[0].days < 60


def test_order_in_the_mailbox_does_not_matter() -> None:
    (one,) = checked(100, 0, 200)
    assert one.sooner == ()
    assert one.gaps == (100, 100)


def test_mail_without_the_sentence_is_not_counted() -> None:
    assert checked(0, 5, wording=None) == []
    assert checked(0, 5, wording=Wording("T5", "one every 45 days", ())) == []
    assert checked(0, 5, wording=Wording("T3", "", (60,))) == []


def test_mail_that_looks_forged_or_is_not_promotional_is_not_counted() -> None:
    assert checked(0, 5, authenticity="forged") == []
    assert checked(0, 5, promotional=False) == []
    assert checked(0, 5, category="linkedin_marketing") == []


def test_one_message_in_two_folders_is_one_message() -> None:
    (one,) = checked(0, 0, message_id="same")
    assert one.mails == 1
    (one,) = checked(0, 0, message_id="")
    assert one.mails == 1


def test_dates_that_cannot_be_true_are_not_counted() -> None:
    assert checked(20_000) == []
    assert checked(0, date="") == []
