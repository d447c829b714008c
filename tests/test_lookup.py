"""SRV of a mail domain (RFC 6186), asked of a DNS server on loopback, and what init makes of the answer."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dovecot import Dovecot
from test_cli import unpitch
from test_cli_imap import words
from test_cli_limits import on_terminal

from filters.config import load
from filters.errors import TransientError
from filters.lookup import Server, imap_servers

dns_message = pytest.importorskip("dns.message", reason="the extra lookup is not installed")


class DnsServer:
    """Answers SRV from a table of names and lines such as "0 1 993 imap.example.org."; it records what it is asked."""

    def __init__(self) -> None:
        self.zone: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> DnsServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())

    def _serve(self) -> None:
        import dns.flags
        import dns.rcode
        import dns.rrset

        with self._socket:
            while (packet := self._socket.recvfrom(4_096))[0]:
                question = dns_message.from_wire(packet[0])
                name = question.question[0].name.to_text(omit_final_dot=True)
                self.asked.append(name)
                answer = dns_message.make_response(question)
                answer.flags |= dns.flags.RA
                lines = self.zone.get(name, [])
                if lines == ["nothing understandable"]:
                    answer.set_rcode(dns.rcode.SERVFAIL)
                elif lines:
                    answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "SRV", *lines))
                else:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                self._socket.sendto(answer.to_wire(), packet[1])


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as running:
        yield running


def test_the_best_server_comes_first(dns: DnsServer) -> None:
    dns.zone["_imaps._tcp.example.org"] = [
        "10 1 993 b.example.org.",
        "0 1 9993 far.example.net.",
        "0 5 993 IMAP.example.org.",
    ]
    found = imap_servers("example.org", dns.address)
    assert found == [Server("imap.example.org", 993), Server("far.example.net", 9993), Server("b.example.org", 993)]
    assert [one.belongs_to("Example.org") for one in found] == [True, False, True]
    assert not Server("notexample.org", 993).belongs_to("example.org")


@pytest.mark.parametrize("lines", [[], ["0 0 0 ."]])
def test_no_such_server(lines: list[str], dns: DnsServer) -> None:
    dns.zone["_imaps._tcp.none.example"] = lines
    assert imap_servers("none.example", dns.address) == []


@pytest.mark.parametrize(
    ("domain", "address"), [("broken.example", ""), ("x" * 70 + ".example", ""), ("x.example", "nobody")]
)
def test_dns_that_does_not_answer(domain: str, address: str, dns: DnsServer) -> None:
    dns.zone["_imaps._tcp.broken.example"] = ["nothing understandable"]
    with pytest.raises(TransientError, match="--host"):
        imap_servers(domain, address or dns.address)


def test_init_takes_a_server_of_the_same_domain(dns: DnsServer, dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dns.zone["_imaps._tcp.localhost"] = [f"0 1 {dovecot.port} localhost."]
    rest = ["--user", user, "--yes", "--no-audit", "--lookup", "--nameserver", dns.address]
    done = unpitch("init", f"{user}@localhost", *rest, *words(dovecot), state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "config.toml").accounts[0].id == f"imaps://{user}@localhost:{dovecot.port}"


def test_init_takes_another_domain_s_only_from_a_person(
    dns: DnsServer, dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    dns.zone["_imaps._tcp.example.net"] = [f"0 1 {dovecot.port} localhost."]
    rest = ["--user", user, "--no-audit", "--nameserver", dns.address]
    done = unpitch("init", "ann@example.net", "--lookup", *rest, *words(dovecot), state=tmp_path)
    assert done.returncode == 2
    assert f"--host localhost:{dovecot.port}" in done.stderr
    told = on_terminal("init", "ann@example.net", *rest, *words(dovecot), state=tmp_path, answers="y\ny\n\n")
    assert told.returncode == 0, told.stderr
    assert "Your resolver then sees that name" in told.stdout
    assert "DNS can be forged" in told.stdout


def test_init_asks_nobody_unless_it_is_told_to(dns: DnsServer, tmp_path: Path) -> None:
    before = len(dns.asked)
    rest = ["--nameserver", dns.address]
    assert "--lookup" in unpitch("init", "ann@asked.example", "--yes", *rest, state=tmp_path).stderr
    no = on_terminal("init", "ann@asked.example", *rest, state=tmp_path, answers="n\nimap.invalid\n")
    assert "The IMAP server of asked.example [imap.asked.example]" in no.stdout
    assert no.returncode in (68, 77), no.stderr  # "invalid" is never a name (RFC 6761), and there is no password
    assert len(dns.asked) == before
    assert os.listdir(tmp_path) == []
