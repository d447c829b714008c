"""What counts as evidence, and what must not."""

from __future__ import annotations

import mails

from filters import senders
from filters.features import Features
from filters.train import features_of


def features(raw: bytes) -> Features:
    return features_of(raw, senders.load())


def test_a_disclosure_is_evidence_and_quotes_the_mail() -> None:
    named = features(mails.mail()).named
    assert named["disclosure_decisive:partner_inmail"].startswith("This is a promotional message from a marketing")
    assert "disclosure_several:partner_inmail" in named


def test_a_quoted_disclosure_is_another_kind_of_evidence() -> None:
    named = features(mails.mail(f"Did you get this too? It says: “{mails.DISCLOSURE}” How do I stop it?")).named
    assert "disclosure_quoted:partner_inmail" in named
    assert not [name for name in named if name.startswith(("disclosure_decisive", "disclosure_strong"))]


def test_names_of_sender_and_reader_are_no_words() -> None:
    words = features(mails.mail("Dear Ann, Northfield greets you. Reader beware.")).words
    assert "greets" in words
    assert not {word for word in words for name in ("ann", "northfield", "reader") if name in word.split()}


def test_numbers_are_not_told_apart() -> None:
    assert features(mails.mail("Save 20 percent")).words == features(mails.mail("Save 35 percent")).words


def test_no_feature_holds_an_id_or_a_date() -> None:
    one, other = mails.mail(number=1), mails.mail(number=59).replace(b"2016", b"2019")
    assert features(one) == features(other)


def test_template_and_stream_are_named() -> None:
    named = features(mails.job_alert()).named
    assert {"stream:job_alert", "template_kind:job_alert", "footer:job_alert"} <= set(named)
