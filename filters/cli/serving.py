"""The command that runs for as long as mail arrives: serve lmtp."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filters import senders
from filters.authenticity import parse_trust
from filters.cli.options import LogAddresses, LogFormat, Trust, begin, model_registry
from filters.errors import FiltersError, RefusedError, ServerError, UsageError
from filters.monitoring import write_metrics
from filters.serve.endpoints import Endpoint, parse_endpoint
from filters.serve.records import Records
from filters.serve.store import Seconds
from filters.systemd import notify

if TYPE_CHECKING:
    from filters.serve.lmtp import Proxy

serve_app = typer.Typer(help="Put the verdict into mail while it arrives.", no_args_is_help=True)
_METRICS_SECONDS = 15.0


def add_to(app: typer.Typer) -> None:
    """Register this family of commands."""
    serve_app.callback()(serve)
    serve_app.command()(lmtp)
    app.add_typer(serve_app, name="serve")


def serve() -> None:
    """Put the verdict into mail while it arrives."""


def lmtp(
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDRESS", help="unix:/path, or host:port of this machine.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="The store's LMTP: unix:/path, or host:port.")],
    trust: Trust = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Judge with this model. Default: the one in use.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that judge. Default: one a processor.")
    ] = 0,
    connections: Annotated[int, typer.Option("--connections", min=1, help="At most so many at the same time.")] = 100,
    store_seconds: Annotated[
        float | None,
        typer.Option(
            "--store-seconds",
            metavar="N",
            min=0.1,
            help="Wait so long for each answer of the store. Default: 60, and 300 after a message.",
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="HOST", help="How to call ourselves. Default: this host.")
    ] = "",
    socket_mode: Annotated[str, typer.Option("--socket-mode", metavar="OCTAL", help="Of the unix socket.")] = "0660",
    remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Other machines may be listened to, or be the store. LMTP has no login."),
    ] = False,
    log_format: LogFormat = "text",
    log_addresses: LogAddresses = False,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", metavar="FILE", help="Counts, for Prometheus' node exporter; every 15 s."),
    ] = None,
) -> None:
    """Stand between a mail server and its store: pass mail on by LMTP, with the verdict in a header. See the README."""
    log = begin("serve lmtp", log_format, log_addresses)
    here, there = parse_endpoint(listen), parse_endpoint(to)
    if not remote and not (here.is_local and there.is_local):
        raise UsageError(
            "LMTP knows no login: listen on loopback or a unix socket. --allow-remote, if your network sees to that."
        )
    setup = {
        "explain": False,
        "model": str(model or model_registry().active()),
        "trusted": [[one.id, one.placement] for one in map(parse_trust, trust or ())],
    }
    records = Records(_say, log)
    try:
        from filters.serve.judging import Judges  # noqa: PLC0415
        from filters.serve.lmtp import Proxy  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise RefusedError('`unpitch serve` needs aiosmtpd: pip install "unpitch[serve]"') from error
    senders.load()
    judges = Judges(setup, workers or os.cpu_count() or 1)
    try:
        proxy = Proxy(there, judges, records, name or socket.gethostname(), connections, _seconds(store_seconds))
        asyncio.run(_run(proxy, here, _mode(socket_mode), metrics))
    finally:
        judges.close()


def _seconds(most: float | None) -> Seconds:
    usual = Seconds()
    return Seconds(min(usual.connect, most), most, most) if most else usual


def _say(line: str) -> None:
    with suppress(OSError, ValueError):  # that nobody reads the log must not stop mail
        print(line, file=sys.stderr, flush=True)


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise UsageError("--socket-mode is octal, such as 0660.")
    return mode


async def _run(proxy: Proxy, here: Endpoint, mode: int, metrics: Path | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, asked.set)
    await proxy.judges.start()
    server = await _listening(proxy, here, mode)
    proxy.records.line("listening", address=str(here), store=str(proxy.store))
    notify("READY=1")
    while not asked.is_set():
        _write(proxy, metrics)
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), _METRICS_SECONDS if metrics else None)
    notify("STOPPING=1")
    server.close()
    if here.path:
        Path(here.path).unlink(missing_ok=True)
    await proxy.stop()
    _write(proxy, metrics)
    proxy.records.line("stopped")


def _write(proxy: Proxy, metrics: Path | None) -> None:
    if metrics:
        try:
            write_metrics(metrics, proxy.records.as_metrics())
        except FiltersError as error:
            proxy.records.trouble(str(error))


async def _listening(proxy: Proxy, here: Endpoint, mode: int) -> asyncio.Server:
    """Raises ServerError when the address is taken or not ours."""
    loop = asyncio.get_running_loop()
    try:
        if not here.path:
            return await loop.create_server(proxy.conversation, here.host, here.port)
        _clear(Path(here.path))
        before = os.umask(0o777 & ~mode)
        try:
            return await loop.create_unix_server(proxy.conversation, here.path)
        finally:
            os.umask(before)
    except OSError as error:
        why = (error.strerror or "unknown error").lower()
        raise ServerError(f"Nobody can listen on {here}: {why}. Give another address with --listen.", 69) from error


def _clear(path: Path) -> None:
    """Take away the socket that a killed service left. Raises ServerError when one is listening on it, or it is no socket."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ServerError(f"{path} is there already, and no socket. Give another path with --listen.", 69)
        with socket.socket(socket.AF_UNIX) as trying:
            try:
                trying.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        raise ServerError(f"Another service listens on {path}. Stop it, or give another path with --listen.", 69)
