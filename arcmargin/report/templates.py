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

_INK, _GRID = "#7f8794", "rgba(128,136,148,0.3)"
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


def figure_div(figure: go.Figure, height: str) -> Markup:
    """A Plotly figure on the page's own paper, light or dark: it is transparent, and its ink lies
    between the two."""
    axis = {"gridcolor": _GRID, "zerolinecolor": _GRID, "linecolor": _GRID}
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "sans-serif", "color": _INK},
        width=None,  # the page's
        margin={"t": 30, "b": 50},
    )
    figure.update_xaxes(**axis).update_yaxes(**axis)
    shown = {"displaylogo": False, "displayModeBar": False}
    return Markup(
        figure.to_html(full_html=False, include_plotlyjs=False, default_height=height, config=shown)
    )


def self_contained(page: str) -> str:
    """A page that needs no PLOTLY_FILE beside it."""
    return page.replace(str(plotly_tag(PLOTLY_FILE)), str(plotly_tag(None)))


def script_json(data: Any) -> Markup:
    """Data for a script element: no "</script>" can end it early, as "<" is written as an escape."""
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
