"""Interactive pages: one run's circle or sphere, and several runs side by side with one camera.

A page is one file that opens without a network: assets/page.html, plotly.js, and the data as JSON
in which unit vectors are 16-bit integers (0.002 degrees), so that 10,000 points stay small.
"""

import base64
import html
import io
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from plotly.offline import get_plotlyjs

from arcmargin.errors import UserError
from arcmargin.metrics import geometry
from arcmargin.record import Embeddings, Record, Snapshots, write_whole
from arcmargin.report.drawing import class_colours

TEMPLATE = Path(__file__).parent / "assets" / "page.html"
CONTEXTS = {2: 2, 3: 1}  # WebGL contexts that a plot of so many dimensions takes
MOST_CONTEXTS = 14  # on a page: browsers keep about 16 alive
MOST_POINTS = 10_000  # of the test split; shared out between the plots of a comparison
MOST_REPLAYED = 200_000  # points x moments of a page
THUMBNAIL_SIDE = 48  # pixels
SPRITE_BYTES = 1_200_000
NOTES = {
    2: "Every dot is the direction of one test embedding. Its height above the circle only makes "
    "room: it follows the square root of its class's density there. A sector runs from the 5th to "
    "the 95th percentile of its class, its ray is the class centre (the mean direction). Between "
    "neighbouring sectors stands the measured gap, under a bracket as wide as the predicted one; "
    "red marks overlap. Black ticks on the circle: the header's class directions.",
    3: "Every dot is the direction of one test embedding. The ring around a class "
    "holds 90 % of it; a white diamond is the header's class direction.",
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
    """One run's circle (d = 2) or sphere (d = 3) as HTML; with snapshots, training's replay."""
    if embeddings.ndim != 2 or embeddings.shape[1] not in NOTES:
        raise UserError(
            f"an interactive page needs 2-D or 3-D embeddings, got shape {embeddings.shape}"
        )
    run = Run(record, Embeddings(embeddings, labels, centres), snapshots)
    return _page([run], [], record.name or record.header)


def comparison_page(runs: Sequence[Run], title: str = "Headers side by side") -> str:
    """Several runs of the same classes: one camera, one slider and one legend for all of them.

    The first seven circles or fourteen spheres are live plots; further runs, and those of more than
    three dimensions, are pictures that open their own page.
    """
    if not runs:
        raise UserError("a comparison page needs at least one run, got none")
    live: list[Run] = []
    rest: list[Run] = []
    contexts = 0
    for run in runs:
        needed = CONTEXTS.get(run.embeddings.embeddings.shape[1], MOST_CONTEXTS + 1)
        fits = contexts + needed <= MOST_CONTEXTS
        contexts += needed if fits else 0
        (live if fits else rest).append(run)
    return _page(live, rest, title)


def write_page(path: Path | str, page: str) -> Path:
    """Raises UserError when the file cannot be written."""
    return write_whole(Path(path), lambda file: file.write(page.encode()))


def _page(live: list[Run], rest: list[Run], title: str) -> str:
    runs = live + rest
    names = _shared_class_names(runs)
    sprites: list[dict[str, Any]] = []
    panels = [_panel(run, len(live), sprites) for run in live]
    shared = [
        part for part in _setting(runs[0].record) if all(part in _setting(r.record) for r in runs)
    ]
    notes = [NOTES[dim] for dim in sorted({panel["dim"] for panel in panels})]
    data = {
        "title": title,
        "subtitle": " · ".join(shared),
        "notes": " ".join(notes),
        "classes": names,
        "colors": class_colours(len(names)),
        "counts": np.bincount(runs[0].embeddings.labels, minlength=len(names)).tolist(),
        "panels": panels,
        "cards": [_about(run.record) | {"picture": run.picture, "href": run.page} for run in rest],
        "sprites": sprites,
    }
    parts = {
        "TITLE": html.escape(title),
        # No "</script>" can end the element early: "<" is written as an escape.
        "DATA": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        "PLOTLY": f"<script>{get_plotlyjs()}</script>" if panels else "",
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
            raise UserError(f"labels must be in 0..{count - 1}, got {labels.min()}..{labels.max()}")
    names = given.pop() if given else ()
    return [*names, *map(str, range(len(names), count))][:count]


def _panel(run: Run, live: int, sprites: list[dict[str, Any]]) -> dict[str, Any]:
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
        "final": _sample(
            [], whole.embeddings[None, rows], whole.labels[rows], whole.centres[None], images
        ),
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
        "labels": _pack(labels, "<i4"),
        "centres": [_pack_unit(moment) for moment in centres],
        "images": None if images is None else _pack(images, "<i4"),
    }


def _pack(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


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
    position = {
        row.tobytes(): i for i, row in enumerate(np.round(snapshots.embeddings[-1], 3) + 0.0)
    }
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
        picture.save(file, kind, quality=quality)
        if file.tell() <= SPRITE_BYTES:
            break
    uri = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"uri": uri, "width": width, "height": height, "columns": columns}


def _track(record: Record, snapshots: Snapshots) -> dict[str, Any] | None:
    """How the margin opened: the mean gap in 2-D, the decision margin's 5th percentile in 3-D."""
    flat = snapshots.embeddings.shape[2] == 2
    metric = "gap_mean_deg" if flat else "margin_p05_deg"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # an untrained network may leave embeddings without direction
        values = [geometry.measure(e, snapshots.labels)[metric] for e in snapshots.embeddings]
    known = [
        (int(e), round(v, 3))
        for e, v in zip(snapshots.epochs, values, strict=True)
        if v is not None
    ]
    if len(known) < 2:
        return None
    return {
        "name": "mean gap" if flat else "margin that 95 % of samples exceed:",
        "epochs": [epoch for epoch, _ in known],
        "values": [value for _, value in known],
        "predicted": record.metrics.get("gap_predicted_deg") if flat else None,
    }


def _setting(record: Record) -> list[str]:
    """What was run, in words."""
    margins = {
        "m1": (record.m1, 1.0, ""),
        "m2": (record.m2, 0.0, " rad"),
        "m3": (record.m3, 0.0, ""),
    }
    acting = [
        f"{m} = {value:g}{unit}"
        for m, (value, neutral, unit) in margins.items()
        if value != neutral
    ]
    parts = [
        f"{record.dataset} test split",
        f"{record.embedding_dim}-D",
        record.backbone,
        record.optimizer,
        record.epochs and f"{record.epochs} epochs",
        "no scale" if record.s is None else f"s = {record.s:g}",
        ", ".join(acting) or "no margin",
        None if record.seed is None else f"seed {record.seed}",
    ]
    return [part for part in parts if part]


def _about(record: Record) -> dict[str, Any]:
    """A run's name, scale, margins and results."""
    values = {name: value for name, value in record.metrics.items() if value is not None}
    facts = []
    if "accuracy" in values:
        facts.append(("accuracy", f"{100 * values['accuracy']:.2f} %"))
    if "gap_mean_deg" in values:
        facts.append(("mean gap", _degrees(values["gap_mean_deg"])))
        if "gap_predicted_deg" in values:
            facts.append(("predicted gap", _degrees(values["gap_predicted_deg"])))
    elif "centre_angle_min_deg" in values:
        facts.append(("nearest two centres", _degrees(values["centre_angle_min_deg"])))
    if "intra_angle_p50_deg" in values:
        facts.append(("median to centre", _degrees(values["intra_angle_p50_deg"])))
    return {
        "name": record.name or record.header,
        "setting": " · ".join(
            _setting(record)[-3:] if record.seed is not None else _setting(record)[-2:]
        ),
        "facts": facts,
    }


def _degrees(value: float) -> str:
    return f"{value:.1f}°".replace("-", "−")
