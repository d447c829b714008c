"""Which known text a mail carries, and what it promises."""

from __future__ import annotations

import mails
import pytest

from filters import senders
from filters.normal_form import fold, normal
from filters.wording import QUOTE_CAP, wording

SENDER = senders.load()


def test_the_text_of_2016_is_quoted_whole_and_makes_its_promise() -> None:
    said = wording(normal(f"Buy this.\n\n{mails.DISCLOSURE}\n\nUnsubscribe"), "partner_inmail", SENDER)
    assert said
    assert (said.text_id, said.promises) == ("T5", (60,))
    assert said.quote.startswith("This is a promotional message from")
    assert said.quote.endswith("have not been disclosed")


def test_another_number_is_another_promise() -> None:
    said = wording(normal(mails.DISCLOSURE.replace("60", "45")), "partner_inmail", SENDER)
    assert said
    assert (said.text_id, said.promises) == ("T5", ())


@pytest.mark.parametrize("text", ["", "Sponsored", "I hate “" + mails.DISCLOSURE + "” and so should you."])
def test_no_text_or_a_quotation_of_it_says_nothing(text: str) -> None:
    assert wording(normal(text), "partner_inmail", SENDER) is None


def test_text_that_goes_on_for_ever_is_cut() -> None:
    said = wording(normal(mails.DISCLOSURE + " x" * 50 + mails.DISCLOSURE), "partner_inmail", SENDER)
    assert said
    assert len(said.quote) <= QUOTE_CAP


def test_a_promise_is_part_of_its_text_and_names_its_number() -> None:
    for promise in SENDER.promises:
        assert str(promise.days) in promise.text
        assert fold(normal(promise.text)) in fold(normal(promise.said))
        assert promise.said in SENDER.eras[promise.text_id].promise
        texts = [fold(one.text) for one in SENDER.disclosures if one.text_id == promise.text_id]
        assert any(fold(promise.text).startswith(text) for text in texts), "mail that promises it is found by it"


def test_how_long_an_opt_out_may_take_is_data() -> None:
    assert SENDER.waiting
    assert SENDER.waiting.business_days == 10
    assert "10 business days" in SENDER.waiting.text
