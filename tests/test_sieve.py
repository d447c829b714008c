"""Rules in Sieve: run by Pigeonhole, they file nothing that the judge would not move, whatever a forger does."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mails import DISCLOSURE, PASS, TRUSTED, forged, friend, job_alert, mail, security
from sieving import filed, missing
from test_authenticity import LETTER, RECEIVERS, Receiver
from typer.testing import CliRunner

from filters import model, senders
from filters.authenticity import Authserv, check, parse_trust, pinned_for
from filters.cli import app
from filters.errors import UsageError
from filters.judge import worker
from filters.message import parse
from filters.sieve import OPTIONAL, Wish, rules
from filters.sources import Mail, Place, identity_of
from filters.sweep import Policy, decide

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "mail"
SENDER = senders.load()
BRAND = "LinkedIn Premium <linkedin@em.linkedin.com>"
NOTICE = f"Our executive MBA opens for registration.\n\n{DISCLOSURE}\n"
PLAIN_PASS = f"{TRUSTED}; dmarc=pass header.from=linkedin.com"
runs = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def script(*trusted: str, never: tuple[str, ...] = (), without: tuple[str, ...] = (), to: str = "LinkedIn") -> str:
    ids = tuple(map(parse_trust, trusted or (TRUSTED,)))
    return rules(SENDER, Wish(ids, SENDER.promotional, to, never, without), "unpitch")


def movable(mails: dict[str, bytes], trusted: list[list[str]]) -> set[str]:
    """What `clean` would move of these."""
    judge = worker({"model": str(model.shipped(SENDER.name)), "trusted": trusted})
    found = set()
    for name, raw in mails.items():
        result = judge(raw)
        if result["claims"]:
            identity = identity_of(raw, result["message_id"])
            whole = Mail(Place("a", "", name), raw, len(raw), frozenset(), identity)
            advertising = SENDER.categories[result["verdict"]["category"]].promotional
            policy = Policy(frozenset(SENDER.promotional))
            if decide(whole, result["verdict"], advertising, policy, {})[0] == "move":
                found.add(name)
    return found


def advert(number: int, **more: str) -> bytes:
    """LinkedIn's own advertising, which rules know by its address."""
    return mail("Premium is 50 % off this week.\n", **{"sender": BRAND, "template": ""} | more, number=number)


# --- what they file


@runs
def test_of_the_corpus_they_file_much_and_nothing_that_the_judge_keeps() -> None:
    mails = {str(path.relative_to(ROOT)): path.read_bytes() for path in sorted((ROOT / "corpus").rglob("*.eml"))}
    found = filed(script(), mails)
    assert movable({name: mails[name] for name in found}, [[TRUSTED, "above"]]) == found
    kinds = [Path(name).parent.name for name in found]
    assert set(kinds) == set(SENDER.promotional)
    assert (kinds.count("linkedin_marketing"), kinds.count("partner_inmail")) == (35, 50)  # of 41 and 162; README


@runs
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real mails in ../shared/mail are not here")
def test_of_real_mail_they_file_the_advertising_alone() -> None:
    mails = {path.name: path.read_bytes() for path in sorted(SHARED.glob("*.eml"))}
    assert filed(script("mx.google.com:below"), mails) == {"031.eml"}


@runs
def test_they_file_what_is_plain_and_leave_what_is_wanted() -> None:
    mails = {
        "advert": advert(1),
        "partner": mail(NOTICE, number=2),
        "partner, wrapped": mail(
            NOTICE.replace("marketing or", "marketing\nor").replace("e-mail ", "e-mail \n"), number=3
        ),
        "job alert": job_alert(),
        "security": security(),
        "friend": friend(),
        "forged": forged(),
        "InMail": mail("I have a role for you.\n", number=6),
        "quoted": mail(f"Did you get this? “{DISCLOSURE}”\n", number=7),
        "cited": mail("> " + "\n> ".join(DISCLOSURE.split(". ")), number=8),
        "forwarded": mail(f"-----Original Message-----\n{DISCLOSURE}\n", number=9),
        "half a notice": mail("It was a promotional message from a marketing or hiring partner.\n", number=10),
        "several": mail(NOTICE, subject="You have 3 new messages", number=11),
        "digest": mail(NOTICE, sender="Ann <messaging-digest-noreply@linkedin.com>", number=12),
        "template never moved": mail(NOTICE, template="security_password_reset_checkpoint_01", number=13),
        "link never moved": mail(
            f"{NOTICE}https://www.linkedin.com/comm/x?trk=eml-email_jobs_application_rejected_01-x\n", number=14
        ),
        "large": advert(15) + b"x" * 1_100_000,
    }
    assert filed(script(), mails) == {"advert", "partner", "partner, wrapped"}
    plain = {name: mails[name] for name in ("advert", "partner", "partner, wrapped")}
    assert movable(plain, [[TRUSTED, "above"]]) == set(plain)


# --- what forgers do

RESULTS = {
    "forged below the receiver's": (f"{TRUSTED}; dmarc=none", PASS),
    "another id on top": ("mx.example.com; dmarc=pass header.from=linkedin.com", PASS),
    "id as a prefix": (f"{TRUSTED}.evil; dmarc=pass header.from=linkedin.com",),
    "id as a suffix": (f"evil.{TRUSTED}; dmarc=pass header.from=linkedin.com",),
    "id in a comment": (f"evil.example ({TRUSTED}); dmarc=pass header.from=linkedin.com",),
    "no id": ("dmarc=pass header.from=linkedin.com",),
    "denied": (PASS.replace("dmarc=pass", "dmarc=fail"),),
    "DKIM denied": (PASS.replace("dkim=pass", "dkim=fail"),),
    "denied by another": (PASS, "mx.example.com; dmarc=fail header.from=linkedin.com"),
    "denied, folded": (f"{TRUSTED};\n\tdkim=none;\n\tdmarc=fail\n header.from=linkedin.com",),
    "two words": (f"{TRUSTED}; dmarc=pass header.from=linkedin.com; dmarc=pass header.from=evil.example",),
    "of another domain": (f"{TRUSTED}; dmarc=pass header.from=evil.example",),
    "of a longer domain": (f"{TRUSTED}; dmarc=pass header.from=linkedin.com.evil.example",),
    "of a shorter one": (f"{TRUSTED}; dmarc=pass header.from=evil-linkedin.com",),
    "of a domain in the next clause": (f"{TRUSTED}; dmarc=pass p.q=r; arc=pass header.from=linkedin.com",),
    "in a comment": (f"{TRUSTED}; spf=pass (; dmarc=pass header.from=linkedin.com ) smtp.mailfrom=a@b.example",),
    "in the second comment": (f"{TRUSTED}; spf=pass (a) x=y (; dmarc=pass header.from=linkedin.com ) z=w",),
    "in nested comments": (f"{TRUSTED}; spf=pass (a (b) ; dmarc=pass header.from=linkedin.com ) z=w",),
    "behind an escaped bracket": (f"{TRUSTED}; spf=pass (a\\) ; dmarc=pass header.from=linkedin.com ) z=w",),
    "half in a comment": (f"{TRUSTED}; dmarc=pass ( header.from=linkedin.com )",),
    "half out of a comment": (f"{TRUSTED}; spf=pass (; dmarc=pass ) header.from=linkedin.com",),
    "in a local part": (f'{TRUSTED}; spf=pass smtp.mailfrom="a; dmarc=pass header.from=linkedin.com "@b.example',),
    "in a reason": (f'{TRUSTED}; spf=fail reason="; dmarc=pass header.from=linkedin.com "',),
    "behind a short value": (
        f'{TRUSTED}; x=y header.b="abcdefgh" smtp.mailfrom="a; dmarc=pass header.from=linkedin.com "@b.example',
    ),
    "as an address": (f"{TRUSTED}; spf=pass smtp.mailfrom=dmarc=pass@header.from=linkedin.com",),
    "as another word": (f"{TRUSTED}; x-dmarc=pass header.from=linkedin.com",),
    "DKIM of another": (f"{TRUSTED}; dkim=pass header.d=evil.example; dkim=neutral header.d=linkedin.com",),
    "DKIM of another, SPF beside it": (
        f"{TRUSTED}; dkim=pass header.d=evil.example; spf=pass x header.d=linkedin.com",
    ),
    "DKIM in a comment": (f"{TRUSTED}; dkim=pass ( header.d=linkedin.com ) header.d=evil.example",),
    "DKIM in two comments": (f"{TRUSTED}; dkim=pass (a) (b) header.d=linkedin.com",),
    "DKIM in a local part": (f'{TRUSTED}; spf=pass smtp.mailfrom="; dkim=pass header.d=linkedin.com "@b.example',),
    "DKIM of a longer domain": (f"{TRUSTED}; dkim=pass header.d=linkedin.com.evil.example",),
    "encoded": ("=?utf-8?q?mx=2Eexample=2Ecom=3B_dmarc=3Dpass_header=2Efrom=3Dlinkedin=2Ecom?=",),
    "SPF alone": (f"{TRUSTED}; spf=pass smtp.mailfrom=bounce.linkedin.com",),
    "silent, then another's": (f"{TRUSTED}; bimi=none", "mx.example.com; dmarc=pass header.from=linkedin.com"),
}
WORD = (
    "=?utf-8?q?=3B_dmarc=3Dpass_header=2Efrom=3Dlinkedin=2Ecom_?="  # decoded: "; dmarc=pass header.from=linkedin.com "
)
#: What a sender has a receiver without DMARC repeat, and the headers in which the same text stands.
REPEATED = {
    "encoded envelope": (f"spf=pass smtp.mailfrom={WORD}@evil.example", f"Return-Path: <{WORD}@evil.example>"),
    "encoded signer": (f"dkim=pass header.i={WORD}@evil.example", f"DKIM-Signature: v=1; i={WORD}@evil.example; b=x"),
    "encoded signer, encoded": (
        f"dkim=pass header.i={WORD}@evil.example",
        f"DKIM-Signature: v=1; i={WORD.replace('=', '=3D').replace('?', '=3F')}@evil.example; b=x",
    ),
    "encoded HELO": (
        f"spf=pass smtp.helo={WORD}",
        f"Received: from {WORD} (mail.evil.example [192.0.2.1]) by {TRUSTED}",
    ),
}
FROM = {
    "name with an address": '"linkedin@em.linkedin.com" <a@evil.example>',
    "name with another address": '"a@evil.example" <linkedin@em.linkedin.com>',
    "two addresses": "a@evil.example, linkedin@em.linkedin.com",
    "two in brackets": "LinkedIn <linkedin@em.linkedin.com> <a@evil.example>",
    "an address in an encoded word": "=?utf-8?q?=3Clinkedin=40em=2Elinkedin=2Ecom=3E?= <a@evil.example>",
    "a foreign address in an encoded word": "=?utf-8?q?a=40evil=2Eexample?= <linkedin@em.linkedin.com>",
    "a group": "LinkedIn: linkedin@em.linkedin.com;",
    "a comment": "a@evil.example (linkedin@em.linkedin.com)",
    "a longer domain": "LinkedIn <linkedin@em.linkedin.com.evil.example>",
    "a look-alike": "LinkedIn <linkedin@em.linkedln.com>",
    "an employee": "LinkedIn <someone@linkedin.com>",
}


@runs
def test_nothing_forged_is_filed() -> None:
    mails = {}
    for number, (name, values) in enumerate(RESULTS.items()):
        lines = "".join(f"Authentication-Results: {value}\n" for value in values).replace("\n", "\r\n").encode()
        mails[name] = lines + advert(number, results="")
    for number, (name, (value, line)) in enumerate(REPEATED.items(), 50):
        head = f"{line}\nAuthentication-Results: {TRUSTED}; {value}\n".replace("\n", "\r\n")
        mails[name] = head.encode() + advert(number, results="")
    for number, (name, value) in enumerate(FROM.items(), 100):
        raw = advert(number)
        mails[name] = raw.replace(f"From: {BRAND}".encode(), f"From: {value}".encode())
    for number, (name, line) in enumerate(
        {
            "second From": "From: a@evil.example",
            "second Subject": "Subject: Your parcel",
            "second class": "X-LinkedIn-Class: A\r\nX-LinkedIn-Class: B",
            "Reply-To elsewhere": "Reply-To: a@evil.example",
            "Reply-To here and elsewhere": "Reply-To: <a@linkedin.com>, <a@evil.example>",
            "Reply-To at a longer domain": "Reply-To: <a@linkedin.com.evil.example>",
            "Reply-To with a false name": 'Reply-To: "a@evil.example" <a@linkedin.com>',
        }.items(),
        200,
    ):
        mails[name] = line.encode() + b"\r\n" + advert(number)
    genuine = {"genuine": advert(300), "with Reply-To": b"Reply-To: <a@e.linkedin.com>\r\n" + advert(301)}
    assert filed(script(), mails | genuine) == set(genuine)


@runs
@pytest.mark.parametrize("name", [name for name in RECEIVERS if name not in ("Microsoft", "mail.ru")])
def test_they_believe_each_receiver_as_the_judge_does(name: str) -> None:
    """Except for one that writes its word below everything else, or has no name."""
    receiver: Receiver = RECEIVERS[name]
    trusted = pinned_for(receiver.host)
    letter = LETTER.replace("messages-noreply@", "linkedin@em.")
    words = ("pass", "fail", "none", "neutral", "temperror", "permerror", "policy")
    mails = {}
    for dkim in words:
        for dmarc in words:
            own = receiver.lines(dkim, dmarc)
            mails[f"{dkim} {dmarc}"] = f"{receiver.above}{own}{receiver.below}{letter}\n{dkim} {dmarc}\n".encode()
    found = filed(rules(SENDER, Wish(trusted, SENDER.promotional, "LinkedIn"), "unpitch"), mails)
    assert "pass pass" in found
    for one in found:
        assert check(parse(mails[one]), SENDER, trusted).state == "verified", one


@runs
def test_other_shapes_of_a_confirmation() -> None:
    shapes = {
        "plain": PLAIN_PASS,
        "a comment behind the id": f"{TRUSTED} (milter); dmarc=pass header.from=em.linkedin.com",
        "a version": f"{TRUSTED} 1; dmarc=pass header.from=em.linkedin.com",
        "folded": f"{TRUSTED};\n\tdmarc=pass (p=reject\n\tdis=none)\n header.from=linkedin.com",
        "short values": f'{TRUSTED}; dkim=pass header.d=linkedin.com header.b="ab/de+gh"; dmarc=pass header.from=linkedin.com',
        "DKIM": f'{TRUSTED}; dkim=pass (2048-bit key; secure) header.d=linkedin.com header.b="ab"',
        "DKIM of two": f"{TRUSTED}; dkim=pass header.d=mailb.linkedin.com; dkim=pass header.d=linkedin.com header.s=x",
        "three comments": f"{TRUSTED}; dkim=pass (a) x=y; spf=pass (b) z=w; dmarc=pass (c) header.from=linkedin.com",
    }
    lines = {
        name: f"Authentication-Results: {value}\n".replace("\n", "\r\n").encode() for name, value in shapes.items()
    }
    mails = {name: line + advert(number, results="") for number, (name, line) in enumerate(lines.items())}
    assert filed(script(), mails) == set(shapes)


@runs
def test_a_name_for_many_hosts_is_no_name_for_others() -> None:
    tail = "dmarc=pass header.from=linkedin.com"
    ids = [
        "mx1.example.net",
        "a.b.example.net",
        "example.net",
        "x.example.net.evil",
        "evil; x.example.net",
        "a (b.example.net",
    ]
    mails = {
        id: f"Authentication-Results: {id}; {tail}\r\n".encode() + advert(n, results="") for n, id in enumerate(ids)
    }
    assert filed(script("*.example.net"), mails) == {"mx1.example.net", "a.b.example.net"}


@runs
def test_what_the_script_warns_of_is_so() -> None:
    """Where a server writes no result, and removes none, the topmost is the sender's: a rule cannot know, and says so."""
    received, rest = advert(1, results="").split(b"\r\n", 1)
    planted = received + b"\r\nAuthentication-Results: " + PLAIN_PASS.encode() + b"\r\n" + rest
    assert filed(script(), {"planted": planted}) == {"planted"}
    assert movable({"planted": planted}, [[TRUSTED, "above"]]) == set()
    assert "writes one on each mail, or removes those that bear its name" in script().replace("\n# ", " ")


# --- what a person wants


@runs
def test_names_are_spared() -> None:
    never = ("northfield", "Zürich & Söhne", 'Q"uote\\ *?', "Işık 50", "Ann Other")
    told = ["NORTHFIELD", "ZÜRICH &\nSÖHNE", "about quote", "ışık 71", "other people, and Ann"]
    mails = {
        text: mail(f"{text}\n\n{NOTICE}", sender="A <hit-reply@linkedin.com>", number=n) for n, text in enumerate(told)
    }
    mails["in From"] = mail(NOTICE, sender="Northfield School <hit-reply@linkedin.com>", number=10)
    mails["in Subject"] = advert(11, subject="=?utf-8?q?Z=C3=BCrich_&_S=C3=B6hne?=")
    mails["another"] = mail(NOTICE, sender="A <hit-reply@linkedin.com>", subject="A course", number=12)
    assert filed(script(), mails) == set(mails)
    assert filed(script(never=never), mails) == {"another"}


@runs
@pytest.mark.parametrize("lacking", OPTIONAL)
def test_without_an_extension(lacking: str) -> None:
    mails = {
        "advert": advert(1),
        "partner": mail(NOTICE, number=2),
        "two results": f"Authentication-Results: {PASS}\r\n".encode() + advert(3),
    }
    text = script(without=(lacking,), to="INBOX" if lacking == "mailbox" else "LinkedIn")
    assert f'"{lacking}"' not in text
    assert lacking in text
    if lacking != "mailbox":
        assert filed(text, mails) == {"advert", {"body": "two results", "index": "partner"}[lacking]}


def test_they_only_ever_file() -> None:
    code = re.sub(r"(?m)^ *#.*$|\"(?:[^\"\\]|\\.)*\"", "", script())
    assert code.count("fileinto") == 1
    assert not re.search(r"\b(stop|keep|discard|redirect|reject|setflag|addflag)\b", code)


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (Wish((), SENDER.promotional, "A"), "--trust-authserv"),
        (Wish((Authserv("mxs.mail.ru", "bottom"),), SENDER.promotional, "A"), "below everything else"),
        (Wish((Authserv("", "below"),), SENDER.promotional, "A"), "without a name"),
        (Wish((Authserv("a.b", "above"),), ("job_alert",), "A"), "job_alert"),
        (Wish((Authserv("a.b", "above"),), ("linkedin_marketing",), "A"), "same addresses"),
        (Wish((Authserv("a.b", "above"),), ("partner_inmail",), "A", without=("body",)), "--without body"),
        (Wish((Authserv("a.b", "above"),), SENDER.promotional, "A", without=("relational",)), "relational"),
        (Wish((Authserv("a.b", "above"),), SENDER.promotional, "A/{year}"), "one folder"),
        (Wish((Authserv("a.b", "above"),), SENDER.promotional, 'A"\n; discard;'), "no letter"),
        (Wish((Authserv("a.b", "above"),), SENDER.promotional, "A" * 500), "too long"),
        (Wish((Authserv("a.b", "above"),), SENDER.promotional, "A", ("Bad\r\nName",)), "no letter"),
    ],
)
def test_what_rules_cannot_do_is_said(wish: Wish, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(why)):
        rules(SENDER, wish, "unpitch")


@given(st.text(min_size=1, max_size=60), st.text(min_size=3, max_size=60))
@settings(max_examples=25, deadline=None)
def test_no_name_gets_out_of_its_string(to: str, name: str) -> None:
    try:
        text = rules(SENDER, Wish((parse_trust(TRUSTED),), SENDER.promotional, to, (name,)), "unpitch")
    except UsageError:
        return
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
    assert all(len(line.encode()) < 998 for line in text.split("\n"))
    code = re.sub(r"#[^\n]*\n|\"(?:[^\"\\]|\\.)*\"", lambda found: "" if found[0][0] == "#" else "S", text)
    assert re.fullmatch(r"[\w\s\[\](),;:{}]*", code, re.ASCII), code
    assert code.count("fileinto") == 1


# --- the command


def test_the_command_prints_or_writes(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[accounts.fast]\nlocation = "imaps://a@imap.fastmail.com"\nto = "Ads"\nnever = ["Northfield"]\n'
        '[accounts.slow]\nlocation = "imaps://b@imap.fastmail.com"\nolder_than_days = 3\n'
    )
    config.chmod(0o600)
    path, runner = tmp_path / "rules.sieve", CliRunner(env={"UNPITCH_CONFIG": str(config)})
    words = ["export", "sieve", "fast", "--output", str(path)]
    printed = runner.invoke(app, words[:3]).stdout
    for part in ("messagingengine.com;*", 'fileinto :create "Ads";', '"Northfield"', "no journal"):
        assert part in printed
    assert runner.invoke(app, words).stdout == ""
    assert path.read_text() == printed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "exists already" in str(runner.invoke(app, [*words, "--to", "Other"]).exception)
    assert path.read_text() == printed
    assert runner.invoke(app, [*words, "--to", "Other", "--force"]).exit_code == 0
    assert 'fileinto :create "Other";' in path.read_text()
    for account, why in ((["slow"], "older_than_days"), (["none"], "no account none"), ([], "--trust-authserv")):
        refused = runner.invoke(app, ["export", "sieve", *account]).exception
        assert isinstance(refused, UsageError)
        assert why in str(refused)
