"""What was found, for people and for programs: text, a page to look at, and records; and the way to opt out."""

from filters.report.anonymous import without_names
from filters.report.audit import Audit, Figures
from filters.report.console import say, table_for
from filters.report.explaining import explain_text, redacted_text
from filters.report.records import LINES, audit_json, finding_json
from filters.report.routes import opt_out_json, opt_out_markdown, opt_out_text, pages, route_json, routes
from filters.report.text import audit_text, headline, promotional_list

__all__ = [
    "LINES",
    "Audit",
    "Figures",
    "audit_json",
    "audit_text",
    "explain_text",
    "finding_json",
    "headline",
    "opt_out_json",
    "opt_out_markdown",
    "opt_out_text",
    "pages",
    "promotional_list",
    "redacted_text",
    "route_json",
    "routes",
    "say",
    "table_for",
    "without_names",
]
