"""Genuine, unverifiable or forged: every receiver, every place, and what forgers do to From, headers and results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile import cpu_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import senders
from filters.authenticity import Authserv, check, claims_to_be, parse_trust, pinned_for, seen_ids
from filters.errors import UsageError
from filters.message import Message, parse
from filters.receivers import PLACEMENTS, providers

SENDER = senders.load()
GMAIL = (Authserv("mx.google.com", "below"),)
MAIL = Path(__file__).parents[2] / "shared" / "mail"

LETTER = """\
DKIM-Signature: v=1; a=rsa-sha256; d=linkedin.com; s=s; h=From:Subject:MIME-Version:Content-Type:To:Date:
 X-LinkedIn-Class:X-LinkedIn-Template:X-LinkedIn-fbl; bh=x; b=y
From: LinkedIn <messages-noreply@linkedin.com>
Message-ID: <1.2.3@lva1-app1.prod.linkedin.com>
Subject: Nine people looked
MIME-Version: 1.0
Content-Type: text/plain
To: Ann Ames <ann@example.org>
Date: Mon, 02 Mar 2026 10:00:00 +0000
X-LinkedIn-Class: EMAIL-DEFAULT
X-LinkedIn-Template: email_notification_digest_01
X-LinkedIn-fbl: m2-x
X-LinkedIn-Id: 1-2-3
List-Unsubscribe: <https://www.linkedin.com/comm/psettings/email-unsubscribe>
"""


def message(headers: str, body: str = "Hello.") -> Message:
    return parse(f"{headers.rstrip()}\n\n{body}\n".encode().replace(b"\n", b"\r\n"))


# --- receivers: where they write, and how


@dataclass(frozen=True)
class Receiver:
    """`above` and `below`: the receiver's own headers around its results; `lines(dkim, dmarc)`: its results."""

    host: str
    above: str
    lines: Callable[[str, str], str]
    below: str = ""
    at_bottom: bool = False

    def mail(self, results: str, letter: str = LETTER) -> Message:
        if self.at_bottom:
            return message(self.above + self.below + letter + results)
        return message(self.above + results + self.below + letter)


def _said(template: str) -> Callable[[str, str], str]:
    return lambda dkim, dmarc: template.replace("DKIM", dkim).replace("DMARC", dmarc)


_BORDER = (
    "Received: from mail.example (mail.example [192.0.2.1])\n by {} with ESMTPS id 1; Mon, 02 Mar 2026 10:00:01 +0000\n"
)
RECEIVERS = {
    "Gmail": Receiver(
        "imap.gmail.com",
        "Delivered-To: ann@example.org\nReceived: by 2002:a05:6402:1 with SMTP id x; Mon, 02 Mar 2026 02:00:02 -0800\n"
        "X-Received: by 2002:a05:6402:2 with SMTP id y; Mon, 02 Mar 2026 02:00:01 -0800\nARC-Seal: i=1; d=google.com\n"
        "ARC-Authentication-Results: i=1; mx.google.com; dmarc=pass header.from=linkedin.com\n"
        "Return-Path: <b@bounce.linkedin.com>\n"
        + _BORDER.format("mx.google.com")
        + "Received-SPF: pass (google.com: domain of b@bounce.linkedin.com)\n",
        _said(
            "Authentication-Results: mx.google.com;\n dkim=DKIM header.i=@linkedin.com header.s=s header.b=x;\n spf=pass "
            "(google.com: domain of b@bounce.linkedin.com designates 192.0.2.1 as permitted sender) "
            "smtp.mailfrom=b@bounce.linkedin.com;\n dmarc=DMARC (p=REJECT sp=REJECT dis=NONE) header.from=linkedin.com\n"
        ),
    ),
    "Microsoft": Receiver(
        "outlook.office365.com",
        "Received: from A1.eurprd04.prod.outlook.com (2603::1)\n by B1.eurprd08.prod.outlook.com with HTTPS; Mon, 02 Mar 2026\n"
        "Received: from C1.eop-EUR03.prod.protection.outlook.com (2603::2) by\n A1.outlook.office365.com (2603::3); Mon, 02 Mar\n",
        _said(
            "Authentication-Results: spf=pass (sender IP is 192.0.2.1)\n smtp.mailfrom=bounce.linkedin.com; dkim=DKIM (x)\n"
            " header.d=linkedin.com;dmarc=DMARC action=none header.from=linkedin.com;compauth=pass reason=100\n"
        ),
        "Received-SPF: Pass (protection.outlook.com: x)\n" + _BORDER.format("C1.mail.protection.outlook.com"),
    ),
    "Yahoo": Receiver(
        "imap.mail.yahoo.com",
        "Received: from 127.0.0.1\n by atlas2.free.mail.ne1.yahoo.com with HTTPS; Mon, 02 Mar 2026 10:00:02 +0000\n"
        "Return-Path: <b@bounce.linkedin.com>\nX-Originating-Ip: [192.0.2.1]\nReceived-SPF: pass (x)\n",
        _said(
            "Authentication-Results: atlas2.free.mail.ne1.yahoo.com;\n dkim=DKIM header.i=@linkedin.com header.s=s;\n"
            " spf=pass smtp.mailfrom=bounce.linkedin.com;\n dmarc=DMARC(p=REJECT) header.from=linkedin.com;\n"
        ),
        "X-Apparently-To: ann@example.org\nReceived: from 192.0.2.1 (EHLO mail.example)\n by 10.1.2.3 with SMTPs; Mon, 02 Mar\n",
    ),
    "iCloud": Receiver(
        "imap.mail.me.com",
        "Return-path: <b@bounce.linkedin.com>\nReceived: from st4.me.com by p44-mailgateway-1 (mailgateway 2403B92); Mon, 02 Mar\n"
        "X-Apple-UUID: 1\n" + _BORDER.format("st4.me.com (Postfix)") + "X-ICL-SCORE: 3\n",
        _said(
            "Authentication-Results: bimi.icloud.com; bimi=none\nX-ARC-Info: policy=fail\n"
            "Authentication-Results: arc.icloud.com; arc=none\n"
            "Authentication-Results: dmarc.icloud.com; dmarc=DMARC header.from=linkedin.com\nX-DMARC-Policy: v=DMARC1\n"
            "Authentication-Results: dkim-verifier.icloud.com;\n dkim=DKIM (2048-bit key) header.d=linkedin.com\n"
            "Authentication-Results: spf.icloud.com; spf=pass (x) smtp.mailfrom=b@bounce.linkedin.com\n"
        ),
        "Received-SPF: pass (spf.icloud.com: x)\n",
    ),
    "Fastmail": Receiver(
        "imap.fastmail.com",
        "Return-Path: <b@bounce.linkedin.com>\nReceived: from phl-mx-04 ([10.202.2.203])\n by c2.internal (LMTPProxy); Mon, 02 Mar\n"
        "Received: from phl-mx-04.messagingengine.com (localhost [127.0.0.1])\n\tby mailmx.phl.internal (Postfix); Mon, 02 Mar\n"
        "Received: from mailmx.phl.internal (localhost [127.0.0.1])\n    by phl-mx-04.messagingengine.com (Authentication Milter);\n"
        "ARC-Seal: i=1; d=messagingengine.com\n",
        _said(
            "Authentication-Results: phl-mx-04.messagingengine.com;\n x-csa=none; x-ptr=pass smtp.helo=mail.example\n"
            "Authentication-Results: phl-mx-04.messagingengine.com; arc=none (no signatures found)\n"
            "Authentication-Results: phl-mx-04.messagingengine.com;\n dkim=DKIM (2048-bit) header.d=linkedin.com x-bits=2048;\n"
            " dmarc=DMARC policy.published-domain-policy=reject (p=reject) header.from=linkedin.com;\n spf=pass smtp.helo=x\n"
        ),
        "Received-SPF: pass (x)\n" + _BORDER.format("phl-mx-04.messagingengine.com (Postfix)"),
    ),
    "Posteo": Receiver(
        "posteo.de",
        "Return-Path: <b@bounce.linkedin.com>\nReceived: from proxy02.posteo.name by dovecot15.posteo.name (Dovecot); Mon, 02\n"
        "Received: from mailin02.posteo.de by proxy02.posteo.de (Postfix); Mon, 02 Mar 2026\nX-Spam-Flag: NO\n",
        _said(
            "Authentication-Results: posteo.de; dmarc=DMARC (p=reject dis=none) header.from=linkedin.com\n"
            "Authentication-Results: posteo.de; spf=pass smtp.mailfrom=bounce.linkedin.com\n"
            "Authentication-Results: posteo.de;\n dkim=DKIM (2048-bit key) header.d=linkedin.com; dkim-atps=neutral\n"
        ),
        _BORDER.format("mx01.posteo.de (Postfix)"),
    ),
    "Zoho": Receiver(
        "imap.zoho.eu",
        "Delivered-To: ann@example.org\nReceived-SPF: pass (zohomail.com: x)\n",
        _said(
            "Authentication-Results: mx.zohomail.eu;\n\tdkim=DKIM;\n\tspf=pass (zohomail.com: x)  smtp.mailfrom=b@x;\n"
            "\tdmarc=DMARC(p=reject dis=none)  header.from=linkedin.com\n"
        ),
        "Return-Path: <b@bounce.linkedin.com>\n" + _BORDER.format("mx.zohomail.eu"),
    ),
    "GMX": Receiver(
        "imap.gmx.net",
        "Return-Path: <b@bounce.linkedin.com>\n",
        _said("Authentication-Results: gmx.net; dkim=DKIM header.i=@linkedin.com\n"),
        _BORDER.format("mx-ha.gmx.net (mxgmx114\n [212.227.17.5])"),
    ),
    "mail.de": Receiver(
        "imap.mail.de",
        "Delivered-To: ann@example.org\n",
        _said('Authentication-Results: mxpostfix02.mail.de;\n\tdkim=DKIM (x) header.d=linkedin.com header.b="Tt";\n\tdkim-atps=neutral\n'),
        _BORDER.format("mxpostfix02.mail.de (Postfix)"),
    ),
    "mail.ru": Receiver(
        "imap.mail.ru",
        "Delivered-To: ann@example.org\n" + _BORDER.format("mx289.i.mail.ru"),
        _said(
            "Authentication-Results: mxs.mail.ru; spf=pass (mx289.i.mail.ru: x) smtp.mailfrom=b@bounce.linkedin.com;\n"
            "\t dkim=DKIM header.d=linkedin.com; dmarc=DMARC header.from=messages-noreply@linkedin.com\n"
        ),
        at_bottom=True,
    ),
}  # fmt: skip
EVERY_RECEIVER = pytest.mark.parametrize("receiver", RECEIVERS.values(), ids=RECEIVERS)


def _state(receiver: Receiver, mail: Message) -> str:
    return check(mail, SENDER, pinned_for(receiver.host)).state


@EVERY_RECEIVER
def test_genuine_mail_is_verified(receiver: Receiver) -> None:
    found = check(receiver.mail(receiver.lines("pass", "pass")), SENDER, pinned_for(receiver.host))
    assert found.state == "verified"
    assert found.dkim is (receiver is not RECEIVERS["Zoho"])  # Zoho does not say whose signature it saw


@EVERY_RECEIVER
def test_what_the_receiver_contradicts_is_forged(receiver: Receiver) -> None:
    assert _state(receiver, receiver.mail(receiver.lines("fail", "fail"))) == "forged"
    assert _state(receiver, receiver.mail(receiver.lines("none", "fail"))) == "forged"


@EVERY_RECEIVER
@pytest.mark.parametrize("result", ["temperror", "permerror", "neutral", "unknown", "policy"])
def test_what_the_receiver_could_not_tell_is_unverified(receiver: Receiver, result: str) -> None:
    assert _state(receiver, receiver.mail(receiver.lines(result, result))) == "unverified"


@EVERY_RECEIVER
def test_no_result_is_unverified(receiver: Receiver) -> None:
    assert _state(receiver, receiver.mail("")) == "unverified"


@EVERY_RECEIVER
def test_results_of_other_ids_do_not_count(receiver: Receiver) -> None:
    line = "Authentication-Results: aaa.example; dkim=pass header.d=linkedin.com; dmarc=pass header.from=linkedin.com\n"
    for foreign in (
        line,
        line.replace("aaa.example", "mx.google.com.evil.test"),
        line.replace("aaa.e", "xmx.google.com.e"),
    ):
        assert _state(receiver, receiver.mail(foreign)) == "unverified"


@EVERY_RECEIVER
def test_conflicting_results_are_unverified(receiver: Receiver) -> None:
    good, bad = receiver.lines("pass", "pass"), receiver.lines("none", "fail")
    assert _state(receiver, receiver.mail(good + bad)) == "unverified"
    assert _state(receiver, receiver.mail(bad + good)) == "unverified"


@EVERY_RECEIVER
def test_the_same_result_twice_is_one(receiver: Receiver) -> None:
    assert _state(receiver, receiver.mail(receiver.lines("pass", "pass") * 2)) == "verified"
    assert _state(receiver, receiver.mail(receiver.lines("fail", "fail") * 2)) == "forged"


@EVERY_RECEIVER
def test_a_result_planted_in_the_letter_does_not_count(receiver: Receiver) -> None:
    """The sender writes the receiver's id, at the end and in the middle of its own headers; on top for mail.ru."""
    planted, bad = receiver.lines("pass", "pass"), receiver.lines("none", "fail")
    if receiver.at_bottom:
        letters = [planted + LETTER, LETTER.replace("\nSubject:", f"\n{planted}Subject:")]
    else:
        letters = [LETTER + planted, *(LETTER.replace(f"\n{at}", f"\n{planted}{at}") for at in ("From:", "To:"))]
    for letter in letters:
        assert _state(receiver, receiver.mail("", letter)) == "unverified"
        assert _state(receiver, receiver.mail(bad, letter)) in ("forged", "unverified")
        assert _state(receiver, receiver.mail(receiver.lines("pass", "pass"), letter)) != "forged"


@EVERY_RECEIVER
def test_a_result_planted_as_the_first_or_last_header_of_the_letter_verifies_nothing(receiver: Receiver) -> None:
    """There it touches the receiver's own results."""
    planted = receiver.lines("pass", "pass")
    letter = LETTER + planted if receiver.at_bottom else planted + LETTER
    for own in (receiver.lines("none", "fail"), receiver.lines("neutral", "none")):
        assert _state(receiver, receiver.mail(own, letter)) != "verified"


@EVERY_RECEIVER
def test_a_false_received_line_of_the_receiver_does_not_help(receiver: Receiver) -> None:
    planted, bad = receiver.lines("pass", "pass"), receiver.lines("none", "fail")
    false = receiver.above + planted + receiver.below
    expected = "unverified" if receiver.at_bottom else "forged"
    assert _state(receiver, receiver.mail(bad, false + LETTER)) == expected


@EVERY_RECEIVER
def test_a_relay_on_top_of_the_receiver_ends_its_word(receiver: Receiver) -> None:
    """Mail that went on to another host: whatever stands below that host's Received line could be the sender's."""
    relayed = _BORDER.format("mx.relay.example") + receiver.above + receiver.lines("pass", "pass") + receiver.below
    if not receiver.at_bottom:
        assert _state(receiver, message(relayed + LETTER)) == "unverified"


def test_mail_ru_writes_on_top_of_unsigned_mail_and_a_planted_bottom_does_not_count() -> None:
    planted = RECEIVERS["mail.ru"].lines("pass", "pass")
    top = "Authentication-Results: mxs.mail.ru; spf=none () smtp.mailfrom=x@y.example\n"
    assert _state(RECEIVERS["mail.ru"], message(top + RECEIVERS["mail.ru"].above + LETTER + planted)) == "unverified"


def test_only_microsofts_host_may_write_no_id() -> None:
    mail = RECEIVERS["Microsoft"].mail(RECEIVERS["Microsoft"].lines("pass", "pass"))
    for host in (receiver.host for receiver in RECEIVERS.values() if receiver is not RECEIVERS["Microsoft"]):
        assert check(mail, SENDER, pinned_for(host)).state == "unverified"


def test_a_planted_bottom_above_the_receivers_own_does_not_count() -> None:
    planted = RECEIVERS["mail.ru"].lines("pass", "pass")
    own = "Authentication-Results: mxs.mail.ru; spf=none () smtp.mailfrom=x@y.example\n"
    assert _state(RECEIVERS["mail.ru"], message(RECEIVERS["mail.ru"].above + LETTER + planted + own)) == "unverified"


@pytest.mark.parametrize(
    ("received", "state"),
    [
        ("by mx.google.com with ESMTPS id 1", "verified"),
        ("from a.example (b) by MX.Google.com. (c) with ESMTPS id 1", "verified"),
        ("by 10.120.1.2 with SMTP id 1", "unverified"),
        ("from a.example (x by mx.google.com (y)) by mx.evil.test", "unverified"),
        ("from a.example (x by mx.google.com", "unverified"),
        ("from mx.google.com", "unverified"),
        ("by mx.google.com.evil.test", "unverified"),
        ("by xmx.google.com", "unverified"),
        ("by localhost", "unverified"),
        ("", "unverified"),
    ],
)
def test_a_received_line_is_the_receivers_by_the_host_that_wrote_it(received: str, state: str) -> None:
    mail = message(f"Received: {received}; Mon, 02 Mar\n{RECEIVERS['Gmail'].lines('pass', 'pass')}{LETTER}")
    assert check(mail, SENDER, GMAIL).state == state
    for indoors in ("10.120.1.2", "localhost", "c2.internal", "2002:a05::1", "[10.1.2.3]", ""):
        below = message(
            f"Received: by {indoors}\nReceived: {received}\n{RECEIVERS['Gmail'].lines('pass', 'pass')}{LETTER}"
        )
        assert check(below, SENDER, GMAIL).state == state


def test_two_receivers_that_disagree_confirm_nothing() -> None:
    mail = message(OWN.format("none") + RECEIVERS["Gmail"].above + RECEIVERS["Gmail"].lines("pass", "pass") + LETTER)
    assert check(mail, SENDER, GMAIL).state == "verified"
    assert check(mail, SENDER, [Authserv("mail.h.example", "above")]).state == "forged"
    assert check(mail, SENDER, [*GMAIL, Authserv("mail.h.example", "above")]).state == "unverified"


# --- self-hosted: the place is named by the user

OWN = "Authentication-Results: mail.h.example; dkim={0} header.d=linkedin.com header.b=x\n"
LMTP = "Received: from mail.h.example by mail.h.example with LMTP id 1; Mon, 02 Mar 2026 10:00:02 +0000\n"
POSTFIX = _BORDER.format("mail.h.example (Postfix)")


@pytest.mark.parametrize(
    ("headers", "placement"),
    [
        (OWN + POSTFIX, "above"),
        (LMTP + OWN + POSTFIX, "below"),
        (POSTFIX + "DKIM-Filter: OpenDKIM Filter\n" + OWN, "below"),
    ],
)
def test_a_named_receiver_counts_in_its_place_and_that_place_is_proposed(headers: str, placement: str) -> None:
    genuine, forged = message(headers.format("pass") + LETTER), message(headers.format("none") + LETTER)
    assert seen_ids(genuine) == (Authserv("mail.h.example", placement),)
    for place in PLACEMENTS:
        trusted = [Authserv("mail.h.example", place)]
        assert check(genuine, SENDER, trusted).state == ("verified" if place == placement else "unverified")
        assert check(forged, SENDER, trusted).state == ("forged" if place == placement else "unverified")


def test_an_organisations_id_names_its_hosts() -> None:
    mail = message(LMTP + OWN.replace("mail.h", "h").format("pass") + POSTFIX + LETTER)
    assert check(mail, SENDER, [Authserv("h.example", "below")]).state == "verified"
    assert check(mail, SENDER, [Authserv("*.example", "below")]).state == "verified"
    assert check(mail, SENDER, [Authserv("mail.h.example", "below")]).state == "unverified"


def test_without_a_received_line_nothing_is_above_it() -> None:
    assert (
        check(message(OWN.format("pass") + LETTER), SENDER, [Authserv("mail.h.example", "above")]).state == "unverified"
    )


def test_where_the_senders_headers_adjoin_the_outermost_result_must_confirm_by_itself() -> None:
    """A receiver that writes SPF only, and does not remove its own id, can be made to say anything one line further down."""
    spf = "Authentication-Results: mail.h.example; spf=pass smtp.mailfrom=x@evil.test\n"
    found = check(message(POSTFIX + spf + OWN.format("pass") + LETTER), SENDER, [Authserv("mail.h.example", "below")])
    assert (found.state, found.dkim) == ("unverified", False)
    assert check(
        message(spf + OWN.format("pass") + POSTFIX + LETTER), SENDER, [Authserv("mail.h.example", "above")]
    ).dkim


# --- results


@pytest.mark.parametrize(
    ("results", "state", "dkim"),
    [
        ("dkim=fail header.d=linkedin.com; spf=pass smtp.mailfrom=x@linkedin.com; dmarc=pass header.from=linkedin.com", "verified", False),
        ("dkim=pass header.i=@maile.linkedin.com; dkim=pass header.i=@linkedin.com; dmarc=pass header.from=linkedin.com", "verified", True),
        ("dkim=pass header.i=@responsys.net; dmarc=pass header.from=e.linkedin.com", "verified", False),
        ("dkim=pass header.d=linkedin.com", "verified", True),
        ("dkim=pass header.d=mailb.linkedin.com header.i=x@mailb.linkedin.com", "verified", True),
        ("dkim=fail header.d=linkedin.com; dkim=pass header.d=linkedin.com", "verified", True),
        ("dkim=pass header.d=linkedin.com; dmarc=temperror header.from=linkedin.com", "verified", True),
        ("dkim=pass header.d=evil.test header.i=@linkedin.com", "unverified", False),
        ("dkim=pass header.d=linkedin.com header.i=@evil.test", "unverified", False),
        ("dkim=pass header.d=linkedin.com.evil.test", "unverified", False),
        ("dkim=pass header.d=notlinkedin.com", "unverified", False),
        ("dkim=pass header.d=com", "unverified", False),
        ('dkim=pass header.i="@linkedin.com"@evil.test', "unverified", False),
        ("dkim=pass", "unverified", False),
        ("spf=pass smtp.mailfrom=x@linkedin.com", "unverified", False),
        ("spf=fail smtp.mailfrom=x@linkedin.com", "unverified", False),
        ("none", "unverified", False),
        ("dmarc=pass", "unverified", False),
        ("dmarc=pass header.from=evil.test", "unverified", False),
        ("dmarc=pass header.from=linkedin.com header.from=evil.test", "unverified", False),
        ("dmarc=fail header.from=evil.test; dkim=pass header.d=evil.test", "unverified", False),
        ("dmarc=pass header.from=linkedin.com; dmarc=fail header.from=linkedin.com", "unverified", False),
        ("dmarc=none header.from=linkedin.com; dkim=none", "unverified", False),
        ("dmarc=bestguesspass header.from=linkedin.com", "unverified", False),
        ("dkim=fail header.d=evil.test; spf=pass", "unverified", False),
        ("dkim=fail header.d=linkedin.com; dkim=permerror header.d=linkedin.com", "unverified", False),
        ("dkim=none", "forged", False),
        ("dkim=none (message not signed) header.d=none", "forged", False),
        ("dkim=fail", "forged", False),
        ("dkim=fail header.d=linkedin.com; dkim=pass header.d=responsys.net", "forged", False),
        ("dmarc=fail header.from=linkedin.com", "forged", False),
        ("dmarc=fail", "forged", False),
        ("dkim=pass header.d=linkedin.com; dmarc=fail header.from=linkedin.com", "forged", False),
        ('dkim=none reason="x; dmarc=pass header.from=linkedin.com"', "forged", False),
        ("dkim=none; spf=pass (x; dmarc=pass header.from=linkedin.com)", "forged", False),
        ('dkim=none; spf=pass smtp.mailfrom="a; dmarc=pass header.from=linkedin.com; x="@evil.test', "forged", False),
        ("dmarc=fail header.from=linkedin.com (dmarc=pass)", "forged", False),
        ("dmarc=pass (header.from=linkedin.com) header.from=evil.test", "unverified", False),
    ],
)  # fmt: skip
def test_what_a_result_means(results: str, state: str, dkim: bool) -> None:
    mail = message(f"Authentication-Results: mail.h.example; {results}\n{POSTFIX}{LETTER}")
    found = check(mail, SENDER, [Authserv("mail.h.example", "above")])
    assert (found.state, found.dkim) == (state, dkim)
    assert found.why.endswith(".")


def test_nobody_is_believed_who_is_not_named() -> None:
    mail = RECEIVERS["Gmail"].mail(RECEIVERS["Gmail"].lines("pass", "pass"))
    assert check(mail, SENDER, ()).state == "unverified"
    assert check(mail, SENDER, [Authserv("google.com", "below")]).state == "unverified"


# --- doubled headers (T15)


@pytest.mark.parametrize(
    "line",
    [
        "From: Eve <eve@evil.test>",
        "Subject: Pay now",
        "Date: Tue, 03 Mar 2026 10:00:00 +0000",
        "To: Eve <eve@evil.test>",
        "Content-Type: text/html",
        "MIME-Version: 1.0",
        "X-LinkedIn-Class: INMAIL",
        "X-LinkedIn-Template: email_hire_inmail_initial_single_01",
        "X-LinkedIn-fbl: m2-y",
        "X-LinkedIn-Id: 4-5-6",
        "List-Unsubscribe: <https://evil.test/>",
        "Reply-To: LinkedIn <messages-noreply@linkedin.com>\nReply-To: LinkedIn <messages-noreply@linkedin.com>",
    ],
)
def test_t15_a_doubled_header_makes_a_signed_mail_forged(line: str) -> None:
    gmail = RECEIVERS["Gmail"]
    for letter in (f"{line}\n{LETTER}", f"{LETTER}{line}\n"):
        found = check(gmail.mail(gmail.lines("pass", "pass"), letter), SENDER, GMAIL)
        assert (found.state, found.dkim) == ("forged", False)


@pytest.mark.parametrize(
    ("address", "reply", "state"),
    [
        ("messages-noreply", "LinkedIn <x@evil.test>", "forged"),
        ("messages-noreply", "a@linkedin.com, b@evil.test", "forged"),
        ("messages-noreply", "LinkedIn <x@linkedin.com.evil.test>", "forged"),
        ("messages-noreply", "LinkedIn", "forged"),
        ("messages-no-reply", "x@evil.test", "forged"),
        ("donotreply", "x@evil.test", "forged"),
        ("messages-noreply", "LinkedIn <donotreply@e.linkedin.com>", "verified"),
        ("inmail-hit-reply", "Ann Ames <0-1@reply.linkedin.com>", "verified"),
        ("inmail-hit-reply", "Ann Ames <ann@example.org>", "verified"),
    ],
)
def test_answers_to_mail_that_wants_none_must_stay_with_the_sender(address: str, reply: str, state: str) -> None:
    gmail = RECEIVERS["Gmail"]
    letter = LETTER.replace("messages-noreply@", f"{address}@") + f"Reply-To: {reply}\n"
    assert check(gmail.mail(gmail.lines("pass", "pass"), letter), SENDER, GMAIL).state == state


# --- From

FORGED_FROM = [
    "messages-noreply@linkedin.com <eve@evil.test>",
    '"messages-noreply@linkedin.com" <eve@evil.test>',
    "LinkedIn <messages-noreply@linkedin.com> <eve@evil.test>",
    "=?utf-8?q?messages-noreply=40linkedin=2Ecom?= <eve@evil.test>",
    "=?utf-8?b?bWVzc2FnZXMtbm9yZXBseUBsaW5rZWRpbi5jb20=?= <eve@evil.test>",
    "(messages-noreply@linkedin.com) eve@evil.test",
    "eve@evil.test (messages-noreply@linkedin.com)",
    "LinkedIn <messages-noreply@linkedin.com>, Eve <eve@evil.test>",
    "LinkedIn <messages-noreply@linkedin.com@evil.test>",
    "LinkedIn <@evil.test:messages-noreply@linkedin.com>",
    "LinkedIn <messages-noreply@linkedin.com",
    "LinkedIn <eve@evil.test>",
    "LinkedIn<eve@evil.test>",
    "eve@evil.test (LinkedIn)",
    "LINKEDIN <eve@evil.test>",
    "LinkedIn Messages <eve@evil.test>",
    "LinkedIn Job Alerts <eve@evil.test>",
    "Ann Ames via LinkedIn <eve@evil.test>",
    "Ann at LinkedIn <eve@evil.test>",
    "Alertas de vaga do LinkedIn <eve@evil.test>",
    "LinkedIn via List <list@lists.example>",
    "LinkeIn via Backplanekit-devel <list@lists.example>",
    "Linked In <eve@evil.test>",
    "Linked In Job Alerts <eve@evil.test>",
    "LinkedIn via the big list of Ann <list@lists.example>",
    "Ann via LinkedIn Jobs <eve@evil.test>",
    "Team LinkedIn <eve@evil.test>",
    "L i n k e d I n <eve@evil.test>",
    "Linkedln <eve@evil.test>",
    "L1nkedIn Support <eve@evil.test>",
    "L\u0456nkedIn <eve@evil.test>",
    "=?utf-8?q?L=D1=96nkedIn?= <eve@evil.test>",
    "Link\u200bedIn <eve@evil.test>",
    "\uff2c\uff49\uff4e\uff4b\uff45\uff44\uff29\uff4e <eve@evil.test>",
    "Ann <messages-noreply@linkedln.com>",
    "Ann <messages-noreply@liinkedin.com>",
    "Ann <messages-noreply@linnkedin.com>",
    "Ann <messages-noreply@1inkedin.com>",
    "Ann <messages-noreply@linked-in.com>",
    "Ann <messages-noreply@notlinkedin.com>",
    "Ann <messages-noreply@linkedin.com.evil.test>",
    "Ann <messages-noreply@mail.linkedin.com.evil.test>",
    "Ann <messages-noreply@linkedin.de>",
    "Ann <messages-noreply@linkedln.co.uk>",
    "Ann <messages-noreply@linkedin-mail.com>",
    "Ann <messages-noreply@mail.linkedln.com>",
    "Ann <messages-noreply@xn--lnkedin-rog.com>",
    "Ann <messages-noreply@l\u0456nkedin.com>",
]


@pytest.mark.parametrize("value", FORGED_FROM)
def test_t12_t13_a_from_that_imitates_claims_and_is_forged_whatever_a_receiver_says(value: str) -> None:
    gmail = RECEIVERS["Gmail"]
    letter = LETTER.replace("LinkedIn <messages-noreply@linkedin.com>", value).replace("X-LinkedIn-", "X-Other-")
    letter = letter.replace("linkedin.com", "evil.test") if "linkedin.com" not in value else letter
    mail = gmail.mail(gmail.lines("pass", "pass").replace("linkedin.com", "evil.test"), letter)
    assert claims_to_be(mail.headers, SENDER)
    assert claims_to_be(f"Subject: x\r\nFrom: {value}\r\nMessage-ID: <1@x>\r\n".encode(), SENDER)
    assert check(mail, SENDER, GMAIL).state == "forged"
    assert check(gmail.mail(gmail.lines("pass", "pass"), letter), SENDER, GMAIL).state == "forged"


def test_t12_a_punycode_homoglyph_is_one() -> None:
    assert b"xn--lnkedin-rog".decode("idna") == "l\u0456nkedin"


NO_CLAIM = [
    "The LinkedIn Ads Expert <news@coach.example>",
    "Ann Ames, LinkedIn Top Voice <ann@coach.example>",
    "How to win on LinkedIn <news@coach.example>",
    "LinkedIn tips for busy people <news@coach.example>",
    "Link <link@hyrule.example>",
    "Linkin Park <news@band.example>",
    "Linda Kedin <linda@kedin.example>",
    "Indeed <alert@indeed.com>",
    "Ann <ann@linkeen.com>",
    "Ann <ann@smartrecruiters.com>",
    "Ann <ann@outlook.com>",
    "Ann <ann@licdn.example>",
    "LinkUp Jobs <jobs@linkup.com>",
    "=?utf-8?q?J=C3=BCrgen_Gro=C3=9F?= <j@gross.example>",
    "ann@example.org",
    "",
]


@pytest.mark.parametrize("value", NO_CLAIM)
def test_ordinary_mail_claims_nothing_though_it_mentions_the_name(value: str) -> None:
    block = f"From: {value}\nSubject: Follow us on LinkedIn\nMessage-ID: <1@linkedin.com>\nReply-To: hr@linkedin.com\n"
    assert not claims_to_be(block.encode(), SENDER)
    assert not claims_to_be(message(block).headers, SENDER)


@pytest.mark.parametrize(
    "block",
    [
        b"From: LinkedIn <x@linkedin.com>",
        b"fRoM : =?utf-8?q?Ann?=\r\n <x@e.linkedin.com>\r\nSubject: x\r\n",
        b"From:\r\n\tx@LINKEDIN.COM\r\n",
        b"From: x@linkedin.com.\r\n",
        b"From: ann@example.org\r\nX-LinkedIn-Class: INMAIL\r\n",
        b"x-linkedin-template: x\r\nFrom: ann@example.org\r\n",
        b"From: ann@example.org\r\nSender: messages-noreply@bounce.linkedin.com\r\n",
        b"From: ann@example.org\r\nFrom: x@linkedin.com\r\n",
        b"Subject: x\nFrom: x@linkedin.com\n",
    ],
)
def test_the_senders_domain_and_private_headers_are_a_claim(block: bytes) -> None:
    assert claims_to_be(block, SENDER)
    assert claims_to_be(parse(block + b"\r\n\r\nHello.\r\n").headers, SENDER)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\n",
        b"From",
        b"From:",
        b"Subject: From: x@linkedin.com",
        b"X: y\n From: x@linkedin.com\n",
        b"Fromage: x@linkedin.com",
    ],
)
def test_what_only_looks_like_a_from_line_is_no_claim(block: bytes) -> None:
    assert not claims_to_be(block, SENDER)


def test_mail_of_somebody_else_with_private_headers_is_unverified() -> None:
    gmail = RECEIVERS["Gmail"]
    letter = LETTER.replace("LinkedIn <messages-noreply@linkedin.com>", "Ann Ames <ann@example.org>")
    mail = gmail.mail(gmail.lines("pass", "pass"), letter)
    assert claims_to_be(mail.headers, SENDER)
    assert check(mail, SENDER, GMAIL).state == "unverified"


def test_a_missing_from_is_forged() -> None:
    assert check(message(LETTER.replace("From:", "X-From:")), SENDER, GMAIL).state == "forged"


def test_the_reason_shows_no_control_character_of_a_mail() -> None:
    raw = LETTER.replace("messages-noreply@linkedin.com", "x@evil\x1b]0;.test").encode()
    assert "\x1b" not in check(parse(raw + b"\nHello.\n"), SENDER, GMAIL).why


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text(st.sampled_from('<>@"(),;:\\=?xn--liedк. \n'), max_size=60).map(str.encode))
def test_no_header_block_makes_the_candidate_test_raise(tail: bytes) -> None:
    assert claims_to_be(b"From: " + tail, SENDER) in (True, False)
    claims_to_be(tail, SENDER)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "Received: by mx.google.com; x", "Received: by evil.test; x", "Received: (", "Return-Path: <>", "Subject: x",
                "Authentication-Results: mx.google.com; dmarc=fail header.from=linkedin.com",
                "Authentication-Results: mx.google.com; spf=pass", "Authentication-Results: (", "X-A: b", "ARC-Seal: x",
            ]
        ),
        max_size=8,
    )
)  # fmt: skip
def test_without_a_good_result_of_a_pinned_receiver_nothing_is_verified(lines: list[str]) -> None:
    mail = message("".join(f"{line}\n" for line in lines) + LETTER)
    for placement in PLACEMENTS:
        assert check(mail, SENDER, [Authserv("mx.google.com", placement)]).state != "verified"
    seen_ids(mail)


def test_thousands_of_results_take_no_time() -> None:
    line = "Authentication-Results: {}.h.example; dkim=pass\n"
    mail = message("".join(line.format(number % 12) for number in range(1_300)))
    with cpu_limit():
        assert len(seen_ids(mail)) <= 10
        check(mail, SENDER, [Authserv("*.h.example", "bottom")])


# --- data and names of receivers


def test_the_providers_are_sorted_complete_and_cautious() -> None:
    names = [one.name for one in providers()]
    assert names == sorted(names, key=str.lower)
    hosts = [host for one in providers() for host in one.hosts]
    assert len(hosts) == len(set(hosts))
    for one in providers():
        assert one.hosts and one.ids and one.note and one.seen
        assert one.placement in PLACEMENTS
        for name in (*one.ids, *one.hops):
            assert name == "" or name.removeprefix("*.").count(".") >= 1
        assert "" not in one.ids or one.hosts == ("outlook.office365.com",)


def test_every_provider_has_a_test_here() -> None:
    tested = {pinned_for(receiver.host) for receiver in RECEIVERS.values()}
    assert tested == {pinned_for(one.hosts[0]) for one in providers()}


def test_unknown_hosts_pin_nobody() -> None:
    for host in ("", "imap.example.org", "imap.gmail.com.evil.test", "notimap.gmail.com", "127.0.0.1"):
        assert pinned_for(host) == ()
    assert pinned_for("IMAP.GMAIL.COM.") == GMAIL


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail.h.example", Authserv("mail.h.example", "above")),
        ("Mail.H.Example:below", Authserv("mail.h.example", "below")),
        ("*.h.example:bottom", Authserv("*.h.example", "bottom")),
        ("mailhost", Authserv("mailhost", "above")),
        ("mx.google.com", Authserv("mx.google.com", "below")),
        ("mx.google.com:above", Authserv("mx.google.com", "above")),
        ("atlas7.aol.mail.bf1.yahoo.com", Authserv("atlas7.aol.mail.bf1.yahoo.com", "below")),
    ],
)
def test_a_receiver_is_named_by_id_and_place(text: str, expected: Authserv) -> None:
    assert parse_trust(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":below",
        "a b",
        "*",
        "*.com",
        "*.*.h.example",
        "a..b",
        ".a",
        "mail.h.example:under",
        "x" * 300,
        "a\x1b[2J",
        "m.\u0435x",
    ],
)
def test_a_name_that_is_none_is_refused_with_advice(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_trust(text)
    assert "\x1b" not in str(raised.value)
    assert "above" in str(raised.value) or "mx.example.org" in str(raised.value)


def test_an_id_of_a_mail_can_be_named_as_it_is_proposed() -> None:
    for receiver in RECEIVERS.values():
        if receiver is not RECEIVERS["Microsoft"]:
            for seen in seen_ids(receiver.mail(receiver.lines("pass", "pass"))):
                assert parse_trust(f"{seen.id}:{seen.placement}") == seen


# --- real mail

REAL = pytest.mark.skipif(not MAIL.is_dir(), reason=f"no real mail in {MAIL}")


@REAL
@pytest.mark.parametrize("name", ["009", "017", "031"])
def test_real_mail_is_verified_by_gmails_word(name: str) -> None:
    mail = parse((MAIL / f"{name}.eml").read_bytes())
    assert claims_to_be(mail.headers, SENDER)
    assert check(mail, SENDER, pinned_for("imap.gmail.com")).state == "verified"
    assert seen_ids(mail) == GMAIL
    assert check(mail, SENDER, [Authserv("mx.google.com", "above")]).state == "unverified"


@REAL
@pytest.mark.parametrize(
    ("name", "state"), [("p003", "forged"), ("p005", "forged"), ("p007", "forged"), ("p008", "unverified")]
)
def test_real_forgeries_claim_and_are_not_verified(name: str, state: str) -> None:
    raw = (MAIL / f"{name}.eml").read_bytes()
    mail = parse(raw)
    assert claims_to_be(mail.headers, SENDER)
    assert claims_to_be(raw.replace(b"\r\n", b"\n").partition(b"\n\n")[0], SENDER)
    for host in ("", *(receiver.host for receiver in RECEIVERS.values())):
        assert check(mail, SENDER, pinned_for(host)).state == state


# --- written mail

CORPUS = Path(__file__).parents[1] / "corpus"
BY_CORPUS = (Authserv("mx.example.net", "above"),)


@pytest.mark.parametrize(
    ("folder", "claims", "state"),
    [("linkedin", True, "verified"), ("forged", True, "forged"), ("elsewhere", False, "unverified")],
)
def test_the_corpus_is_what_its_folder_says(folder: str, claims: bool, state: str) -> None:
    paths = sorted((CORPUS / folder).rglob("*.eml"))
    assert paths
    for path in paths:
        raw = path.read_bytes()
        mail = parse(raw)
        assert claims_to_be(raw.partition(b"\n\n")[0], SENDER) is claims_to_be(mail.headers, SENDER) is claims, path
        assert check(mail, SENDER, BY_CORPUS).state == state, path
