"""Which classes of a data set a run trains on, and which it holds out: to choose by, and to test on.

Three sets that have no class in common, as Musgrave et al. 2020 (A Metric Learning Reality Check, arXiv
2003.08505) ask for: what is chosen on the classes of the test says nothing about new ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

from arcmargin.errors import UserError

LEAST = 4  # of which two can be held out for validation and two trained on

Classes = int | Sequence[int | str] | None
Unseen = int | float | Sequence[int | str] | None


def kept_classes(classes: Classes, names: Sequence[str]) -> list[int]:
    """The first so many classes, those listed by number or by name, or all. Raises UserError for a
    class that does not exist, or fewer than two."""
    kept = list(range(len(names)))
    if isinstance(classes, int):
        if not 0 <= classes <= len(names):
            raise UserError(
                f"dataset.classes asks for {classes} classes, but the data set has {len(names)}"
            )
        kept = kept[:classes]
    elif isinstance(classes, Sequence) and not isinstance(classes, str):
        kept = [_class_number("classes", one, kept, names) for one in classes]
    elif classes is not None:
        raise UserError(
            f"dataset.classes must be a number of classes or a list of classes, got {classes!r}"
        )
    if len(kept) < 2 or len(set(kept)) < len(kept):
        raise UserError(f"dataset.classes must name at least two different classes, got {classes}")
    return kept


class Partition(NamedTuple):
    """Numbers of classes; no class is in two of the lists."""

    trained: list[int]
    validation: list[int]
    test: list[int]


def partition(
    classes: Classes, unseen: Unseen, unseen_val: Unseen, names: Sequence[str]
) -> Partition:
    """`unseen` are for the test; `unseen_val`, of those that are left, for validation. Either is the
    last so many of them, that fraction (two classes at least), or those listed by number or by name.

    A fraction of fewer than four for validation is none. Raises UserError where fewer
    than two are left to train on, or held out, or one is in both.
    """
    kept = kept_classes(classes, names)
    left, test = _held_out("unseen", unseen, kept, names)
    trained, validation = _held_out("unseen_val", unseen_val, left, names)
    return Partition(trained, validation, test)


def _held_out(
    key: str, wanted: Unseen, kept: list[int], names: Sequence[str]
) -> tuple[list[int], list[int]]:
    """(the rest, what is held out)"""
    if wanted is None or (key == "unseen_val" and _is_none(wanted, len(kept))):
        return kept, []
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        chosen = [_class_number(key, one, kept, names) for one in wanted]
    else:
        chosen = kept[len(kept) - count_of(key, wanted, len(kept)) :]
    for what, count, why in (
        ("for training", len(kept) - len(chosen), "a margin needs at least two"),
        ("to be unseen", len(set(chosen)), "impostor pairs need at least two different ones"),
    ):
        if count < 2:
            without = "; dataset.unseen_val=0 does without" if key == "unseen_val" else ""
            raise UserError(
                f"dataset.{key}={wanted} leaves {count} class(es) {what}; {why}{without}"
            )
    return [one for one in kept if one not in chosen], chosen


def _is_none(wanted: Unseen, total: int) -> bool:
    """Whether so many classes are validated on none."""
    too_few = isinstance(wanted, float) and 0 < wanted < 1 and total < LEAST
    return too_few or wanted is False or wanted == 0 or wanted == []


def count_of(key: str, wanted: Unseen | str, total: int, least: int = 2) -> int:
    """How many of so many classes a number or a fraction means; at most all."""
    if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 0:
        return min(wanted, total)
    if isinstance(wanted, float) and 0 < wanted < 1:
        return min(max(round(wanted * total), least), total)
    raise UserError(
        f"dataset.{key} must be a number of classes, a fraction between 0 and 1 or a list of "
        f"classes, got {wanted}"
    )


def _class_number(key: str, one: int | str, kept: list[int], names: Sequence[str]) -> int:
    known: dict[int | str, int] = {names[c]: c for c in kept} | {c: c for c in kept}
    if isinstance(one, bool) or not isinstance(one, int | str) or one not in known:
        raise UserError(
            f"dataset.{key} asks for class {one}, but the classes are "
            + ", ".join(f"{c} ({names[c]})" if names[c] != str(c) else str(c) for c in kept[:30])
            + (" …" if len(kept) > 30 else "")
        )
    return known[one]
