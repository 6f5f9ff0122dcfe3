"""Interactive pages: one run's circle or sphere, and several runs side by side with one camera.

A page is one file that opens without a network: assets/page.html, plotly.js, and the data as JSON in
which unit vectors are 16-bit integers (0.002 degrees), so that 10,000 points stay small.
"""

import base64
import html
import io
import json
import re
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from plotly.offline import get_plotlyjs

from arcmargin import geometry
from arcmargin.drawing import class_colours
from arcmargin.errors import UserError
from arcmargin.record import Embeddings, Record, Snapshots

TEMPLATE = Path(__file__).parent / "assets" / "page.html"
MOST_LIVE = 12  # plots on a page: browsers keep about 16 WebGL contexts alive
MOST_POINTS = 10_000  # of the test split; shared out between the plots of a comparison
MOST_REPLAYED = 200_000  # points x moments of a page
THUMBNAIL_SIDE = 48  # pixels
SPRITE_BYTES = 1_200_000
NOTES = {
    2: "Every dot is the direction of one test embedding. Its height above the circle only makes room: "
    "it follows the square root of its class's density there. A sector runs from the 5th to the 95th "
    "percentile of its class, its ray is the class centre (the mean direction); between neighbouring "
    "sectors stands the measured gap, under a bracket as wide as the predicted one; red: overlap. "
    "Black ticks on the circle: the header's class directions. Drag moves, scrolling zooms.",
    3: "Every dot is the direction of one test embedding; what lies behind the globe is paler. "
    "The ring around a class holds 95 % of it; a black cross is the header's class direction. "
    "Drag turns, scrolling zooms.",
}


class Run(NamedTuple):
    """One run of a comparison. The addresses are relative links or data URIs."""

    record: Record
    embeddings: Embeddings
    snapshots: Snapshots | None = None
    picture: str | None = None  # embedding.png, shown where the run gets no live plot
    page: str | None = None  # embedding.html, which that picture opens


def embedding_page(
    record: Record,
    embeddings: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    centres: Float[np.ndarray, "c d"],
    snapshots: Snapshots | None = None,
) -> str:
    """One run's circle (d = 2) or sphere (d = 3), as HTML; with snapshots, the replay of training."""
    run = Run(record, Embeddings(embeddings, labels, centres), snapshots)
    if embeddings.shape[1] not in NOTES:
        raise UserError(
            f"an interactive page needs 2-D or 3-D embeddings, got {embeddings.shape[1]}-D"
        )
    return _page([run], [], record.name or record.header, _setting(record))


def comparison_page(runs: Sequence[Run], title: str = "Headers side by side") -> str:
    """Several runs of the same classes: linked rotation, slider and legend. At most MOST_LIVE of them
    are live; the others, and those of more than three dimensions, are pictures that open their page."""
    if not runs:
        raise UserError("a comparison page needs at least one run, got none")
    live = [run for run in runs if run.embeddings.embeddings.shape[1] in NOTES][:MOST_LIVE]
    rest = [run for run in runs if not any(run is chosen for chosen in live)]
    settings = list(dict.fromkeys(_setting(run.record) for run in runs))
    return _page(live, rest, title, settings[0] if len(settings) == 1 else "")


def write_page(path: Path | str, page: str) -> Path:
    """Raises UserError when the file cannot be written."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error
    return path


def _page(live: list[Run], rest: list[Run], title: str, subtitle: str) -> str:
    names = _shared_class_names(live + rest)
    sprites: list[dict[str, Any]] = []
    panels = [_panel(run, len(names), len(live), sprites) for run in live]
    stops = {epoch for panel in panels if panel["replay"] for epoch in panel["replay"]["epochs"]}
    tracks = [panel["track"] for panel in panels if panel["track"]]
    heights = [v for t in tracks for v in (*t["values"], t["predicted"] or 0.0)] or [0.0]
    data = {
        "title": title,
        "subtitle": subtitle,
        "notes": " ".join(NOTES[dim] for dim in sorted({panel["dim"] for panel in panels})),
        "classes": names,
        "short": [textwrap.shorten(name, 14, placeholder="…") or name[:13] + "…" for name in names],
        "colors": class_colours(len(names)),
        "counts": np.bincount(live[0].embeddings.labels, minlength=len(names)).tolist() if live else [],
        "panels": panels,
        "cards": [_about(run.record) | {"picture": run.picture, "href": run.page} for run in rest],
        "sprites": sprites,
        "stops": sorted(stops),
        # Before training the classes overlap by far more than any margin: cut that off.
        "limits": [max(min(0.0, *heights), -max(heights)), max(heights)],
    }
    parts = {
        "TITLE": html.escape(title),
        # No "</script>" can end the element early: "<" is written as an escape.
        "DATA": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        "PLOTLY": f"<script>{get_plotlyjs()}</script>",
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    return re.sub("__(TITLE|DATA|PLOTLY)__", lambda match: parts[match[1]], template)


def _shared_class_names(runs: list[Run]) -> list[str]:
    """The legend's names; checks that every run fits them."""
    counts = {len(run.embeddings.centres) for run in runs}
    given = {tuple(run.record.class_names) for run in runs if run.record.class_names}
    if len(counts) > 1 or len(given) > 1:
        raise UserError(
            "the runs of one comparison page must have the same classes; "
            f"got class counts {sorted(counts)}: make one page for each data set"
        )
    count = counts.pop()
    for run in runs:
        embeddings, labels, centres = run.embeddings
        if labels.shape != embeddings.shape[:1] or centres.shape[1:] != embeddings.shape[1:]:
            raise UserError(
                "expected embeddings (N, D), labels (N,) and centres (C, D), "
                f"got {embeddings.shape}, {labels.shape} and {centres.shape}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            raise UserError(
                f"labels must be in 0..{count - 1}, got {labels.min()}..{labels.max()}"
            )
    names = given.pop() if given else ()
    return [*names, *map(str, range(len(names), count))][:count]


def _panel(run: Run, classes: int, live: int, sprites: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page needs for one live plot; appends to `sprites` what is not among them yet."""
    whole, snapshots = run.embeddings, run.snapshots
    rows = _choose(len(whole.labels), MOST_POINTS if live == 1 else 2 * MOST_POINTS // live)
    images, sprite = None, None
    if snapshots is not None and snapshots.thumbnails is not None:
        made = _sprite(snapshots.thumbnails)
        if made not in sprites:
            sprites.append(made)
        sprite = sprites.index(made)
        images = _sampled_at(whole, snapshots)[rows]
    return _about(run.record) | {
        "dim": whole.embeddings.shape[1],
        "total": len(whole.labels),
        "final": _sample([], whole.embeddings[None, rows], whole.labels[rows], whole.centres[None], images),
        "replay": None if snapshots is None else _replay(snapshots, live),
        "track": None if snapshots is None else _track(run.record, snapshots),
        "predicted": run.record.metrics.get("gap_predicted_deg"),
        "sprite": sprite,
    }


def _replay(snapshots: Snapshots, live: int) -> dict[str, Any]:
    rows = _choose(len(snapshots.labels), MOST_REPLAYED // live // max(1, len(snapshots.epochs)))
    images = None if snapshots.thumbnails is None else rows
    return _sample(
        snapshots.epochs.tolist(),
        snapshots.embeddings[:, rows],
        snapshots.labels[rows],
        snapshots.centres,
        images,
    )


def _sample(
    epochs: list[int],
    points: Float[np.ndarray, "e n d"],
    labels: Int[np.ndarray, "n"],
    centres: Float[np.ndarray, "e c d"],
    images: Int[np.ndarray, "n"] | None,
) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "points": [_pack_unit(moment) for moment in points],
        "labels": _pack(labels, "<u2"),
        "centres": [_pack_unit(moment) for moment in centres],
        "images": None if images is None else _pack(images, "<i2"),
    }


def _pack(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind)).decode()


def _pack_unit(vectors: Float[np.ndarray, "n d"]) -> str:
    """Directions only; zero where there is none, which the page leaves out."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 0)
    unit = np.divide(vectors, norms, out=np.zeros_like(norms * vectors), where=usable)
    return _pack(np.round(unit * 32767), "<i2")


def _choose(total: int, most: int) -> Int[np.ndarray, "n"]:
    """All rows, or a bounded sample: the same rows every time."""
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, most, replace=False))


def _sampled_at(whole: Embeddings, snapshots: Snapshots) -> Int[np.ndarray, "n"]:
    """For every row of the test split its row among the snapshots, or -1.

    Snapshots do not say which rows they sampled, but their last moment holds the same embeddings;
    when it does not (another checkpoint was embedded), no row is claimed.
    """
    position = {row.tobytes(): i for i, row in enumerate(np.round(snapshots.embeddings[-1], 3) + 0.0)}
    rows = np.round(whole.embeddings.astype(snapshots.embeddings.dtype), 3) + 0.0
    found = np.array([position.get(row.tobytes(), -1) for row in rows], dtype=np.int64)
    return np.where((found >= 0) & (snapshots.labels[found] == whole.labels), found, -1)


def _sprite(thumbnails: UInt8[np.ndarray, "n h w ..."]) -> dict[str, Any]:
    """All thumbnails in one picture, row by row: PNG, or JPEG where that would be too large."""
    count, height, width = thumbnails.shape[:3]
    shrink = max(1, -(-max(height, width) // THUMBNAIL_SIDE))
    small = thumbnails[:, ::shrink, ::shrink]
    height, width = small.shape[1:3]
    columns = int(np.ceil(np.sqrt(count)))
    sheet = np.zeros((columns * columns, *small.shape[1:]), np.uint8)
    sheet[:count] = small
    sheet = sheet.reshape(columns, columns, *small.shape[1:]).swapaxes(1, 2)
    picture = Image.fromarray(sheet.reshape(columns * height, columns * width, *small.shape[3:]))
    for kind, quality in (("PNG", 0), ("JPEG", 80), ("JPEG", 40)):
        file = io.BytesIO()
        picture.save(file, kind, quality=quality, optimize=True)
        if file.tell() <= SPRITE_BYTES:
            break
    uri = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"uri": uri, "width": width, "height": height, "columns": columns}


def _track(record: Record, snapshots: Snapshots) -> dict[str, Any] | None:
    """The margin through the epochs: the mean gap in 2-D, else the decision margin's 5th percentile."""
    flat = snapshots.embeddings.shape[2] == 2
    metric = "gap_mean_deg" if flat else "margin_p05_deg"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an untrained network may leave embeddings without direction
        values = [geometry.measure(e, snapshots.labels)[metric] for e in snapshots.embeddings]
    known = [(int(e), round(v, 3)) for e, v in zip(snapshots.epochs, values, strict=True) if v is not None]
    if len(known) < 2:
        return None
    return {
        "name": "mean gap" if flat else "margin that 95 % of samples exceed:",
        "epochs": [epoch for epoch, _ in known],
        "values": [value for _, value in known],
        "predicted": record.metrics.get("gap_predicted_deg") if flat else None,
    }


def _setting(record: Record) -> str:
    parts = [f"{record.dataset} test split", f"{record.embedding_dim}-D", record.backbone, record.optimizer]
    parts.append(f"{record.epochs} epochs" if record.epochs else None)
    parts.append(f"seed {record.seed}" if record.seed is not None else None)
    return " · ".join(part for part in parts if part)


def _about(record: Record) -> dict[str, Any]:
    """A run's name, margins and results in words."""
    margins = [
        f"{name} = {value:g}{unit}"
        for name, value, neutral, unit in (
            ("m1", record.m1, 1.0, ""),
            ("m2", record.m2, 0.0, " rad"),
            ("m3", record.m3, 0.0, ""),
        )
        if value != neutral
    ]
    scale = "no scale" if record.s is None else f"s = {record.s:g}"
    metrics = {name: value for name, value in record.metrics.items() if value is not None}
    facts = []
    if "accuracy" in metrics:
        facts.append(("accuracy", f"{100 * metrics['accuracy']:.2f} %"))
    if "gap_mean_deg" in metrics:
        predicted = metrics.get("gap_predicted_deg")
        beside = f", predicted {predicted:.1f}°" if predicted is not None else ""
        facts.append(("mean gap", f"{metrics['gap_mean_deg']:.1f}°{beside}"))
    elif "centre_angle_min_deg" in metrics:
        facts.append(("nearest centres", f"{metrics['centre_angle_min_deg']:.1f}° apart"))
    if "intra_angle_p50_deg" in metrics:
        facts.append(("median angle to centre", f"{metrics['intra_angle_p50_deg']:.1f}°"))
    return {
        "name": record.name or record.header,
        "formula": ", ".join([scale, *(margins or ["no margin"])]),
        "facts": facts,
    }
