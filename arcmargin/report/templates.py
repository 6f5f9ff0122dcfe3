"""What the pages are made of: templates, styles and scripts beside this file, filled in by Jinja2."""

import json
import math
import os
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from arcmargin.files import write_atomically

FOLDER = Path(__file__).parent / "assets"
PLOTLY_FILE = "plotly.min.js"  # shared by the pages of a folder: 5 MB


def render(template: str, **values: Any) -> str:
    """A page from assets/; text is escaped, as is all that a template shows."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """A style or a script, to be written into a page as it is."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def plotly_source() -> str:
    """plotly.js, for PLOTLY_FILE."""
    return get_plotlyjs()


def share_plotly(group: Path, folder: Path) -> str:
    """Writes plotly.js into the group's folder unless it is there; its address from `folder`. Two runs
    that end at once write the same file."""
    path = group / PLOTLY_FILE
    if not path.exists():
        write_atomically(path, lambda file: file.write(plotly_source().encode()))
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def plotly_tag(address: str | None) -> Markup:
    """The element that loads plotly.js from an address, or holds it."""
    if address is None:
        return Markup(f"<script>{plotly_source()}</script>")
    return Markup('<script src="{}"></script>').format(address)


def prose_page(template: str, plotly: str | None, **values: Any) -> str:
    """A page that extends prose.html: text, tables and plots. `plotly`: as of `plotly_tag`."""
    style, script = asset("prose.css"), asset("plots.js")
    return render(template, style=style, script=script, plotly=plotly_tag(plotly), **values)


def self_contained(page: str) -> str:
    """A page that needs no PLOTLY_FILE beside it."""
    return page.replace(str(plotly_tag(PLOTLY_FILE)), str(plotly_tag(None)))


def script_json(data: Any) -> Markup:
    """Data for a script element: no "</script>" can end it early, as "<" is written as an escape."""
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError:  # NaN or infinity somewhere
        text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def figure_json(figure: go.Figure) -> str:
    """A figure for plots.js, which gives it the page's colours."""
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    plain = go.Figure(figure).update_layout(template=None, title=None, legend=legend)
    plain.update_xaxes(dtick="D2", minorloglabels="complete", selector={"type": "log"})
    return plain.update_xaxes(automargin=True).update_yaxes(automargin=True).to_json()


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
