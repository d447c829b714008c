"""What can go wrong in a way that a user can do something about, and the exit code that says so.

A message has two halves: what happened (to which message or folder), and what to do next. No traceback is ever shown for
one of these. The codes are those of sysexits.h, so that cron, systemd and shell scripts can tell the cases apart.
"""

from __future__ import annotations

#: The one table of exit codes. The README prints it; a test compares the two.
EXIT_CODES: dict[int, str] = {
    0: "done; messages that could not be read are counted and named in the output",
    2: "the command line or the configuration is wrong",
    65: "the input is no mail, or a data or journal file is damaged",
    66: "a file or folder does not exist or cannot be read",
    68: "the host name is unknown",
    69: "the server cannot be reached, does not allow it, or lacks what is needed (MOVE or UIDPLUS)",
    70: "a defect in unpitch",
    73: "the target folder cannot be created or used, or the mailbox is full",
    74: "writing failed: disk full, the state folder is read-only, or a report is there already",
    75: "another run is busy with this account, or the server wants a pause or its limit of a day is used up; try again later",
    76: "the server answered something that cannot be understood, or broke off",
    77: "login refused, or the certificate is not trusted",
    78: "a limit stopped moves, or a new model is kept but not in use; the output says why, and how to lift it",
    130: "stopped by Ctrl-C; what was moved so far is in the journal, an unfinished model is not kept",
    143: "stopped by SIGTERM; what was moved so far is in the journal, an unfinished model is not kept",
}
#: Those that a person has to do something about, so that to begin again would not help.
LASTING = (2, 65, 66, 69, 73, 77)


class FiltersError(Exception):
    """Anything a user can cause or cure. `str(error)` says what happened and what to do next."""

    exit_code = 70


class InputError(FiltersError):
    """Not mail, or damaged data."""

    exit_code = 65


class NotFoundError(FiltersError):
    """A path, folder, message or run that is not there, or cannot be read."""

    exit_code = 66


class ServerError(FiltersError):
    """The server cannot be reached, broke off, or answered nonsense."""

    exit_code = 76

    def __init__(self, message: str, exit_code: int = 76) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class TransientError(ServerError):
    """The connection is lost, or the server is busy: to look again after a while may help. `wait` is how many seconds the server
    asked for, 0 when it named none."""

    def __init__(self, message: str, exit_code: int = 76, *, wait: float = 0.0) -> None:
        super().__init__(message, exit_code)
        self.wait = wait


class QuotaError(ServerError):
    """The mailbox is full. Nothing was deleted."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 73)


class RefusedError(FiltersError):
    """The server or we ourselves refuse: no MOVE, read-only source, command not allowed in a dry run."""

    exit_code = 69


class LoginError(FiltersError):
    """Wrong password, or a certificate that is not trusted."""

    exit_code = 77


class CertificateError(LoginError):
    """The certificate is not trusted, or not yet, or no longer. No password was sent."""


class WriteError(FiltersError):
    """The journal or a report could not be written; nothing was sent to the server after that."""

    exit_code = 74


class BusyError(FiltersError):
    """Another run holds the account."""

    exit_code = 75


class TargetError(FiltersError):
    """The target folder cannot be created or used."""

    exit_code = 73


class LimitError(FiltersError):
    """A limit on what one run may move stopped moves that nobody could be asked about; or a new model did not pass the gate."""

    exit_code = 78


class TargetGoneError(TargetError):
    """The target folder was there a moment ago; it can be made again."""


class UsageError(FiltersError):
    """The command line, a location in it, or the configuration is wrong."""

    exit_code = 2
