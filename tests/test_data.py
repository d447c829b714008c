"""The data itself: graded, dated, sorted, complete, and nothing in it that may not be printed."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import filters.senders
from filters.normal_form import fold, normal, words
from filters.senders import Disclosure, Footer, MailClass, Sender, Template, load
from filters.senders.phrases import RUN
from filters.senders.reading import TABLES

FOLDER = Path(filters.senders.__file__).parent / "linkedin"
FILES = sorted(FOLDER.glob("*.toml"))
CATEGORIES = {
    "move": {"linkedin_marketing", "partner_inmail"},
    "never": {"application_update", "billing", "legal", "security", "support"},
    "keep": {
        "event",
        "group",
        "invitation",
        "job_alert",
        "job_recommendation",
        "member_message",
        "message_digest",
        "network_digest",
        "news_digest",
        "newsletter",
        "notification",
        "other",
        "recruiter_inmail",
    },
}
#: Last seen in 2016-2018, superseded, made up by guides, or secret: nobody is ever sent there.
NOT_LIVE = [
    "psettings/partner-inmail",
    "settings/partner-inmail",
    "nsettings-partner-inmail",
    "psettings/sponsored-messages",
    "mypreferences/d/sponsored-messages",
    "mypreferences/d/manage-sponsored-messaging",
    "mypreferences/d/inbox",
    "psettings/group-invitations",
    "psettings/group-join-notifications",
    "psettings/email-controls",
    "psettings/research-invitations",
    "psettings/account",
    "/comm/",
    "unsubscribe",
]
SUBCATEGORIES = {"inmail", "inmail-reminders", "direct-messages", "direct-message-reminders", "comments-and-reactions"}


@pytest.fixture(scope="module")
def sender() -> Sender:
    return load()


def texts(sender: Sender) -> tuple[Disclosure | Footer, ...]:
    return (*sender.disclosures, *sender.footers)


def tables(path: Path) -> dict[str, list[dict[str, object]]]:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: rows for name, rows in data.items() if isinstance(rows, list)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_begins_with_what_its_fields_mean(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_fact_has_a_grade_and_says_where_it_was_seen(path: Path) -> None:
    for name, rows in tables(path).items():
        for row in rows:
            if name not in ("category", "ignored", "statement"):
                assert row["grade"] in ("A", "B", "C", "D"), row
                assert len(str(row["seen"]).strip()) > 3, row


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_text_is_short_of_personal_data(path: Path) -> None:
    """No token, no link out of a mail, and no address that is not a stream's."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[?&](trk|lipi|midToken|midSig|eid|otpToken|loid)=[\w-]{6}", text)
    if path.name != "streams.toml":
        assert not re.search(r"[\w.]@[\w-]+\.\w", text)


def test_categories_and_what_is_done_with_them(sender: Sender) -> None:
    found = {action: {one.name for one in sender.categories.values() if one.action == action} for action in CATEGORIES}
    assert found == CATEGORIES
    assert set(sender.promotional) == CATEGORIES["move"]


def test_texts_are_unique_within_a_language(sender: Sender) -> None:
    times = Counter((one.language, tuple(word for word in words(fold(normal(one.text))))) for one in texts(sender))
    assert [text for text, count in times.items() if count > 1] == []


def test_no_phrase_repeats_a_run_of_words(sender: Sender) -> None:
    """The search follows one series of hits; a run that occurs twice in a phrase would break it."""
    for entry in texts(sender):
        cut = words(fold(normal(entry.text)))
        runs = [tuple(cut[at : at + RUN]) for at in range(len(cut) - RUN + 1)]
        assert len(runs) == len(set(runs)), entry.text


def test_disclosures_are_of_promotional_categories(sender: Sender) -> None:
    assert {one.category for one in sender.disclosures} <= set(sender.promotional)


def test_guesses_are_apart_from_what_was_seen(sender: Sender) -> None:
    for one in sender.disclosures:
        guessed = "not seen" in one.seen or "guess" in one.seen or one.text_id == "feed"
        assert one.guess is guessed, one.text
        assert one.guess or one.grade in "AB", one.text
        assert one.guess or one.language == "en", one.text
    assert {one.language for one in sender.disclosures if one.strength == "decisive"} == {
        "de",
        "en",
        "es",
        "fr",
        "it",
        "nl",
        "pl",
        "pt",
        "sv",
        "tr",
    }


def test_labels_and_names_are_weak(sender: Sender) -> None:
    assert {one.strength for one in sender.disclosures if one.label or one.text_id in ("feed", "name", "T7")} == {
        "weak"
    }


def test_the_texts_that_decide(sender: Sender) -> None:
    decisive = {fold(one.text) for one in sender.disclosures if one.strength == "decisive" and one.language == "en"}
    assert decisive >= {
        "promotional message from a marketing or hiring partner",
        "maximum of one promotional message every",
        "this sponsored inmail was sent to you",
        "edit your sponsored inmail contact settings.",
    }
    assert not any("unsubscribe" in fold(one.text) for one in sender.disclosures)


def test_a_decisive_sentence_has_its_deciding_part_as_an_entry(sender: Sender) -> None:
    """Only so is it found when the mail cuts or changes the rest."""
    decisive = [one for one in sender.disclosures if one.strength == "decisive"]
    for one in decisive:
        others = [fold(other.text) for other in decisive if other != one and other.language == one.language]
        assert len(words(fold(one.text))) < 15 or any(part in fold(one.text) for part in others), one.text


def test_no_class_or_template_is_called_advertising(sender: Sender) -> None:
    """None is known; a rule that named one would be a guess."""
    known: tuple[MailClass | Template, ...] = (*sender.templates.values(), *sender.classes.values())
    assert not {one.category for one in known} & set(sender.promotional)


def test_only_marketing_streams_are_advertising(sender: Sender) -> None:
    for stream in sender.streams.values():
        assert (stream.category == "linkedin_marketing") == (stream.kind == "marketing"), stream.address
        assert sender.owns(stream.address.partition("@")[2])


def test_every_text_has_its_era(sender: Sender) -> None:
    assert {one.text_id for one in sender.disclosures} - {"feed", "name"} <= set(sender.eras)


def test_eras_say_what_was_used_and_promised(sender: Sender) -> None:
    assert "browsing activity" not in sender.eras["T4"].targeting
    assert "title" in sender.eras["T4"].targeting
    assert "browsing activity" in sender.eras["T5"].targeting
    assert "60 days" in sender.eras["T5"].promise
    assert [era.text_id for era in sender.eras.values() if re.search(r"\d+ days", era.promise)] == ["T5"]


# --- ways out


def test_every_category_has_a_way_out_or_a_sentence_that_there_is_none(sender: Sender) -> None:
    for name, category in sender.categories.items():
        routes = sender.opt_outs(name)
        assert routes, name
        for route in routes:
            assert route.steps or "No switch" in route.note, name
        if category.action == "never":
            assert [route.url for route in routes] == [""], name
            assert "never moves" in routes[0].note, name
        else:
            assert any(route.steps for route in routes), name


def test_routes_are_numbered_and_todays_come_first(sender: Sender) -> None:
    for name in sender.categories:
        routes = [route for route in sender.all_opt_outs if route.category == name]
        assert [route.order for route in routes] == list(range(1, len(routes) + 1))
        assert [route.live for route in routes] == sorted((route.live for route in routes), reverse=True)


def test_a_live_route_has_recent_evidence_and_no_end(sender: Sender) -> None:
    for route in sender.all_opt_outs:
        assert re.fullmatch(r"20\d\d(-\d\d)?( or later)?", route.checked), route.title
        assert not route.live or (route.checked >= "2024" and not route.until), route.title
        assert route.live or (route.since and route.until), route.title


def test_every_address_is_on_an_allowed_host(sender: Sender) -> None:
    urls = [url for one in sender.all_opt_outs for url in (one.url, one.shortcut)] + [one.url for one in sender.advice]
    for url in filter(None, urls):
        assert urlsplit(url).scheme == "https"
        assert urlsplit(url).netloc in sender.route_hosts
    assert {urlsplit(url).netloc for url in urls if url} == set(sender.route_hosts)


@pytest.mark.parametrize("part", NOT_LIVE)
def test_nobody_is_sent_to_a_page_that_is_not_live(sender: Sender, part: str) -> None:
    live = [route for route in sender.all_opt_outs if route.live]
    assert [one.title for one in live if part in one.url.lower() or part in one.shortcut.lower()] == []
    assert [one.text for one in sender.advice if part in one.url.lower()] == []


def test_no_subcategory_is_made_up(sender: Sender) -> None:
    """A wrong name there ends on a page-not-found."""
    for route in sender.all_opt_outs:
        for url in (route.url, route.shortcut):
            if "/notification-subcategories/" in url:
                assert url.rpartition("/")[2] in SUBCATEGORIES


def test_what_is_printed_today_for_a_partner_message(sender: Sender) -> None:
    eu, elsewhere, copies, *_ = sender.opt_outs("partner_inmail")
    assert (eu.region, eu.url) == ("eu", "https://www.linkedin.com/mypreferences/d/categories/privacy")
    assert list(eu.steps[2:5]) == ["Data privacy", "Messaging experience", "Inbox layout with ads"]
    assert (elsewhere.region, elsewhere.url) == ("other", "")
    assert "No such switch has been documented since 2024-09" in elsewhere.note
    assert "set it to No" in elsewhere.note
    assert (copies.region, copies.url) == ("any", "https://www.linkedin.com/mypreferences/d/categories/notifications")
    assert list(copies.steps[2:]) == ["Notifications", "Messaging", "InMail", "Email", "Off"]
    assert "recruiters" in copies.note


def test_what_is_printed_today_for_the_senders_own_marketing(sender: Sender) -> None:
    first, second = sender.opt_outs("linkedin_marketing")
    assert "Unsubscribe in that mail" in first.note
    assert first.url == ""
    assert "Offers and tips from LinkedIn" in second.steps


def test_the_two_switches_of_2016_are_named(sender: Sender) -> None:
    route = next(one for one in sender.opt_outs("partner_inmail", live=False) if one.since == "2016")
    assert any("marketing partners may send you" in step for step in route.steps)
    assert any("hiring campaign partners may send you" in step for step in route.steps)


def test_the_wider_opt_outs_are_told_as_what_they_are(sender: Sender) -> None:
    ads = [one for one in sender.advice if one.topic == "ads"]
    assert [one.url for one in ads if one.grade == "D" and "a guess" in one.seen] == [
        "https://optout.aboutads.info",
        "https://aboutads.info/choices",
        "https://optout.networkadvertising.org",
        "https://youronlinechoices.eu",
    ]
    assert ads[-1].url == "https://www.linkedin.com/psettings/guest-controls/retargeting-opt-out"


def test_advice_gives_the_time_the_law_gives_and_accuses_nobody(sender: Sender) -> None:
    texts = " ".join(one.text for one in sender.advice) + " ".join(one.note for one in sender.all_opt_outs)
    assert "10 business days" in texts
    assert not re.search(r"(?i)illegal|unlawful|violat|break(s|ing)? the law|broke the law", texts)


def test_all_tables_are_used(sender: Sender) -> None:
    assert {name for path in FILES for name in tables(path)} == set(TABLES)
