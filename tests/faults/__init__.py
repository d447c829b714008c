"""Proof by breaking: servers, a proxy that cuts, a neighbour that meddles, and a checker that counts what was lost."""

import os

#: CI tries a part of some sweeps, evenly spread. With UNPITCH_WHOLE=1, as before a release, all of them are tried.
WHOLE = bool(os.environ.get("UNPITCH_WHOLE"))
