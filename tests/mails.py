"""Builds mails for tests: LinkedIn-like ones of every kind that a test asks for, stamped by the receiver mx.example.net."""

from __future__ import annotations

from email.message import EmailMessage
from functools import cache

#: A receiver that tests trust.
TRUSTED = "mx.example.net"
DISCLOSURE = (
    "This is a promotional message from a marketing or hiring partner and was sent to you based on your browsing activity or"
    " non-personal information such as job title, primary industry, or region. You will only receive a maximum of one"
    " promotional message every 60 days. You can Unsubscribe here. Per LinkedIn’s privacy policy, your name and e-mail"
    " address have not been disclosed."
)
ADVERT = (
    "Our executive MBA opens for registration. Download the brochure, join the free webinar, and save 20 % until May."
)
PASS = f"{TRUSTED}; dkim=pass header.d=linkedin.com; spf=pass smtp.mailfrom=x@bounce.linkedin.com; dmarc=pass header.from=linkedin.com"
FAIL = f"{TRUSTED}; dkim=none; spf=softfail smtp.mailfrom=evil.example; dmarc=fail header.from=linkedin.com"
RECEIVED = f"from maile-aa.linkedin.com by {TRUSTED} with ESMTPS id 4XyZ; Tue, 03 May 2016 10:00:00 +0000"


def mail(
    text: str = f"{ADVERT}\n\n{DISCLOSURE}\n",
    *,
    sender: str = "Northfield School <inmail-hit-reply@linkedin.com>",
    subject: str = "Your executive MBA in 18 months",
    number: int = 1,
    results: str = PASS,
    template: str = "email_hire_inmail_initial_single_01",
    extra: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """One mail with CRLF line ends; an empty `results` leaves out Authentication-Results, an empty `template` its headers."""
    head, gap, body = _built(text, sender, subject, results, template, extra).partition(b"\r\n\r\n")
    head = head.replace(b"\r\nDate: Tue, 03 May 2016 10:00:", b"\r\nDate: Tue, 03 May 2016 10:%02d:" % (number % 60))
    return head.replace(b"\r\nMessage-ID: <N.", b"\r\nMessage-ID: <%d." % number) + gap + body


@cache
def _built(
    text: str, sender: str, subject: str, results: str, template: str, extra: tuple[tuple[str, str], ...]
) -> bytes:
    """Without the number: to build a mail takes as long as to judge one, and some tests want thousands."""
    message = EmailMessage()
    if results:
        message["Authentication-Results"] = results
    message["Received"] = RECEIVED
    message["From"] = sender
    message["To"] = "Ann Reader <ann@example.org>"
    message["Subject"] = subject
    message["Date"] = "Tue, 03 May 2016 10:00:00 +0000"
    message["Message-ID"] = "<N.1462269600000@lva1-app1.prod.linkedin.com>"
    if template:
        message["X-LinkedIn-Class"] = "INMAIL"
        message["X-LinkedIn-Template"] = template
    for name, value in extra:
        message[name] = value
    message.set_content(text)
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def job_alert(number: int = 2) -> bytes:
    """A genuine job alert."""
    return mail(
        "Your job alert for engineer\nNew jobs match your preferences.\n\nEngineer\nFirm\nTown\nView job:"
        " https://www.linkedin.com/comm/jobs/view/1/?trk=eml-email_job_alert_digest_01-job_card\n\n"
        "You are receiving Job Alert emails.\n",
        sender="LinkedIn Job Alerts <jobalerts-noreply@linkedin.com>",
        subject="“engineer”: Firm - Engineer and more",
        number=number,
        template="email_job_alert_digest_01",
    )


def security(number: int = 3) -> bytes:
    """A genuine security code, with a disclosure in it to tempt the filter."""
    return mail(
        f"Your verification code is 123456.\n\n{DISCLOSURE}",
        sender="LinkedIn <security-noreply@linkedin.com>",
        subject="Here's your verification code",
        number=number,
        template="security_ato_challenge_send_pin",
    )


def friend(number: int = 4) -> bytes:
    """A mail that is nobody's business."""
    return mail(
        f"Did you get this too? It says: “{DISCLOSURE}”",
        sender="Bo Friend <bo@friends.example>",
        subject="LinkedIn",
        number=number,
        results=f"{TRUSTED}; dkim=pass header.d=friends.example; dmarc=pass header.from=friends.example",
        template="",
    )


def forged(number: int = 5) -> bytes:
    """An advert that LinkedIn did not send."""
    return mail(number=number, results=FAIL)
