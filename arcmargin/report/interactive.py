"""Interactive pages: one run's circle or sphere, and several runs side by side with one camera.

A page opens from a file, without a network: assets/embedding.html, plotly.js, and the data as JSON in
which unit vectors are 16-bit integers (0.002 degrees), so that 10,000 points stay small.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from arcmargin.errors import UserError
from arcmargin.files import write_atomically
from arcmargin.metrics import geometry
from arcmargin.metrics.directions import directions
from arcmargin.metrics.table import PREDICTED, metric
from arcmargin.record import NO_MARGIN, Embeddings, Result, Snapshots
from arcmargin.report.drawing import density_at, with_direction
from arcmargin.report.labels import words
from arcmargin.report.style import class_colours
from arcmargin.report.templates import asset, plotly_tag, render, script_json

CONTEXTS = {2: 2, 3: 1}  # WebGL contexts that a plot of so many dimensions takes
MOST_CONTEXTS = 14  # on a page: browsers keep about 16 alive
COMPARED = "compare"  # the folder with the data of runs to compare
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

    result: Result
    embeddings: Embeddings
    snapshots: Snapshots | None = None
    picture: str | None = None  # embedding.png, shown where the run gets no live plot
    page: str | None = None  # embedding.html, which that picture opens


def embedding_page(
    result: Result,
    embeddings: Embeddings,
    snapshots: Snapshots | None = None,
    plotly: str | None = None,
) -> str:
    """One run's circle (2-D) or sphere (3-D) as HTML; with snapshots, training's replay. `plotly` is
    the address of plotly.js for the pages of several runs; without it the page holds its own."""
    if embeddings.embeddings.ndim != 2 or embeddings.embeddings.shape[1] not in NOTES:
        raise UserError(
            "an interactive page needs 2-D or 3-D embeddings, got shape "
            f"{embeddings.embeddings.shape}"
        )
    run = Run(result, embeddings, snapshots)
    sprites: list[dict[str, Any]] = []
    panel = _panel(run, MOST_POINTS, MOST_REPLAYED, sprites)
    return _page(result.settings.name, [run], [_about(run) | {"panel": panel}], sprites, plotly)


def comparison(
    runs: Sequence[Run],
    shown: Sequence[int] | None = None,
    title: str = "Headers side by side",
    plotly: str | None = None,
    back: str | None = None,
) -> dict[str, str]:
    """Files: compare.html, in which several runs of the same classes have one camera, one slider and
    one legend, and the data of those runs that it does not hold itself.

    It shows the runs of `shown` (default: all), or others of them: compare.html#runs=0,4. The first
    seven circles or fourteen spheres are live plots; further runs, and those of more than three
    dimensions, are pictures that open their own page.
    """
    if not runs:
        raise UserError("a comparison page needs at least one run, got none")
    shown = range(len(runs)) if shown is None else shown
    most = [MOST_CONTEXTS // CONTEXTS[dim] for dim in map(_dim, runs) if dim in CONTEXTS]
    live = max(1, min([len(runs), *most]))
    at_once, contexts = set(), 0
    for index in shown:
        needed = CONTEXTS.get(_dim(runs[index]), MOST_CONTEXTS + 1)
        if contexts + needed <= MOST_CONTEXTS:
            contexts += needed
            at_once.add(index)
    sprites: list[dict[str, Any]] = []
    about, files = [], {}
    for index, run in enumerate(runs):
        about.append(_about(run))
        if _dim(run) not in CONTEXTS:
            continue
        panel = _panel(run, 2 * MOST_POINTS // live, MOST_REPLAYED // live, sprites)
        if index in at_once:
            about[-1]["panel"] = panel
        else:
            about[-1]["file"] = name = f"{COMPARED}/{index}.js"
            files[name] = f"arrived({index}, {script_json(panel)});\n"
    page = _page(title, runs, about, sprites, plotly, shown=list(shown), back=back)
    return {"compare.html": page, **files}


def write_page(path: Path | str, page: str) -> Path:
    """Raises UserError when the file cannot be written."""
    return write_atomically(Path(path), lambda file: file.write(page.encode()))


def _dim(run: Run) -> int:
    return run.embeddings.embeddings.shape[1]


def _page(
    title: str,
    runs: Sequence[Run],
    about: list[dict[str, Any]],
    sprites: list[dict[str, Any]],
    plotly: str | None,
    shown: Sequence[int] = (0,),
    back: str | None = None,
) -> str:
    names = _shared_class_names(runs)
    settings = [_setting(run.result) for run in runs]
    shared = [part for part in settings[0] if all(part in one for one in settings)]
    data = {
        "title": title,
        "subtitle": " · ".join(shared),
        "notes": " ".join(NOTES[dim] for dim in sorted({*map(_dim, runs)} & NOTES.keys())),
        "classes": names,
        "colors": class_colours(len(names)),
        "counts": np.bincount(runs[0].embeddings.labels, minlength=len(names)).tolist(),
        "runs": about,
        "shown": list(shown),
        "sprites": sprites,
        "contexts": CONTEXTS,
        "most_contexts": MOST_CONTEXTS,
        "back": back,
    }
    turning = any(_dim(run) in NOTES for run in runs)
    return render(
        "embedding.html",
        title=title,
        style=asset("embedding.css"),
        data=script_json(data),
        plotly=plotly_tag(plotly) if turning else "",
        script=asset("embedding.js"),
    )


def _shared_class_names(runs: Sequence[Run]) -> list[str]:
    """The legend's names; checks that every run fits them."""
    counts = {len(run.embeddings.centres) for run in runs}
    given = {
        tuple(run.result.settings.class_names) for run in runs if run.result.settings.class_names
    }
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


def _panel(run: Run, points: int, replayed: int, sprites: list[dict[str, Any]]) -> dict[str, Any]:
    """A live plot of at most so many points, and of so many over all moments of its replay; appends to
    `sprites` what is not among them yet."""
    whole, snapshots = run.embeddings, run.snapshots
    rows = _choose(len(whole.labels), points)
    images, sprite = None, None
    if snapshots is not None and snapshots.thumbnails is not None:
        made = _sprite(snapshots.thumbnails)
        if made not in sprites:
            sprites.append(made)
        sprite = sprites.index(made)
        images = np.full(len(whole.labels), -1)  # which thumbnail shows a row of the test split
        images[snapshots.rows] = np.arange(len(snapshots.rows))
        images = images[rows]
    return {
        "total": len(whole.labels),
        "final": {
            "labels": _pack(whole.labels[rows], "<i4"),
            "images": None if images is None else _pack(images, "<i4"),
            "moments": [_moment(whole.embeddings, whole.labels, whole.centres, rows)],
        },
        "replay": None if snapshots is None else _replay(snapshots, replayed),
        "track": None if snapshots is None else _track(run.result, snapshots),
        "predicted": run.result.metrics.get(PREDICTED),
        "sprite": sprite,
    }


def _replay(snapshots: Snapshots, replayed: int) -> dict[str, Any]:
    rows = _choose(len(snapshots.labels), replayed // max(1, len(snapshots.epochs)))
    moments = zip(snapshots.embeddings, snapshots.centres, strict=True)
    return {
        "epochs": snapshots.epochs.tolist(),
        "labels": _pack(snapshots.labels[rows], "<i4"),
        "images": None if snapshots.thumbnails is None else _pack(rows, "<i4"),
        "moments": [
            _moment(embeddings, snapshots.labels, centres, rows) for embeddings, centres in moments
        ],
    }


def _moment(
    embeddings: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    centres: Float[np.ndarray, "c d"],
    rows: Int[np.ndarray, "m"],
) -> dict[str, Any]:
    """The dots of `rows`, and what is measured on all embeddings: of each class its mean direction,
    and on the circle its arc with the gap to the next one and the dots' heights, on the sphere the
    radius that holds 90 % of it. A class that has no mean direction is left out."""
    data = Embeddings(embeddings, labels, centres)
    means = geometry.class_means(*with_direction(data))
    moment: dict[str, Any] = {
        "points": _pack_unit(embeddings[rows]),
        "directions": _pack_unit(centres),
        "classes": means.classes.tolist(),
        "means": _pack_unit(means.centres),
    }
    if embeddings.shape[1] == 2:
        around = geometry.arcs_around(means)
        order = np.argsort(around.classes)  # as in `classes`
        for name in ("centre", "low", "high", "gap"):
            moment[name] = np.round(getattr(around, name)[order], 2).tolist()
        moment["heights"] = _pack(np.round(density_at(data, around)[rows] * 255), "u1")
    if embeddings.shape[1] == 3:
        own = means.centres[np.searchsorted(means.classes, means.labels)]
        off = np.degrees(np.arccos(np.clip(np.sum(means.unit * own, axis=1), -1, 1)))
        radius = [np.percentile(off[means.labels == c], 90) for c in means.classes]
        moment["radius"] = np.round(radius, 2).tolist()
    return moment


def _pack(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _pack_unit(vectors: Float[np.ndarray, "n d"]) -> str:
    """Directions only; zero where there is none, which the page leaves out."""
    return _pack(np.round(directions(vectors)[0] * 32767), "<i2")


def _choose(total: int, most: int) -> Int[np.ndarray, "n"]:
    """All rows, or a bounded sample: the same rows every time."""
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, most, replace=False))


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


def _track(result: Result, snapshots: Snapshots) -> dict[str, Any] | None:
    """How the margin opened: the mean gap in 2-D, the decision margin's 5th percentile in 3-D."""
    flat = snapshots.embeddings.shape[2] == 2
    shown = metric("gap_mean_deg" if flat else "margin_p05_deg")
    values = snapshots.metric(shown.name)
    known = np.isfinite(values)
    if known.sum() < 2:
        return None
    return {
        "name": shown.title,
        "epochs": snapshots.epochs[known].tolist(),
        "values": np.round(values[known].astype(float), 3).tolist(),
        "predicted": result.metrics.get(PREDICTED) if flat else None,
    }


def _setting(result: Result) -> list[str]:
    """What was run, in words."""
    settings = result.settings
    acting = [
        words(key, value)
        for key, neutral in NO_MARGIN.items()
        if (value := getattr(settings, key)) not in (None, neutral)
    ]
    parts = [
        f"{settings.dataset} test split",
        words("embedding_dim", settings.embedding_dim),
        settings.backbone,
        settings.optimizer,
        settings.epochs and f"{settings.epochs} epochs",
        "no scale" if settings.s is None else words("s", settings.s),
        ", ".join(acting) or "no margin",
        None if settings.seed is None else f"seed {settings.seed}",
    ]
    return [part for part in parts if part]


def _about(run: Run) -> dict[str, Any]:
    """A run's name, scale, margins and results, and where its picture and its page are."""
    result = run.result
    names = ["accuracy", "gap_mean_deg", PREDICTED, "centre_angle_min_deg", "intra_angle_p50_deg"]
    if result.metrics.get("gap_mean_deg") is not None:
        names.remove("centre_angle_min_deg")
    facts = [
        (one.title, one.with_unit(value).replace("-", "−"), one.explanation)
        for one in map(metric, names)
        if (value := result.metrics.get(one.name)) is not None
    ]
    last = 2 if result.settings.seed is None else 3
    return {
        "name": result.settings.name,
        "setting": " · ".join(_setting(result)[-last:]),
        "facts": facts,
        "dim": _dim(run),
        "picture": run.picture,
        "href": run.page,
    }
