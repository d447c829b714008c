"""What counts as evidence, and what must not."""

from __future__ import annotations

import textwrap
import unicodedata

import hostile
import mails
import pytest

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


def _html(inner: str) -> bytes:
    return hostile.html_mail(f"<html><body><table><tr><td>{inner}</td></tr></table></body></html>")


def _flowed(text: str) -> bytes:
    lines = [text[at : at + 40] for at in range(0, len(text), 40)]
    stuffed = [f" {line}" if line.startswith((" ", ">", "From")) else line for line in lines]
    return hostile.text_mail(" \n".join(stuffed) + "\n", more="; format=flowed; delsp=yes")


SAID = mails.DISCLOSURE
SOFT = "=\n".join("".join(f"={byte:02X}" for byte in char.encode()) for char in SAID)
CARRIERS: dict[str, bytes] = {
    "text alone": hostile.text_mail(SAID),
    "soft breaks inside every word": hostile.mail(
        SOFT.encode(), "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable"
    ),
    "base64": hostile.text_mail(SAID, encoding="base64"),
    "UTF-16": hostile.text_mail(SAID, "utf-16", "base64"),
    "windows-1252": hostile.text_mail(SAID, "windows-1252"),
    "windows-1252 that says us-ascii": hostile.text_mail(SAID, "windows-1252").replace(b"windows-1252", b"us-ascii"),
    "straight quotes": hostile.text_mail(SAID.replace("’", "'")),
    "zero-width characters": hostile.text_mail("\u200b".join(SAID)),
    "NFD": hostile.text_mail(unicodedata.normalize("NFD", SAID.replace("e-mail", "é-mail"))),
    "flowed with delsp": _flowed(SAID),
    "hard wrapped": hostile.text_mail("\n".join(textwrap.wrap(SAID, 31))),
    "HTML alone": _html(f"<p>{SAID}</p>"),
    "entities": _html("".join(f"&#{ord(char)};" for char in SAID)),
    "inline tags within words": _html("<b></b>".join(SAID)),
    "a tag around every word": _html(" ".join(f"<span>{word}</span>" for word in SAID.split())),
    "no-break spaces": _html(SAID.replace(" ", "&nbsp;")),
    "another number": hostile.text_mail(SAID.replace("60 days", "45 days")),
    "email for e-mail": hostile.text_mail(SAID.replace("e-mail", "email")),
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_disclosure_is_found_in_every_carrier(carrier: str) -> None:
    named = features(CARRIERS[carrier]).named
    assert "disclosure_decisive:partner_inmail" in named
    assert "notice_telling_2" in named


NOTICES = {
    "pl": "Reklama. Wydawnictwo zapłaciło LinkedInowi za wyświetlenie tej wiadomości osobom z Pani branży; Pani nazwiska nie "
    "przekazaliśmy. Najwyżej jedna na 45 dni.",
    "sv": "Annonsören har betalat LinkedIn för att detta ska visas för medlemmar med ditt yrke. Ditt namn har inte lämnats ut.",
    "tr": "TANITIM İLETİSİ. Bedeli yayınevi tarafından ödenmiştir ve mesleğinize göre seçilen üyelere gösterilir. Adınız "
    "onlarla paylaşılmamıştır.",
}


@pytest.mark.parametrize("language", NOTICES)
def test_a_notice_is_found_whatever_its_words_and_endings(language: str) -> None:
    named = features(hostile.text_mail(NOTICES[language])).named
    assert "notice_telling_2" in named
    assert not [name for name in named if name.startswith("disclosure")]


def test_a_label_above_and_the_reasons_below_are_one_notice() -> None:
    letter = "We bake bread for a hundred villages and one lighthouse, and the boat takes it over when the sea lets it."
    reasons = "Why you? Chosen by job title; your name was not shared with us. Rather not? Your settings have a switch."
    named = features(hostile.text_mail(f"Sponsored\n{letter}\n{reasons}")).named
    assert {"notice_paid", "notice_telling_2", "notice_way_out"} <= set(named)
    assert named["notice_telling_2"].startswith("Why you")
    assert "notice_paid" not in features(hostile.text_mail(f"{letter}\n{reasons}")).named
    assert (
        "notice_telling_1" not in features(hostile.text_mail(f"Sponsored\n{letter}\nRather not? Your settings.")).named
    )
