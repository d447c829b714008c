"""`unpitch`, which is `python -m filters`."""

import signal


def main() -> None:
    """The command. Until its modules are read, Ctrl-C just ends the process: nothing has begun that would have to be said."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from filters.cli import main as command  # noqa: PLC0415

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
