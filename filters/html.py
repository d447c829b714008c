"""HTML to the text a reader sees, the text it hides, and the links it carries. No script, style or picture is ever followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from filters.errors import InputError

#: Characters of one HTML part that are parsed.
HTML_CAP = 1_048_576
#: Tags of one part. Real mail has up to 1,500. Nested within one another they cost the parser the square of their number
#: (10,000 take 0.1 to 0.4 s, 100,000 a minute), and how deep they nest only a parser can tell.
TAG_CAP = 10_000
#: Signs between attributes in one tag; attributes are quadratic, too (20,000 take 0.5 s).
ATTRIBUTE_CAP = 4_000

#: By their first letters: of alternatives, which are tried one after the other for each tag, there are half as many.
_BLOCKS = (
    "a(?:ddress|rticle|side)|b(?:lockquote|r)|c(?:aption|enter)|d(?:[dlt]|etails|iv)|f(?:i(?:eldset|gcaption|gure)|o(?:oter|rm))|"
    "h(?:[1-6r]|eader)|li|main|nav|o(?:l|ption)|p(?:re)?|s(?:ection|ummary)|t(?:able|body|[dhr]|foot|head)|ul"
)
_BLOCK = re.compile(rf"(?i)<(?=/?(?:{_BLOCKS})\b)")
#: A parser must open these anew in each block that follows while they are not closed: 4,900 of them with as many paragraphs
#: (60 kB) take 13 s and a gigabyte. Under another name they are plain elements, and the text is the same.
_FORMATTING = re.compile(r"(?i)<(/?)(?:[isu]|b(?:ig)?|code|em|font|nobr|s(?:mall|tr(?:ike|ong))|tt)(?=[\s/>])")
_OPENING = re.compile(r"<[a-zA-Z]")
_SEPARATOR = re.compile(r"[\s/=]")

_UNSEEN = frozenset(["head", "title", "style", "script", "template", "iframe", "noframes", "noembed"])
_LOOKED_AT = ",".join([*sorted(_UNSEEN), "[hidden]"]) + "".join(
    f',[style*="{words}" i]' for words in ("display", "hidden", "opacity", "font-size:0", "font-size: 0")
)
_ZERO = re.compile(r"(?:0+(?:\.0*)?|\.0+)(?:px|pt|r?em|ex|%)?")


@dataclass(frozen=True, slots=True)
class Page:
    """What an HTML part shows (`text`), what it hides (`hidden`), and every link of both, in order, as written."""

    text: str
    hidden: str
    links: tuple[str, ...]


def read_page(html: str) -> Page:
    """Blocks, cells and <br> begin a line; inline tags and <wbr> leave no trace, so that a word cut by them is whole again.

    Raises InputError when tags or attributes would stall the parser.
    """
    html = html[:HTML_CAP].replace("\r", " ").replace("\n", " ").replace("\t", " ")
    _check_tangle(html)
    tree = LexborHTMLParser(_BLOCK.sub("\n<", _FORMATTING.sub(r"<\1inline-", html)))
    links = tuple(href for node in tree.css("a[href],area[href]") if (href := node.attributes.get("href")))
    hidden = _take_hidden(tree)
    return Page(tree.root.text() if tree.root else "", hidden, links)


def _check_tangle(html: str) -> None:
    if html.count("<") > TAG_CAP:
        raise InputError(f"an HTML part with more than {TAG_CAP:,} tags: kept unread")
    pieces = html.split(">")
    for piece in pieces if max(map(len, pieces)) > ATTRIBUTE_CAP else ():
        tag = _OPENING.search(piece) if len(piece) > ATTRIBUTE_CAP else None
        if tag and len(_SEPARATOR.findall(piece, tag.start())) > ATTRIBUTE_CAP:
            raise InputError(f"an HTML tag with more than {ATTRIBUTE_CAP:,} attributes: kept unread")


def _take_hidden(tree: LexborHTMLParser) -> str:
    """Take everything unseen out of the tree, and return the text of what a style hides.

    From the last to the first, so that nothing inside an element that is already gone is touched; the parser names an element
    once for each selector it fits.
    """
    hidden: list[str] = []
    nodes = {node.mem_id: node for node in tree.css(_LOOKED_AT)}
    for node in reversed(nodes.values()):
        tag = node.tag
        if tag in _UNSEEN:
            node.decompose()
            continue
        attributes = node.attributes
        look = _look(attributes.get("style") or "")
        if tag not in ("html", "body") and _hides(node, attributes, look):
            hidden.append(node.text())
            node.decompose()
        elif tag in ("a", "span") and look.get("display") in ("block", "table", "flex"):
            node.insert_before("\n")
            node.insert_after("\n")
    return "\n".join(reversed(hidden))


def _look(style: str) -> dict[str, str]:
    """A style attribute as declarations, lower case, without blanks and "!important"; the last of a name counts."""
    style = "".join(style.lower().replace("!important", "").split())
    return {name: value for name, _, value in (declaration.partition(":") for declaration in style.split(";"))}


def _hides(node: LexborNode, attributes: Mapping[str, str | None], look: dict[str, str]) -> bool:
    # "mso-hide" is left out on purpose: it hides from Outlook alone, and the usual buttons carry it
    if "hidden" in attributes or look.get("display") == "none" or look.get("visibility") in ("hidden", "collapse"):
        return True
    clipped = look.get("overflow") == "hidden"
    if _zero(look, "opacity") or (clipped and (_zero(look, "max-height") or _zero(look, "height"))):
        return True
    # layout frameworks set size 0 on a cell and the real size on what is in it
    return _zero(look, "font-size") and (clipped or len(node.css('[style*="font" i]')) <= 1)


def _zero(look: dict[str, str], name: str) -> bool:
    return name in look and _ZERO.fullmatch(look[name]) is not None
