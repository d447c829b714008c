"""The module that reads a sender's data and answers questions about a mail: lookups, phrases, quotations, broken data."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hostile import cpu_limit

from filters.errors import InputError
from filters.normal_form import fold, normal, words
from filters.senders import Disclosure, Footer, Found, Sender, load, load_from
from filters.senders.parsing import parsed

DISCLOSURE = (
    "This is a promotional message from a marketing or hiring partner and was sent to you based on your browsing activity or"
    " non-personal information such as job title, primary industry, or region. You will only receive a maximum of one"
    " promotional message every 60 days. You can Unsubscribe here. Per LinkedIn’s privacy policy, your name and e-mail"
    " address have not been disclosed.\n\nIf you opt-in to share your information with the advertiser, this information will be"
    " subject to the advertiser’s privacy policy. You can opt-out generally from targeted ads from most third party companies"
    " here."
)
T3 = (
    "Why did I receive this message? This Sponsored InMail was sent to you based on non-personal information, such as the title of"
    " your current position, your primary industry, or your region. Per our privacy policy, your name and e-mail address have"
    " not been disclosed. Edit your Sponsored InMail contact settings."
)
T4 = (
    "LinkedIn Sponsored InMails are messages from our partners with informational or promotional content that is part of a marketing"
    " or hiring campaign. These Sponsored InMails are sent to LinkedIn users based on non-personal information, such as the"
    " title of your current position, your primary industry, or your region, and are not from individual recruiters using"
    " LinkedIn. Your name and e-mail address will not be disclosed to LinkedIn’s marketing partners."
)


@pytest.fixture(scope="module")
def sender() -> Sender:
    return load()


def found(sender: Sender, text: str) -> list[Found]:
    return [one for one in sender.find(normal(text)) if isinstance(one.entry, Disclosure)]


def strengths(sender: Sender, text: str) -> set[str]:
    return {one.entry.strength for one in found(sender, text) if isinstance(one.entry, Disclosure)}


# --- loading


def test_it_is_loaded_once() -> None:
    assert load() is load()


SMALL = {
    "sender.toml": """
[sender]
name = "acme"
title = "Acme"
domains = ["acme.example"]
aliases = ["acme"]
neighbours = []
header_fields = ["FROM"]
class_header = "x-acme-class"
template_header = "x-acme-template"
several = ["You have 2 new notes"]
thread_path = "/talk/"
never_parts = []
route_hosts = ["www.acme.example"]
not_live = ["/old/"]

[[category]]
name = "pitch"
title = "Pitch"
about = "A pitch."
promotional = true
action = "move"
""",
    "en.toml": """
language = "en"

[[disclosure]]
category = "pitch"
text_id = "A"
text = "This is a pitch."
strength = "decisive"
grade = "D"
seen = "invented"

[[disclosure]]
category = "pitch"
text_id = "B"
text = "We were paid."
strength = "strong"
grade = "D"
seen = "invented"
""",
    "opt_out.toml": """
[[opt_out]]
category = "pitch"
order = 1
title = "Off"
region = "any"
steps = ["Settings", "Off"]
url = "https://www.acme.example/off"
live = true
checked = "2026"
note = "Nothing."
grade = "D"
seen = "invented"
""",
}


def write(folder: Path, **changes: tuple[str, str]) -> Path:
    """The small sender's data, with one text replaced in the named file."""
    for name, text in SMALL.items():
        old, new = changes.get(name.removesuffix(".toml"), ("", ""))
        assert old in text
        folder.joinpath(name).write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
    return folder


def test_another_sender_is_only_another_folder(tmp_path: Path) -> None:
    acme = load_from(write(tmp_path))
    assert (acme.title, acme.promotional, acme.opt_outs("pitch")[0].steps) == ("Acme", ("pitch",), ("Settings", "Off"))
    assert [one.entry.text for one in acme.find("Hello. This is a pitch.")] == ["This is a pitch."]


@pytest.mark.parametrize(
    ("file", "old", "new", "words_of_error"),
    [
        (
            "en",
            'category = "pitch"',
            'category = "ptich"',
            ["en.toml: [[disclosure]] number 1", "'ptich'", "sender.toml"],
        ),
        ("en", 'category = "pitch"', 'category = ""', ["en.toml: [[disclosure]] number 1", "'category' is empty"]),
        ("en", 'seen = "invented"', 'sene = "invented"', ["number 1", "unknown key 'sene'"]),
        ("en", 'seen = "invented"', "", ["number 1", "'seen' is missing"]),
        ("en", 'seen = "invented"', 'seen = ""', ["number 1", "'seen' is empty"]),
        ("en", 'grade = "D"', 'grade = "E"', ["number 1", "'grade' is 'E'", "A, B, C, D"]),
        ("en", 'strength = "strong"', 'strength = "certain"', ["number 2", "'strength' is 'certain'"]),
        ("en", "This is a pitch.", "... !", ["number 1", "no words"]),
        ("en", 'text_id = "B"', 'text_id = "0"', ["number 2", "not in alphabetical order"]),
        (
            "en",
            'text_id = "B"\ntext = "We were paid."',
            'text_id = "A"\ntext = "This is a pitch."',
            ["number 2", "twice"],
        ),
        ("en", "[[disclosure]]", "[[disclosures]]", ["en.toml", "no table [[disclosures]]"]),
        ("en", 'language = "en"', 'language = "en', ["en.toml: not valid TOML", "line 2"]),
        ("opt_out", "https://www.acme", "https://evil", ["opt_out.toml: [[opt_out]] number 1", "'route_hosts'"]),
        ("opt_out", "https://www", "http://www", ["not https"]),
        ("opt_out", "example/off", "example/off?token=1", ["a query"]),
        ("opt_out", "example/off", "example/old/off", ["not live"]),
        ("opt_out", 'steps = ["Settings", "Off"]', 'steps = "Settings"', ["'steps' must be of type list"]),
        ("opt_out", "order = 1", 'order = "1"', ["'order' must be of type int"]),
        ("opt_out", "live = true", "live = 1", ["'live' must be of type bool"]),
        ("sender", "[sender]", "[sendr]", ["sender.toml", "no table [[sendr]]"]),
        ("sender", 'action = "move"', 'action = "burn"', ["'action' is 'burn'"]),
    ],
)
def test_broken_data_is_named(tmp_path: Path, file: str, old: str, new: str, words_of_error: list[str]) -> None:
    with pytest.raises(InputError) as error:
        load_from(write(tmp_path, **{file: (old, new)}))
    assert [part for part in words_of_error if part not in str(error.value)] == []


def test_the_same_entry_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path).joinpath("more.toml").write_text(SMALL["en.toml"], encoding="utf-8")
    with pytest.raises(InputError, match=r"more.toml: \[\[disclosure\]\] number 1 .*another file"):
        load_from(tmp_path)


def test_a_folder_without_a_sender_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sender.toml"):
        load_from(tmp_path)


# --- addresses, templates, links


@pytest.mark.parametrize(
    ("domain", "own"),
    [
        ("linkedin.com", True),
        ("e.linkedin.com", True),
        ("Brand-New.LinkedIn.com.", True),
        ("notlinkedin.com", False),
        ("linkedin.com.evil.example", False),
        ("linkedln.com", False),
        ("", False),
    ],
)
def test_a_domain_is_owned_on_a_label_boundary(sender: Sender, domain: str, own: bool) -> None:
    assert sender.owns(domain) is own


def test_a_stream_is_an_exact_address(sender: Sender) -> None:
    stream = sender.stream("LinkedIn@E.LinkedIn.com")
    assert stream is not None
    assert (stream.category, stream.kind) == ("linkedin_marketing", "marketing")
    assert sender.stream("someone@linkedin.com") is None


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("email_hire_inmail_initial_single_01", "email_hire_inmail_initial_single"),
        ("email_hire_inmail_initial_single_7", "email_hire_inmail_initial_single"),
        ("email_member_message_v2", "email_member_message"),
        ("invite_guest_59", "invite_guest"),
        ("jobs_jymbii_digest", "jobs_jymbii_digest"),
        ("email_jobs_jymbii_digest", "jobs_jymbii_digest"),
        ("email_email_pymk_02", "email_pymk"),
        ("EMAIL_PYMK_01 ", "email_pymk"),
    ],
)
def test_a_template_is_known_by_its_stem(sender: Sender, name: str, stem: str) -> None:
    template = sender.template(name)
    assert template is not None
    assert template.stem == stem


@pytest.mark.parametrize("name", ["", "_01", "email_", "email_sponsored_01", "email_pymk_new"])
def test_an_unknown_template_is_none(sender: Sender, name: str) -> None:
    assert sender.template(name) is None


@pytest.mark.parametrize(
    ("link", "stem"),
    [
        ("https://www.linkedin.com/comm/feed/?trk=eml-email_pymk_01-header-0-home_glimmer&eid=x", "email_pymk"),
        ("https://www.linkedin.com/e/v2?e=x&ek=b2_content_ecosystem_digest&li=10", "b2_content_ecosystem_digest"),
        ("https://br.linkedin.com/x?lipi=urn%3Ali%3Apage%3Aemail_email_pymk_02%3Bab%2Bc%3D%3D", "email_pymk"),
        ("https://www.linkedin.com/x?lipi=urn%3Ali%3Apage%3Aemail_jobs_jymbii_digest%3Bx", "jobs_jymbii_digest"),
        ("https://www.linkedin.com/x?trk=eml-email_brand_new_03-hero-0-cta", "email_brand_new"),
    ],
)
def test_links_name_the_template(sender: Sender, link: str, stem: str) -> None:
    assert sender.templates_in([link]).most_common() == [(stem, 1)]


def test_the_template_that_most_links_name_comes_first(sender: Sender) -> None:
    one = "https://www.linkedin.com/a?trk=eml-email_pymk_01-x&lipi=urn%3Ali%3Apage%3Aemail_email_pymk_01%3Bx"
    other = "https://www.linkedin.com/b?trk=eml-email_job_alert_digest_01-y"
    assert sender.templates_in([other, one, one + "&n=2"]).most_common() == [
        ("email_pymk", 2),
        ("email_job_alert_digest", 1),
    ]


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/?trk=eml-email_pymk_01-x",
        "https://linkedin.com.evil.example/?ek=email_pymk_01",
        "https://evil.example/#www.linkedin.com/?ek=email_pymk_01",
        "https://www.linkedin.com/?trk=nav-email_pymk_01",
        "https://www.linkedin.com/?lipi=urn:li:page:feed_index",
        "https://www.linkedin.com/?ek=" + "x" * 200,
        "https://www.linkedin.com/?ek=%ff%00<script>",
        "http://[not-a-host/?ek=email_pymk_01",
        "mailto:x@linkedin.com?ek=email_pymk_01",
    ],
)
def test_other_links_name_no_template(sender: Sender, link: str) -> None:
    assert not sender.templates_in([link])


def test_links_to_the_partner_switch_are_clues_on_own_hosts_only(sender: Sender) -> None:
    path = "/settings/?tab=email&modal=nsettings-partner-inmail&trk=coml-opt-out"
    clues = sender.clues_in([f"https://www.linkedin.com{path}", f"https://evil.example{path}"])
    assert {(clue.part, clue.category, link.split("/")[2]) for clue, link in clues} == {
        ("modal=nsettings-partner-inmail", "partner_inmail", "www.linkedin.com"),
        ("trk=coml-opt-out", "partner_inmail", "www.linkedin.com"),
    }


# --- never


@pytest.mark.parametrize(
    ("address", "templates", "category"),
    [
        ("security-noreply@linkedin.com", [], "security"),
        ("billing-noreply@linkedin.com", [], "billing"),
        ("legalnotice@linkedin.com", [], "legal"),
        ("caseresponse@linkedin.com", [], "support"),
        ("linkedin_support@cs.linkedin.com", [], "support"),
        ("messages-noreply@linkedin.com", ["security_ato_challenge_send_pin_01"], "security"),
        ("messages-noreply@linkedin.com", ["security_auto_challenge_send_pin"], "security"),
        ("linkedin@e.linkedin.com", ["email_security_dataexport_fast_only_01"], "security"),
        ("inmail-hit-reply@linkedin.com", ["inmail_sent", "email_jobs_application_rejected_01"], "application_update"),
        ("security-noreply@linkedin.com", ["email_pymk_01"], "security"),
        ("jobs-noreply@linkedin.com", ["email_jobs_job_application_viewed_01"], "application_update"),
        ("jobs-noreply@linkedin.com", [], "application_update"),
        ("jobs-noreply@linkedin.com", [""], "application_update"),
        ("jobs-noreply@linkedin.com", ["email_jobs_unheard_of_01"], "application_update"),
        ("jobs-noreply@linkedin.com", ["email_pymk_01"], "application_update"),
        ("jobs-noreply@linkedin.com", ["email_jobs_viewed_job_reminder_01", "unheard_of"], "application_update"),
        ("jobs-noreply@linkedin.com", ["email_jobs_viewed_job_reminder_01"], None),
        ("jobs-noreply@linkedin.com", ["email_jobs_viewed_job_reminder_01", "email_jobs_viewed_job_reminder"], None),
        ("jobs-listings@linkedin.com", ["jobs_jymbii_digest"], None),
        ("inmail-hit-reply@linkedin.com", [], None),
        ("linkedin@e.linkedin.com", [], None),
        ("nobody@example.org", [], None),
        ("", [], None),
    ],
)
def test_what_is_never_moved(sender: Sender, address: str, templates: list[str], category: str | None) -> None:
    never = sender.never(address, templates)
    assert (never.name if never else None) == category


# --- phrases


@pytest.mark.parametrize(("text", "text_id"), [(DISCLOSURE, "T5"), (T3, "T3"), (T4, "T4")])
def test_a_whole_text_is_found_as_itself(sender: Sender, text: str, text_id: str) -> None:
    """The sentences of another year that share most of their words are not reported beside it."""
    sentences = [one for one in found(sender, text) if len(one.entry.text.split()) > 9]
    assert {one.entry.text_id for one in sentences if isinstance(one.entry, Disclosure)} == {text_id}
    assert {one.score for one in sentences} == {1.0}


def test_the_evidence_is_what_the_mail_says(sender: Sender) -> None:
    text = normal("Buy now.\n\nYOU WILL ONLY RECEIVE a maximum of one promotional\nmessage every 45 days. Bye.")
    quotes = {text[one.start : one.end] for one in sender.find(text)}
    assert quotes == {
        "YOU WILL ONLY RECEIVE a maximum of one promotional\nmessage every 45 days",
        "maximum of one promotional\nmessage every",
    }


@pytest.mark.parametrize(
    "text",
    [
        DISCLOSURE.replace("60", "45"),
        DISCLOSURE.upper(),
        DISCLOSURE.replace(" ", "\u200b \u00a0"),
        "This is a promotional message from a trusted marketing or hiring partner and was sent to you based on your browsing activity"
        " or non-personal information such as job title, primary industry, or region.",
        "This is a promotional message from a marketing or hiring partner and was sent to you based",
        "You will only receive a maximum of one promotional message every month",
        "This Sponsored InMail was sent to you because your employer asked for it",
    ],
)
def test_a_disclosure_is_decisive_though_it_differs_a_little(sender: Sender, text: str) -> None:
    assert "decisive" in strengths(sender, text)


@pytest.mark.parametrize(
    "text",
    [
        "You have turned off promotional messages from LinkedIn's marketing and hiring partners in your settings.",
        "LinkedIn has ramped up its promotional message program, also known as Sponsored InMail; here is how to opt out.",
        "Our marketing or hiring partner event: sponsored sessions on privacy settings and non-personal information.",
        "This message was sent to you based on your job title, primary industry, or region. You can unsubscribe here.",
        "Sponsored jobs and promotional offers of our marketing and hiring partners are shown on the site only.",
        "It was sent to you based on non-personal information, such as the title of your current position, your primary industry,"
        " or your region.",
        "You will only receive a maximum of one message every 60 days.",
    ],
)
def test_what_only_resembles_a_disclosure_is_not_decisive(sender: Sender, text: str) -> None:
    assert strengths(sender, text) <= {"weak"}


def test_unsubscribe_alone_says_nothing(sender: Sender) -> None:
    assert found(sender, "You can Unsubscribe here.") == []


def test_a_label_counts_at_the_beginning_of_a_short_line_only(sender: Sender) -> None:
    assert [one.entry.text for one in found(sender, "Contoso\nSponsored · Contoso\nHello")] == ["Sponsored"]
    assert [one.entry.text for one in found(sender, "Sponsored\nHello")] == ["Sponsored"]
    assert (
        found(sender, "We sponsored a race.\nSponsored races are what our company does for a living, day by day.") == []
    )


def test_scripts_without_blanks_are_found(sender: Sender) -> None:
    assert {one.entry.text for one in found(sender, "推广内容\n您好\n广告：课程")} == {"推广", "广告"}


def test_every_sentence_is_found_in_any_company(sender: Sender) -> None:
    """Each entry is found as it stands, between other words."""
    entries: tuple[Disclosure | Footer, ...] = (*sender.disclosures, *sender.footers)
    for entry in entries:
        before = "\n" if entry.label else "Ok "
        text = normal(f"Hello there.{before}{entry.text} 3 x")
        assert entry in {one.entry for one in sender.find(text)}, entry.text


def test_footers_name_the_kind(sender: Sender) -> None:
    text = normal("You are receiving Job Alert emails.\nThis email was intended for Ann (Engineer)")
    assert {(one.entry.category) for one in sender.find(text) if isinstance(one.entry, Footer)} == {"job_alert", ""}


@pytest.mark.parametrize(
    "text",
    [
        f'Did you get this too? It says: "{DISCLOSURE}" How do I turn it off?',
        f"Did you get this too? It says: “{DISCLOSURE}” How do I turn it off?",
        f"On voit : « {DISCLOSURE} » Comment faire ?",
        f"Man liest: „{DISCLOSURE}“ Was tun?",
        f"It says '{DISCLOSURE}' and no more.",
        'They call it "a promotional message from a marketing or hiring partner", can you imagine?',
        f"Look:\n> {DISCLOSURE.replace('. ', '.' + chr(10) + '> ')}\nBad.",
        f"See below.\n----- Forwarded message -----\nFrom: X\nSubject: MBA\n\nStudy with us.\n\n{DISCLOSURE}",
        f"Siehe unten.\n-------- Weitergeleitete Nachricht --------\nVon: X\n\n{DISCLOSURE}",
        f'It says: "{DISCLOSURE}" Bad.\nYou are receiving LinkedIn notification emails.',
    ],
)
def test_a_quoted_disclosure_is_marked(sender: Sender, text: str) -> None:
    assert found(sender, text)
    assert {one.quoted for one in found(sender, text)} == {True}


@pytest.mark.parametrize(
    "text",
    [
        f"Join us.\n\n{DISCLOSURE}",
        f'"The best course ever!" said Ann.\n{DISCLOSURE}\n"You are receiving InMail notification emails."',
        f'The "Growth" webinar and our partners\' tips.\n{DISCLOSURE}\nThe 27" screen.',
        f"--- What you get ---\nA screen.\n{DISCLOSURE}\n----------------------------------------\nUnsubscribe",
        f"{DISCLOSURE}\n----- Forwarded message -----\nHello",
        f"----------------------------------------\n{DISCLOSURE}",
        f"Price > 20\n{DISCLOSURE}",
    ],
)
def test_a_disclosure_of_the_message_itself_is_not_quoted(sender: Sender, text: str) -> None:
    assert {one.quoted for one in found(sender, text)} == {False}


def test_of_two_places_the_unquoted_one_counts(sender: Sender) -> None:
    assert {one.quoted for one in found(sender, f'You ask what "{DISCLOSURE}" means.\n\n{DISCLOSURE}')} == {False}


@pytest.mark.parametrize(
    "text",
    [
        f"{DISCLOSURE} " * 500,
        "Sponsored\n" * 20_000,
        '"Sponsored InMail" ' * 11_000,
        "you are receiving you will only " * 7_000,
        "- " * 100_000,
        "----" * 50_000,
        "\"'" * 100_000,
        "This is a promotional message from " * 6_000,
        "lorem ipsum dolor sit amet " * 8_000,
        "广告" * 100_000,
    ],
)
def test_t6_time_grows_with_the_text_only(sender: Sender, text: str) -> None:
    text = normal(text)[:200_000]
    cut = words(fold(text))
    with cpu_limit():
        sender.hits(cut)
        sender.notice(cut, lambda _: False, lambda _: True)


@pytest.mark.parametrize("text", ["", "\n", '"', ">", "----", "#", "'" * 5])
def test_little_text_holds_nothing(sender: Sender, text: str) -> None:
    assert sender.find(text) == ()


def test_tables_that_are_kept_are_those_of_the_files_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept beside the byte code, and believed only for the same bytes; a damaged one, or none, costs time and nothing else."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "a.toml").write_text('x = "1"')
    kept = tmp_path / "__pycache__" / "tables.json"
    assert parsed(tmp_path) == {"a.toml": {"x": "1"}} and kept.is_file()
    kept.write_text(kept.read_text().replace('"1"', '"2"'))
    assert parsed(tmp_path) == {"a.toml": {"x": "2"}}  # it is what is read
    (tmp_path / "a.toml").write_text('x = "3"')
    assert parsed(tmp_path) == {"a.toml": {"x": "3"}}
    for damaged in ("", "[]", '{"sha256": 1}', "\0"):
        kept.write_text(damaged)
        assert parsed(tmp_path) == {"a.toml": {"x": "3"}}
    (tmp_path / "a.toml").write_text("x = 2026-11-30")
    assert str(parsed(tmp_path)["a.toml"]["x"]) == "2026-11-30"
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept.unlink()
    assert parsed(tmp_path) and not kept.exists()
