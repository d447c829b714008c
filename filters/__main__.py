"""`python -m filters` is `unpitch`."""

from filters.cli import main

main()
