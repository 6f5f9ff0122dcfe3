"""Which classes of a data set a run trains on, and which it holds out."""

from collections.abc import Sequence

from arcmargin.errors import UserError

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


def unseen_classes(unseen: Unseen, kept: list[int], names: Sequence[str]) -> list[int]:
    """The last so many of the kept classes, that fraction of them, or those listed: by number, or
    by name. Raises UserError where fewer than two are left to train on, or held out."""
    if unseen is None:
        return []
    if isinstance(unseen, Sequence) and not isinstance(unseen, str):
        chosen = [_class_number("unseen", one, kept, names) for one in unseen]
    else:
        chosen = kept[len(kept) - _count(unseen, len(kept)) :]
    for what, count, why in (
        ("for training", len(kept) - len(chosen), "a margin needs at least two"),
        ("to be unseen", len(set(chosen)), "impostor pairs need at least two different ones"),
    ):
        if count < 2:
            raise UserError(f"dataset.unseen={unseen} leaves {count} class(es) {what}; {why}")
    return chosen


def _count(unseen: int | float | str, total: int) -> int:
    """How many of the classes a number or a fraction means; at most all."""
    if isinstance(unseen, int) and not isinstance(unseen, bool) and unseen >= 0:
        return min(unseen, total)
    if isinstance(unseen, float) and 0 < unseen < 1:
        return round(unseen * total)
    raise UserError(
        "dataset.unseen must be a number of classes, a fraction between 0 and 1 or a list of "
        f"classes, got {unseen}"
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
