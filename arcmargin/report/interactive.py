"""Interactive pages: one run's circle, sphere or map, and several runs side by side with one camera.

A page opens from a file, without a network: assets/embedding.html, plotly.js, and the data as JSON.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arcmargin.errors import UserError
from arcmargin.files import write_atomically
from arcmargin.metrics.table import PREDICTED, metric
from arcmargin.record import NO_MARGIN, Embeddings, Result, Snapshots, Unseen
from arcmargin.report.labels import words
from arcmargin.report.panels import Most, Run, dimension, panel
from arcmargin.report.style import class_colours
from arcmargin.report.templates import asset, plotly_tag, render, script_json

CONTEXTS = {2: 2, 3: 1, 4: 2}  # WebGL contexts that a plot takes: circle or map, sphere
MOST_CONTEXTS = 14  # on a page: browsers keep about 16 alive
COMPARED = "compare"  # the folder with the data of runs to compare
MOST_POINTS = 10_000  # of the test split; shared out between the plots of a comparison
MOST_REPLAYED = 200_000  # points x moments of a page
DISTINCT = 30  # class colours; the classes of one colour are drawn together
NOTES = {
    2: "Every dot is the direction of one test embedding. Its height above the circle only makes "
    "room: it follows the square root of its class's density there. A sector runs from the 5th to "
    "the 95th percentile of its class, its ray is the class centre (the mean direction). Between "
    "neighbouring sectors stands the measured gap, under a bracket as wide as the predicted one; "
    "red marks overlap. Ticks on the circle: the header's class directions.",
    3: "Every dot is the direction of one test embedding. The ring around a class "
    "holds 90 % of it; a white diamond is the header's class direction.",
    4: "Every dot is one test image. A plane cannot keep all angles of more dimensions: what the "
    "pointer tells, and the nearest neighbours, are measured in all of them. Maps side by side are "
    "turned until their classes lie as close to those of the first as they can.",
}


def embedding_page(
    result: Result,
    embeddings: Embeddings,
    snapshots: Snapshots | None = None,
    plotly: str | None = None,
    unseen: Unseen | None = None,
) -> str:
    """One run's circle (2-D), sphere (3-D) or map (more) as HTML; with snapshots, training's replay.
    `plotly` is the address of plotly.js for the pages of several runs; without it the page holds its
    own. Raises UserError for arrays that do not fit together."""
    run = Run(result, embeddings, snapshots, unseen=unseen)
    _check([run])
    sprites: list[dict[str, Any]] = []
    drawn, _ = panel(run, Most(MOST_POINTS, MOST_REPLAYED), sprites)
    return _page(result.settings.name, [run], [_about(run) | {"panel": drawn}], sprites, plotly)


def comparison(
    runs: Sequence[Run],
    shown: Sequence[int] | None = None,
    title: str = "Headers side by side",
    plotly: str | None = None,
    back: str | None = None,
    projection: str = "pca",
) -> dict[str, str]:
    """Files: compare.html, in which several runs of the same classes have one camera, one slider and
    one legend, and the data of those runs that it does not hold itself.

    It shows the runs of `shown` (default: all), or others of them: compare.html#runs=0,4. The first
    seven circles or maps or fourteen spheres are live plots; further runs are pictures that open their
    own page. Maps of more than three dimensions are aligned to the first; `projection`: one of
    projection.KINDS.
    """
    if not runs:
        raise UserError("a comparison page needs at least one run, got none")
    shown = range(len(runs)) if shown is None else shown
    _check(runs)
    live = min(len(runs), *(MOST_CONTEXTS // _contexts(run) for run in runs))
    at_once, contexts = set(), 0
    for index in shown:
        if contexts + _contexts(runs[index]) <= MOST_CONTEXTS:
            contexts += _contexts(runs[index])
            at_once.add(index)
    sprites: list[dict[str, Any]] = []
    about, files = [], {}
    most, first = Most(2 * MOST_POINTS // live, MOST_REPLAYED // live), None
    for index, run in enumerate(runs):
        about.append(_about(run))
        drawn, map_ = panel(run, most, sprites, projection, first)
        first = first or map_
        if index in at_once:
            about[-1]["panel"] = drawn
        else:
            about[-1]["file"] = name = f"{COMPARED}/{index}.js"
            files[name] = f"arrived({index}, {script_json(drawn)});\n"
    page = _page(title, runs, about, sprites, plotly, shown=list(shown), back=back)
    return {"compare.html": page, **files}


def write_page(path: Path | str, page: str) -> Path:
    """Raises UserError when the file cannot be written."""
    return write_atomically(Path(path), lambda file: file.write(page.encode()))


def _contexts(run: Run) -> int:
    return CONTEXTS[_kind(run)]


def _kind(run: Run) -> int:
    """2: circle, 3: sphere; 4 or, of a single dimension, a map as well."""
    return dimension(run) if dimension(run) in (2, 3) else 4


def _page(
    title: str,
    runs: Sequence[Run],
    about: list[dict[str, Any]],
    sprites: list[dict[str, Any]],
    plotly: str | None,
    shown: Sequence[int] = (0,),
    back: str | None = None,
) -> str:
    names = _class_names(runs)
    settings = [_setting(run.result) for run in runs]
    shared = [part for part in settings[0] if all(part in one for one in settings)]
    data = {
        "title": title,
        "subtitle": " · ".join(shared),
        "notes": " ".join(NOTES[dim] for dim in sorted({*map(_kind, runs)})),
        "classes": names,
        "colors": class_colours(min(len(names), DISTINCT)),
        "dark": class_colours(min(len(names), DISTINCT), dark=True),
        "counts": np.bincount(runs[0].embeddings.labels, minlength=len(names)).tolist(),
        "runs": about,
        "shown": list(shown),
        "sprites": sprites,
        "contexts": CONTEXTS,
        "most_contexts": MOST_CONTEXTS,
        "back": back,
    }
    return render(
        "embedding.html",
        title=title,
        style=asset("embedding.css"),
        data=script_json(data),
        plotly=plotly_tag(plotly),
        script=asset("embedding.js"),
    )


def _class_names(runs: Sequence[Run]) -> list[str]:
    """The legend's: numbers where a run has no names."""
    names = next((names for run in runs if (names := run.result.settings.class_names)), [])
    count = len(runs[0].embeddings.centres)
    return [*names, *map(str, range(len(names), count))][:count]


def _check(runs: Sequence[Run]) -> None:
    """All of the same classes, and each with arrays that fit together."""
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
        embeddings, labels, centres, _ = run.embeddings
        if (
            embeddings.ndim != 2
            or labels.shape != embeddings.shape[:1]
            or centres.shape[1:] != embeddings.shape[1:]
        ):
            raise UserError(
                "expected embeddings (N, D), labels (N,) and centres (C, D), "
                f"got {embeddings.shape}, {labels.shape} and {centres.shape}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            raise UserError(f"labels must be in 0..{count - 1}, got {labels.min()}..{labels.max()}")


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
        "dim": dimension(run),
        "kind": _kind(run),
        "picture": run.picture,
        "href": run.page,
    }
