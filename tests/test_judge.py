"""The verdict: data above the model, doubt below the threshold, evidence for each."""

from __future__ import annotations

from dataclasses import replace

import mails
import pytest

from filters import model as models
from filters import senders
from filters.authenticity import Authserv
from filters.errors import InputError
from filters.judge import Verdict, judge, worker
from filters.message import parse
from filters.model import Model

SENDER = senders.load()
SHIPPED = models.load(models.shipped(SENDER.name))
TRUSTED = (Authserv(mails.TRUSTED, "above"),)


def verdict(raw: bytes, model: Model = SHIPPED) -> Verdict:
    return judge(parse(raw), SENDER, model, TRUSTED)


def certain(category: str) -> Model:
    """A model that is sure of one category, whatever the mail."""
    bias = tuple(1000.0 if name == category else 0.0 for name in SHIPPED.categories)
    return replace(SHIPPED, bias=bias, weights={})


def test_a_partner_inmail_is_promotional_and_says_why() -> None:
    result = verdict(mails.mail())
    assert (result.category, result.promotional, result.authenticity.state) == ("partner_inmail", True, "verified")
    assert result.probability > 0.9
    assert any("promotional message from a marketing" in clue.quote for clue in result.evidence)


def test_a_job_alert_is_not() -> None:
    result = verdict(mails.job_alert())
    assert (result.category, result.promotional, result.unsure) == ("job_alert", False, False)


def setup(**more: object) -> dict[str, object]:
    receivers = [[mails.TRUSTED, "above"]]
    return {"model": str(models.shipped(SENDER.name)), "trusted": receivers, **more}


@pytest.mark.parametrize(
    "raw", [mails.mail(), mails.job_alert(), mails.mail(sender="x <security-noreply@linkedin.com>")]
)
def test_a_verdict_without_explanation_is_the_same_verdict(raw: bytes) -> None:
    explained, bare = worker(setup())(raw), worker(setup(explain=False))(raw)
    assert set(bare) == {"claims", "verdict"}
    assert bare["verdict"] == explained["verdict"] | {"evidence": []}
    assert explained["verdict"]["evidence"]


@pytest.mark.parametrize("explain", [True, False])
def test_of_mail_that_is_not_the_senders_the_headers_alone_are_read(explain: bool) -> None:
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(60))
    judge_bytes = worker(setup(explain=explain))
    assert judge_bytes(b"From: Ann <ann@example.org>\n" + nested) == {"claims": False}
    with pytest.raises(InputError):
        judge_bytes(b"From: LinkedIn <messages-noreply@linkedin.com>\n" + nested)


NEVER = {
    "security": ("security-noreply@linkedin.com", "security_password_reset_checkpoint"),
    "billing": ("billing-noreply@linkedin.com", ""),
    "support": ("linkedin_support@cs.linkedin.com", ""),
    "legal": ("legalnotice@linkedin.com", ""),
    "application_update": ("jobs-noreply@linkedin.com", "jobs_applicant_applied"),
}


@pytest.mark.parametrize("category", NEVER)
@pytest.mark.parametrize("promotional", SENDER.promotional)
def test_no_model_outvotes_the_data_on_what_is_never_moved(category: str, promotional: str) -> None:
    address, template = NEVER[category]
    raw = mails.mail(sender=f"LinkedIn <{address}>", template=template)
    result = verdict(raw, certain(promotional))
    assert (result.category, result.promotional, result.unsure, result.never) == (category, False, False, True)
    assert result.probability == 0.0


def test_a_security_template_is_never_moved_on_any_stream() -> None:
    raw = mails.mail(sender="LinkedIn <messages-noreply@linkedin.com>", template="security_ato_challenge_send_pin")
    assert verdict(raw, certain("partner_inmail")).never


def test_the_model_that_is_sure_is_believed_elsewhere() -> None:
    """The test above must be able to fail: the same model does win on an ordinary stream."""
    result = verdict(mails.mail("Hello"), certain("partner_inmail"))
    assert (result.promotional, result.never) == (True, False)
    assert result.probability == pytest.approx(1.0)


def test_doubt_lies_between_the_two_thresholds() -> None:
    raw = mails.mail("Hello")
    chance = verdict(raw).probability
    doubtful = verdict(raw, replace(SHIPPED, unsure=chance / 2, threshold=min(1.0, chance * 1.1)))
    assert (doubtful.unsure, doubtful.promotional) == (True, False)
    sure = verdict(raw, replace(SHIPPED, unsure=chance / 4, threshold=chance / 2))
    assert sure.unsure is False


def test_an_address_that_is_not_known_is_said_to_be_so() -> None:
    assert not verdict(mails.mail(sender="Kim Employee <kim@linkedin.com>")).known


def test_mail_of_others_is_not_claimed() -> None:
    judge_bytes = worker({"model": str(models.shipped(SENDER.name)), "trusted": [[mails.TRUSTED, "above"]]})
    assert judge_bytes(mails.friend()) == {"claims": False}
    assert judge_bytes(mails.forged())["verdict"]["authenticity"]["state"] == "forged"


THREADS = "https://www.linkedin.com/messaging/thread/2-{}/"


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("You have 3 new messages", mails.DISCLOSURE),
        ("You have 2 unread messages", mails.DISCLOSURE),
        ("Ann, Bo and 2 others just messaged you", mails.DISCLOSURE),
        ("Ann just messaged you", f"{mails.DISCLOSURE}\n{THREADS.format('YWFh')}\n{THREADS.format('YmJi')}"),
    ],
)
def test_mail_that_holds_several_messages_is_no_advertising_as_a_whole(subject: str, text: str) -> None:
    digest = "Ann via LinkedIn <messaging-digest-noreply@linkedin.com>"
    raw = mails.mail(text, sender=digest, subject=subject, template="email_type_messaging_digest")
    result = verdict(raw, certain("partner_inmail"))
    assert (result.several, result.promotional, result.probability) == (True, False, 0.0)


def test_a_notice_of_one_message_may_be() -> None:
    digest = "Ann via LinkedIn <messaging-digest-noreply@linkedin.com>"
    result = verdict(mails.mail(sender=digest, subject="Ann just messaged you", template="email_type_messaging_digest"))
    assert (result.several, result.promotional) == (False, True)


@pytest.mark.parametrize(
    "address", ["invitations@linkedin.com", "newsletters-noreply@linkedin.com", "groups-noreply@linkedin.com"]
)
def test_a_wanted_stream_is_no_advertising_whatever_it_quotes(address: str) -> None:
    result = verdict(mails.mail(sender=f"Ann <{address}>", template=""), certain("partner_inmail"))
    assert (result.promotional, result.probability) == (False, 0.0)


@pytest.mark.parametrize(
    "template",
    ["security_new_sign_in_01", "email_security_new_device_01", "billing_receipt_01", "email_jobs_application_gone_01"],
)
def test_unlisted_templates_of_kinds_that_are_never_moved_are_on_the_safe_side(template: str) -> None:
    raw = mails.mail(sender="LinkedIn <messages-noreply@linkedin.com>", template=template)
    assert verdict(raw, certain("partner_inmail")).never


def test_one_link_with_a_security_template_is_enough() -> None:
    link = "https://www.linkedin.com/comm/x?trk=eml-security_password_reset_checkpoint-a-0-b"
    others = "\n".join(f"https://www.linkedin.com/comm/{n}?trk=eml-email_member_message_v2-a-{n}-b" for n in range(5))
    assert verdict(mails.mail(f"{mails.DISCLOSURE}\n{others}\n{link}"), certain("partner_inmail")).never


def test_an_endless_template_name_is_nobodys() -> None:
    assert SENDER.template("a" + "_v1" * 20_000 + "x") is None


def test_class_and_template_count_only_with_a_signature() -> None:
    """Verified by SPF alone: what no signature covers is no evidence."""
    spf = mails.PASS.replace("dkim=pass", "dkim=fail")
    both = {
        name: verdict(mails.mail("Hello", results=results)) for name, results in (("dkim", mails.PASS), ("spf", spf))
    }
    assert {result.authenticity.state for result in both.values()} == {"verified"}
    shown = {name: {clue.feature for clue in result.evidence} for name, result in both.items()}
    assert any(feature.startswith("template:email") for feature in shown["dkim"])
    assert not any(feature.startswith(("template:email", "template_kind", "class:INMAIL")) for feature in shown["spf"])


def test_one_security_link_among_many_others_is_enough() -> None:
    links = [f"https://www.linkedin.com/comm/{n}?trk=eml-email_member_message_v2-a-{n}-b" for n in range(150)]
    links.append("https://www.linkedin.com/comm/x?trk=eml-security_password_reset_checkpoint-a-0-b")
    assert verdict(mails.mail(f"{mails.DISCLOSURE}\n" + "\n".join(links)), certain("partner_inmail")).never
