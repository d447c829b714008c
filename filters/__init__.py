"""unpitch: finds LinkedIn's mail in a mailbox and moves its advertising to a folder."""

__version__ = "0.1.0"
