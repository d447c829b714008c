"""What was found, for people and for programs: text, a page to look at, and records; and the way to opt out."""

from filters.report.anonymous import without_names
from filters.report.audit import Audit, Figures
from filters.report.console import say, table_for
from filters.report.explaining import explain_text
from filters.report.records import audit_json, finding_json, route_json
from filters.report.routes import opt_out_text, routes
from filters.report.text import audit_text, headline, promotional_list

__all__ = [
    "Audit",
    "Figures",
    "audit_json",
    "audit_text",
    "explain_text",
    "finding_json",
    "headline",
    "opt_out_text",
    "promotional_list",
    "route_json",
    "routes",
    "say",
    "table_for",
    "without_names",
]
