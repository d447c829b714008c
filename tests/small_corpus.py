"""A part of the shipped corpus, for tests that are about what becomes of a corpus and not about how good it is: training on all of
it takes most of a minute."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
#: One mail of so many of each category.
_EVERY = 5


def lay_out(folder: Path) -> Path:
    """As the shipped one lies, in links. Gives the folder."""
    for category in sorted(path for path in (ROOT / "corpus" / "linkedin").iterdir() if path.is_dir()):
        (folder / "linkedin" / category.name).mkdir(parents=True)
        for mail in sorted(category.glob("*.eml"))[::_EVERY]:
            (folder / "linkedin" / category.name / mail.name).symlink_to(mail)
    return folder


def installed_with(folder: Path) -> dict[str, str]:
    """unpitch with that as its corpus, for what it learns from; as environment variables of a Python."""
    lay_out(folder / "corpus")
    for name in ("filters", "models"):
        (folder / name).symlink_to(ROOT / name)
    # nothing is written into the folder of this checkout, to which the links lead
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
