"""What a person reads at the end of a run."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from arcmargin.files import display_path
from arcmargin.metrics import geometry
from arcmargin.metrics.table import VALIDATION_CLASSES, in_order, metric, tested
from arcmargin.record import Result

BOLD, DIM, RED = 1, 2, 31  # ANSI's numbers
LONGEST_NAME = 10  # of a class, so that a line keeps to 80 columns
_KINDS = {".png": "picture", ".html": "page"}


def wants_colour(*, terminal: bool) -> bool:
    """A terminal does, unless its user wants none (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return terminal and not plain


def result_table(result: Result, *, colour: bool = False) -> str:
    """The result in a few lines of at most 80 columns: each metric's name, value, unit, and what that
    says of this run."""
    settings = result.settings
    where = f"{settings.dataset}, {settings.embedding_dim}-D, seed {settings.seed}"
    where += "" if settings.s is None else f", s={settings.s:g}"
    remarks = _remarks(result)
    trial = settings.is_trial
    split = "validation split, not tested" if trial else "test split"
    lines = [f"{_in(settings.name, BOLD, colour)} on {where}: {split}"]
    measured = _of_validation(result) if trial else result.metrics
    for name in in_order(measured):
        value = measured[name]
        if value is not None and name not in result.intervals:
            overlap = name == "gap_min_deg" and value < 0
            shown = _in(_aligned(name, value), RED if overlap else BOLD, colour)
            remark = _in(remarks.get(name) or metric(name).brief, DIM, colour)
            lines.append(f"  {metric(name).title:<21}{shown} {remark}".rstrip())
    return "\n".join([*lines, *_validation_lines(result, colour), *_unseen_lines(result, colour)])


def _of_validation(result: Result) -> Mapping[str, float | None]:
    """By the names that the test has for them; of the classes that are trained on."""
    return {
        tested(name): value
        for name, value in result.validation.items()
        if not name.startswith(VALIDATION_CLASSES)
    }


def _validation_lines(result: Result, colour: bool) -> list[str]:
    """Of classes that are neither trained on nor tested."""
    found = {k: v for k, v in result.validation.items() if k.startswith(VALIDATION_CLASSES)}
    if not found:
        return []
    lines = [
        f"{len(result.settings.validation_classes)} validation classes, to choose settings by:"
    ]
    for name, value in found.items():
        known = metric(name.removeprefix(VALIDATION_CLASSES))
        if value is not None:
            shown, brief = (
                _in(_aligned(known.name, value), BOLD, colour),
                _in(known.brief, DIM, colour),
            )
            lines.append(f"  {known.title:<21}{shown} {brief}".rstrip())
    return lines


def files_left(files: list[Path], folder: Path) -> str:
    """Where the pictures are, and everything else."""
    kinds = {file: _KINDS.get(file.suffix, "") for file in files} | {folder: "folder"}
    return "\n".join(f"  {kind:<9}{display_path(path)}" for path, kind in kinds.items())


def _in(text: str, code: int, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text


def _aligned(name: str, value: float) -> str:
    """`  97.21 %  `, `  -3.4°    `: with the decimal points of a column below one another."""
    whole, point, rest = metric(name).with_unit(value).partition(".")
    return f"{whole:>4}{point}{rest:<5}"


def _remarks(result: Result) -> Mapping[str, str]:
    """What can be said of this run's numbers better than in general."""
    arrays, names = result.arrays, result.settings.class_names
    if arrays is None or not names:
        return {}
    data = arrays.embeddings
    found = {}
    if data.predicted is not None:
        wrong = np.count_nonzero(data.predicted != data.labels)
        found["accuracy"] = f"{wrong:,} of {len(data.labels):,} test images are wrong"
    for name, pair in geometry.pairs_measured(data.embeddings, data.labels).items():
        both = " and ".join(_shortened(names[label]) for label in pair)
        found[name] = f"between {both}"
        value = result.metrics.get(name)
        if name == "gap_min_deg" and value is not None and value < 0:
            found[name] = f"{both} overlap by {metric(name).with_unit(-value)}"
        if name == "centre_gap_max_deg":
            found[name] += f"; evenly {360 / len(names):.3g}°"
    return found


def _shortened(name: str) -> str:
    """Of names that begin alike, such as paths, the end tells most."""
    return name if len(name) <= LONGEST_NAME else f"{name[:3]}…{name[4 - LONGEST_NAME :]}"


def _unseen_lines(result: Result, colour: bool) -> list[str]:
    about = result.open_set
    if about is None:
        return []
    lines = [f"unseen classes, {about.images:,} images, 95 % intervals ({about.how}):"]
    for name, ends in result.intervals.items():
        known, value = metric(name), result.metrics[name]
        if value is not None:
            low, high = map(known.shown, ends)
            shown = _in(_aligned(name, value), BOLD, colour)
            brief = _in(known.brief, DIM, colour)
            lines.append(f"  {known.title:<21}{shown} {low:>6} to {high:>6} {brief}".rstrip())
    return lines
