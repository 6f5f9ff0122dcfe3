"""The data of a live plot: packed directions on circle and sphere, a projection of more dimensions.

Numbers are computed here, once: places, angles, nearest neighbours. The page only puts them where they
belong. Unit vectors and places in the unit circle are 16-bit integers (0.002 degrees), angles hundredths
of a degree, so that 10,000 points stay small.
"""

import base64
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics import geometry
from arcmargin.metrics.directions import directions
from arcmargin.metrics.table import PREDICTED, metric
from arcmargin.record import Embeddings, Result, Snapshots, Unseen
from arcmargin.report.drawing import density_at, with_direction
from arcmargin.report.projection import MAPS, Plane, class_means, nearest, plane, tsne, turn, umap
from arcmargin.report.sprites import sprite

MOST_UNSEEN = 2_000
ROWS_AT_A_TIME = 8192  # bounds memory at so many times C cosines


class Run(NamedTuple):
    """One run of a page. The addresses are relative links or data URIs."""

    result: Result
    embeddings: Embeddings
    snapshots: Snapshots | None = None
    picture: str | None = None  # embedding.png, shown where the run gets no live plot
    page: str | None = None  # embedding.html, which that picture opens
    unseen: Unseen | None = None


class Most(NamedTuple):
    """How much a plot may hold."""

    points: int
    replayed: int  # points x moments


class Map(NamedTuple):
    """Where the first run of a comparison has its classes; the others are aligned to it."""

    plane: Plane
    means: Float[np.ndarray, "c 2"] | None  # of t-SNE's map


def dimension(run: Run) -> int:
    return run.embeddings.embeddings.shape[1]


def panel(
    run: Run, most: Most, sprites: list[dict[str, Any]], kind: str = "pca", like: Map | None = None
) -> tuple[dict[str, Any], Map | None]:
    """The plot, and what further runs are aligned to: None on circle and sphere. Appends to `sprites`
    what is not among them yet."""
    whole, snapshots, unseen = run.embeddings, run.snapshots, run.unseen
    rows = _choose(len(whole.labels), most.points)
    strangers = _choose(0 if unseen is None else len(unseen.labels), min(MOST_UNSEEN, most.points))
    everyone = directions(whole.embeddings[rows])[0]
    if unseen is not None:
        everyone = np.r_[everyone, directions(unseen.embeddings[strangers])[0]]
    sheet, images = _thumbnails(snapshots, len(whole.labels), sprites)
    made: dict[str, Any] = {
        "total": len(whole.labels),
        "final": _samples(whole, rows, images),
        "nearest": _nearest(everyone),
        "track": None if snapshots is None else _track(run.result, snapshots),
        "predicted": run.result.metrics.get(PREDICTED),
        "sprite": sheet,
    }
    if dimension(run) not in (2, 3):
        places, map_, made["projection"] = _map(whole, rows, everyone, kind, like)
        made["final"]["moments"] = [_flat_moment(whole, rows, places[: len(rows)])]
        others = _pack_places(places[len(rows) :])
    else:
        map_, others = None, _pack_unit(everyone[len(rows) :])
        made["final"]["moments"] = [_moment(whole, rows)]
    if snapshots is not None and (map_ is None or kind == "pca"):
        made["replay"] = _replay(snapshots, whole, images, most.replayed, map_)
    if unseen is not None:
        made["unseen"] = {
            "labels": _pack_integers(unseen.labels[strangers]),
            "rows": _pack_integers(strangers),
            "names": unseen.class_names.tolist(),
            "points": others,
        }
    return made, map_


def _map(
    data: Embeddings,
    rows: Int[np.ndarray, "n"],
    everyone: Float[np.ndarray, "m d"],
    kind: str,
    like: Map | None,
) -> tuple[Float[np.ndarray, "m 2"], Map, str]:
    """The places of all images, NaN for one without a direction; and what the map is, in words."""
    shown = plane(data, None if like is None else like.plane)
    places, dim = everyone @ shown.axes, data.embeddings.shape[1]
    lost = np.abs(everyone).sum(axis=1) == 0
    if kind == "pca":
        what = "principal plane" if like is None else "turned to the first run"
        words = f"{dim}-D, {what}: {100 * shown.share:.0f} % of the variance"
        return np.where(lost[:, None], np.nan, places), Map(shown, None), words
    places, labels = (umap if kind == "umap" else tsne)(everyone, places), data.labels[rows]
    if like is not None and like.means is not None and len(like.means) == len(data.centres):
        own = class_means(places[: len(rows)], labels, len(data.centres))
        places = places @ turn(own, like.means)
    means = class_means(places[: len(rows)], labels, len(data.centres))
    return np.where(lost[:, None], np.nan, places), Map(shown, means), f"{dim}-D, {MAPS[kind]}"


def _thumbnails(
    snapshots: Snapshots | None, total: int, sprites: list[dict[str, Any]]
) -> tuple[int | None, Int[np.ndarray, "n"] | None]:
    """Which of `sprites` holds the pictures, and which of its pictures shows a row of the test split."""
    if snapshots is None or snapshots.thumbnails is None:
        return None, None
    made = sprite(snapshots.thumbnails)
    if made not in sprites:
        sprites.append(made)
    images = np.full(total, -1)
    images[snapshots.rows] = np.arange(len(snapshots.rows))
    return sprites.index(made), images


def _samples(
    whole: Embeddings, rows: Int[np.ndarray, "n"], images: Int[np.ndarray, "m"] | None
) -> dict[str, Any]:
    """What is known of these rows of the test split at every moment. Predicted: at the end."""
    predicted = whole.predicted
    return {
        "labels": _pack_integers(whole.labels[rows]),
        "rows": _pack_integers(rows),
        "predicted": None if predicted is None else _pack_integers(predicted[rows]),
        "images": None if images is None else _pack_integers(images[rows]),
    }


def _replay(
    snapshots: Snapshots,
    whole: Embeddings,
    images: Int[np.ndarray, "m"] | None,
    replayed: int,
    map_: Map | None,
) -> dict[str, Any]:
    rows = _choose(len(snapshots.labels), replayed // max(1, len(snapshots.epochs)))
    moments = []
    for embeddings, centres in zip(snapshots.embeddings, snapshots.centres, strict=True):
        data = Embeddings(embeddings, snapshots.labels, centres)
        if map_ is None:
            moments.append(_moment(data, rows))
        else:
            unit, usable = directions(embeddings[rows])
            places = np.where(usable[:, None], unit @ map_.plane.axes, np.nan)
            moments.append(_flat_moment(data, rows, places))
    return {
        **_samples(whole, snapshots.rows[rows], images),
        "epochs": snapshots.epochs.tolist(),
        "moments": moments,
    }


def _moment(data: Embeddings, rows: Int[np.ndarray, "m"]) -> dict[str, Any]:
    """The dots of `rows`, and what is measured on all embeddings: of each class its mean direction,
    and on the circle its arc with the gap to the next one and the dots' heights, on the sphere the
    radius that holds 90 % of it. A class that has no mean direction is left out."""
    means = geometry.class_means(*with_direction(data))
    moment: dict[str, Any] = {
        "points": _pack_unit(data.embeddings[rows]),
        "directions": _pack_unit(data.centres),
        "classes": means.classes.tolist(),
        "means": _pack_unit(means.centres),
    }
    if data.embeddings.shape[1] == 2:
        around = geometry.arcs_around(means)
        order = np.argsort(around.classes)  # as in `classes`
        for name in ("centre", "low", "high", "gap"):
            moment[name] = np.round(getattr(around, name)[order], 2).tolist()
        moment["heights"] = _pack(np.round(density_at(data, around)[rows] * 255), "u1")
    if data.embeddings.shape[1] == 3:
        own = means.centres[np.searchsorted(means.classes, means.labels)]
        off = np.degrees(np.arccos(np.clip(np.sum(means.unit * own, axis=1), -1, 1)))
        radius = [np.percentile(off[means.labels == c], 90) for c in means.classes]
        moment["radius"] = np.round(radius, 2).tolist()
    return moment


def _flat_moment(
    data: Embeddings, rows: Int[np.ndarray, "m"], places: Float[np.ndarray, "m 2"]
) -> dict[str, Any]:
    """Places on a map, where its classes are on it, and angles in all dimensions, which it cannot show:
    of each row to its class's centre, to its class direction, and to the nearest other one."""
    means = geometry.class_means(*with_direction(data))
    unit, labels = directions(data.embeddings[rows])[0], data.labels[rows]
    centres = np.zeros((len(data.centres), unit.shape[1]))
    centres[means.classes] = means.centres
    towards = directions(data.centres)[0]
    rival, nearest_other = np.zeros(len(rows), int), np.zeros(len(rows))
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        cosines = unit[part] @ towards.T
        cosines[np.arange(len(cosines)), labels[part]] = -np.inf
        rival[part], nearest_other[part] = cosines.argmax(axis=1), cosines.max(axis=1)
    known = np.isfinite(places).all(axis=1)
    on_map = class_means(places[known], labels[known], len(data.centres))[means.classes]
    return {
        "points": _pack_places(places),
        "classes": means.classes.tolist(),
        "means": _pack_places(on_map),
        "rival": _pack_integers(rival),
        "told": [
            _pack_angles(cosines)
            for cosines in (
                np.sum(unit * centres[labels], axis=1),
                np.sum(unit * towards[labels], axis=1),
                nearest_other,
            )
        ],
    }


def _nearest(unit: Float[np.ndarray, "n d"]) -> dict[str, Any]:
    """Of each image on the page, by its place there: the nearest others and how far they are."""
    rows, degrees = nearest(unit)
    return {
        "count": rows.shape[1],
        "rows": _pack_integers(rows),
        "degrees": _pack(np.round(100 * degrees), "<u2"),
    }


def _pack(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _pack_integers(values: Int[np.ndarray, "..."]) -> str:
    """s and 16 bits each where these do, else l and 32."""
    short = np.abs(values).max(initial=0) < 32768
    return f"s{_pack(values, '<i2')}" if short else f"l{_pack(values, '<i4')}"


def _pack_unit(vectors: Float[np.ndarray, "n d"]) -> str:
    """Directions only; zero where there is none, which the page leaves out."""
    return _pack(np.round(directions(vectors)[0] * 32767), "<i2")


def _pack_places(places: Float[np.ndarray, "n 2"]) -> str:
    """Places in the unit circle; the lowest integer where there is none."""
    known = np.nan_to_num(places.clip(-1, 1), nan=-32768 / 32767)
    return _pack(np.round(known * 32767), "<i2")


def _pack_angles(cosines: Float[np.ndarray, "n"]) -> str:
    return _pack(np.round(100 * np.degrees(np.arccos(cosines.clip(-1, 1)))), "<u2")


def _choose(total: int, most: int) -> Int[np.ndarray, "n"]:
    """All rows, or a bounded sample: the same rows every time."""
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, most, replace=False))


def _track(result: Result, snapshots: Snapshots) -> dict[str, Any] | None:
    """How the margin opened: the mean gap in 2-D, the decision margin's 5th percentile above."""
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
