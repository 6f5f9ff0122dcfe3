"""Runs that nobody trained: whole sweeps of records and arrays in no time, for tests and benchmarks.

python tests/synthetic_records.py FOLDER --gaps 66 --seeds 5      # 1,000 runs
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from arcmargin.margins import matched_margins
from arcmargin.metrics import geometry
from arcmargin.metrics.table import PREDICTED
from arcmargin.record import NO_MARGIN, Embeddings, OpenSet, Result, Settings, Snapshots

HEADERS = ("linear", "normface", "arcface", "cosface", "sphereface")
OWN = {"arcface": "m2", "cosface": "m3", "sphereface": "m1"}
SETTINGS = {f.name for f in fields(Settings)}


def make_result(header: str = "arcface", **given: Any) -> Result:
    """A finished run of the digits on the circle; `given` are fields of its settings or of itself. A
    head of the formula takes s and all margins, which are none unless given; linear takes nothing."""
    formula = header in (*HEADERS[1:], "combined")
    taken: dict[str, Any] = {"s": 30.0, **NO_MARGIN} if formula else {}
    settings = {
        **{"header": header, "dataset": "digits", "embedding_dim": 2, "backbone": "convnet"},
        **{"optimizer": "sgd", "epochs": 20, "batch_size": 64, "seed": 0, "threads": 1},
        **{"in_formula": formula, **taken},
    }
    settings |= {key: value for key, value in given.items() if key in SETTINGS}
    rest = {key: value for key, value in given.items() if key not in SETTINGS}
    return Result(settings=Settings(**settings), **rest)


def write_sweep(
    folder: Path | str,
    headers: Sequence[str] = HEADERS,
    gaps_deg: Sequence[float] = (10.0, 20.0, 30.0),
    seeds: int = 3,
    *,
    classes: int = 10,
    samples: int = 360,
    epochs: int = 30,
    arrays: bool = True,
    failed: int = 0,
    open_set: bool = False,
    seed: int = 0,
) -> list[Result]:
    """`header=… gap_deg=… seed=…` on the circle as a sweep would leave it: a header without a
    margin ran once a seed. The last `failed` runs failed."""
    rng = np.random.default_rng(seed)
    luck = rng.normal(size=seeds)  # what a seed does to every header: pairs share it
    wanted = [
        (header, gap, index)
        for header in headers
        for gap in (gaps_deg if header in OWN else gaps_deg[:1])
        for index in range(seeds)
    ]
    results = []
    for number, (header, gap, index) in enumerate(wanted):
        result = _result(header, gap, index, classes, epochs)
        place = Path(folder) / f"{header}_{number:04d}_seed{index}"
        if number >= len(wanted) - failed:
            result.status, result.error = "failed", "RuntimeError: the loss became NaN in epoch 3"
        else:
            data = circle(rng, gap if header in OWN else 0.0, classes, samples)
            result.metrics = _metrics(result, data, luck[index], rng, gap, open_set)
            result.curves = _curves(result.metrics["accuracy"], epochs, rng)
            if open_set:
                result.open_set = _open_set(result.metrics)
            if arrays:
                data.save(place)
                snapshots(data, epochs).save(place)
        result.write(place)
        results.append(result)
    return results


def _result(header: str, gap: float, seed: int, classes: int, epochs: int) -> Result:
    own = OWN.get(header)
    margins = {} if own is None else {own: matched_margins(gap, classes, 2)[own]}
    return make_result(
        header,
        epochs=epochs,
        seed=seed,
        matched=own,
        gap_deg=gap if own else None,
        num_classes=classes,
        class_names=[str(label) for label in range(classes)],
        overrides=[f"header={header}", f"gap_deg={gap:g}", f"seed={seed}"],
        durations={"train_s": 3.0, "total_s": 4.0},
        **margins,
    )


def circle(rng: np.random.Generator, gap: float, classes: int, samples: int) -> Embeddings:
    """Even classes whose 5-95 % arcs leave about `gap` degrees between them."""
    labels = rng.integers(0, classes, samples)
    turn = 360 / classes
    sigma = max(turn - gap, 3.0) / 3.29
    angle = np.radians(labels * turn + rng.normal(0, sigma, samples))
    even = np.radians(np.arange(classes) * turn)
    return Embeddings(
        np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32),
        labels,
        np.stack([np.cos(even), np.sin(even)], axis=1).astype(np.float32),
    )


def _metrics(
    result: Result,
    data: Embeddings,
    luck: float,
    rng: np.random.Generator,
    gap: float,
    open_set: bool,
) -> dict[str, Any]:
    metrics: dict[str, Any] = dict(geometry.measure(data.embeddings, data.labels))
    quality = 0.3 * (result.settings.header in OWN) * (1 - (gap / 25 - 1) ** 2)
    noise = 0.2 * luck + 0.1 * rng.normal()
    metrics["accuracy"] = float(1 / (1 + np.exp(-3.6 - quality - noise)))
    metrics[PREDICTED] = None if result.settings.header == "linear" else 0.0
    if result.settings.header in OWN:
        metrics[PREDICTED] = gap
    if open_set:
        metrics["verification_eer"] = float(0.05 - 0.02 * quality - 0.004 * noise)
        metrics["verification_tar_at_far_1e-03"] = float(0.8 + 0.2 * quality + 0.03 * noise)
        metrics["retrieval_recall_at_1"] = float(0.93 + 0.05 * quality + 0.01 * noise)
    return metrics


def _curves(accuracy: float, epochs: int, rng: np.random.Generator) -> dict[str, Any]:
    when = np.arange(1, epochs + 1)
    rise = 1 - np.exp(-when / 4)
    return {
        "epoch": when.tolist(),
        "train_loss": (0.1 + 3 * (1 - rise) + 0.02 * rng.random(epochs)).tolist(),
        "val_accuracy": (accuracy * rise + 0.004 * rng.normal(size=epochs)).clip(0, 1).tolist(),
    }


def _open_set(metrics: dict[str, Any]) -> OpenSet:
    """A ROC curve through the metrics' TAR at FAR 1e-3."""
    far = np.logspace(-4, 0, 21)
    power = np.log(metrics["verification_tar_at_far_1e-03"]) / np.log(1e-3)
    return OpenSet(
        images=1000, classes=20, how="all pairs", far=far.tolist(), tar=(far**power).tolist()
    )


def snapshots(data: Embeddings, epochs: int) -> Snapshots:
    kept = min(100, len(data.labels))
    shrink = np.array([0.2, 0.6, 1.0])[:, None, None]
    moving = (shrink * data.embeddings[None, :kept] + (1 - shrink)).astype(np.float32)
    measured = [geometry.measure(moment, data.labels[:kept]) for moment in moving]
    return Snapshots(
        epochs=np.array([0, epochs // 2, epochs]),
        embeddings=moving,
        labels=data.labels[:kept],
        centres=np.repeat(data.centres[None], 3, axis=0),
        rows=np.arange(kept),
        metric_names=np.array(list(measured[0])),
        metrics=np.array([list(one.values()) for one in measured], dtype=float),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gaps", type=int, default=66, help="how many, from 1 to 34 degrees")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--failed", type=int, default=0)
    parser.add_argument("--no-arrays", action="store_true", help="records only")
    args = parser.parse_args()
    made = write_sweep(
        args.folder,
        gaps_deg=[float(gap) for gap in np.linspace(1, 34, args.gaps)],
        seeds=args.seeds,
        failed=args.failed,
        arrays=not args.no_arrays,
        open_set=True,
    )
    print(f"{len(made)} runs in {args.folder}")
