"""What is different where folders are labels: Gmail, and whatever else offers X-GM-EXT-1.

Sources: Google's page "IMAP Extensions" (developers.google.com/gmail/imap/imap-extensions) for the capability, the identity
X-GM-MSGID and the marks of special folders in every LIST; section 4 of the project's notes on servers for names and for what MOVE,
COPY and EXPUNGE do. None of it was tried on a live account.

* A message lies in any number of folders, in each at most once, and in "All Mail" besides. COPY puts one label more on it, MOVE
  takes one off as well. So nothing is ever there twice, and a move that broke off can be begun again.
* What EXPUNGE does is a setting of the account: take the label off, move to the trash, or delete. It is never sent there.
"""

from __future__ import annotations

from collections.abc import Collection

#: Folders below these are Gmail's own, and are no labels; which is which, their marks tell in any language, but for the chats.
_OWN = ("[gmail]/", "[google mail]/")


def has_labels(capabilities: Collection[str]) -> bool:
    """Whether folders are labels."""
    return "X-GM-EXT-1" in capabilities


def is_own(raw: str) -> bool:
    """Whether a folder is Gmail's own. Its delimiter is always "/"."""
    return raw.lower().startswith(_OWN)


def unfit(name: str) -> str:
    """Why a label cannot be called so, in words; "" where it can."""
    if is_own(name):
        return "what lies there is Gmail's own"
    if "^" in name:
        return "Gmail takes no ^ in the name of a label"
    if any(part != part.strip() or "  " in part for part in name.split("/")):
        return "Gmail takes no blanks before or after the name of a label, and no two together"
    return ""
