"""Records to one HTML file: no network, no second file, every model's text escaped.

Jinja escapes by default; what the inspector's script reads is JSON in which <, > and & are written as \\u
escapes, so that no response can end the script element; and a content security policy allows this page's own
script alone, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from amenable.evals.report import views
from amenable.evals.report.records import Report, TokenTrace


def write_report(folder: Path | str, report: Report) -> Path:
    """Write report.html and report.json into `folder`, each whole or not at all. Returns the path of report.html."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = render(report)
    summary = json.dumps(report.summary(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _write_whole(folder / "report.json", summary)
    _write_whole(folder / "report.html", page)
    return folder / "report.html"


def render(report: Report) -> str:
    """The page as text."""
    environment = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(views.FILTERS)
    script = _source("inspector.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        report=report,
        style=Markup(_source("style.css")),
        script=Markup(script),
        script_hash=digest,
        traces_json=script_json([_trace(t) for t in report.traces]),
        view=views.of(report),
    )


def script_json(value: Any) -> Markup:
    """JSON that is safe inside a script element: no text can close the element or open a comment.

    >>> print(script_json({"text": "</script><!-- &"}))
    {"text": "\\u003c/script\\u003e\\u003c!-- \\u0026"}
    """
    text = json.dumps(value, allow_nan=False)  # ASCII only, so U+2028 and U+2029 are escaped too
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _trace(trace: TokenTrace) -> dict[str, Any]:
    columns: dict[str, Sequence[float | None] | None] = {
        "logprobs": trace.logprobs,
        "ref_logprobs": trace.ref_logprobs,
        "kl": trace.kl,
        "values": trace.values,
        "rewards": trace.rewards,
        "advantages": trace.advantages,
    }
    return {
        "title": trace.title,
        "prompt": trace.prompt,
        "tokens": list(trace.tokens),
        "score": trace.score,
        "finished": trace.finished,
        "columns": {name: _finite(column) for name, column in columns.items() if column is not None},
    }


def _finite(column: Sequence[float | None]) -> list[float | None]:
    """Six decimals are plenty to look at; what is not finite becomes null, which the page shows as a dash."""
    return [round(x, 6) if x is not None and math.isfinite(x) else None for x in column]


def _source(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _write_whole(path: Path, text: str) -> None:
    """Into a file beside it, then renamed: a reader never sees half a report."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
