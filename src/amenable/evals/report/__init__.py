"""report.html: one self-contained page of what was measured, and report.json beside it."""

from amenable.evals.report.page import render, write_report
from amenable.evals.report.records import (
    CurveGroup,
    DataSource,
    Highlight,
    LadderRow,
    ModelTexts,
    Report,
    Response,
    SampleSet,
    TokenTrace,
)

__all__ = [
    "CurveGroup",
    "DataSource",
    "Highlight",
    "LadderRow",
    "ModelTexts",
    "Report",
    "Response",
    "SampleSet",
    "TokenTrace",
    "render",
    "write_report",
]
