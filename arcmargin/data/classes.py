"""Which classes of a data set a run trains on, and which it holds out."""

from collections.abc import Sequence

from arcmargin.errors import UserError

Unseen = int | float | Sequence[int | str] | None


def kept_classes(classes: int | Sequence[int] | None, names: Sequence[str]) -> list[int]:
    """The first so many classes, those listed, or all. Raises UserError for one that does not exist,
    or fewer than two."""
    total = len(names)
    kept = list(range(classes if isinstance(classes, int) else total))
    if classes is not None and not isinstance(classes, int):
        kept = [int(c) for c in classes]
    unknown = [c for c in kept if not 0 <= c < total]
    if unknown:
        raise UserError(
            f"dataset.classes asks for class {unknown[0]}, but the data set has classes 0 to {total - 1}"
        )
    if len(kept) < 2 or len(set(kept)) < len(kept):
        raise UserError(f"dataset.classes must name at least two different classes, got {classes}")
    return kept


def unseen_classes(unseen: Unseen, kept: list[int], names: Sequence[str]) -> list[int]:
    """The last so many of the kept classes, that fraction of them, or those listed: by number, or
    by name. Raises UserError where fewer than two are left to train on, or held out."""
    if unseen is None:
        return []
    if isinstance(unseen, str | bool) or not _sensible(unseen):
        raise UserError(
            "dataset.unseen must be a number of classes, a fraction between 0 and 1 or a list of "
            f"classes, got {unseen}"
        )
    if isinstance(unseen, int | float):
        count = unseen if isinstance(unseen, int) else round(unseen * len(kept))
        chosen = kept[max(len(kept) - int(count), 0) :]
    else:
        chosen = [_class_number(one, kept, names) for one in unseen]
    for what, count, why in (
        ("for training", len(kept) - len(chosen), "a margin needs at least two"),
        ("to be unseen", len(set(chosen)), "impostor pairs need at least two different ones"),
    ):
        if count < 2:
            raise UserError(f"dataset.unseen={unseen} leaves {count} class(es) {what}; {why}")
    return chosen


def _sensible(unseen: int | float | Sequence[int | str]) -> bool:
    return not isinstance(unseen, int | float) or (
        unseen >= 0 if isinstance(unseen, int) else 0 < unseen < 1
    )


def _class_number(one: int | str, kept: list[int], names: Sequence[str]) -> int:
    known = {names[c]: c for c in kept} | {c: c for c in kept}
    if one not in known:
        raise UserError(
            f"dataset.unseen asks for class {one}, but the classes are "
            + ", ".join(f"{c} ({names[c]})" if names[c] != str(c) else str(c) for c in kept[:30])
            + (" …" if len(kept) > 30 else "")
        )
    return known[one]
