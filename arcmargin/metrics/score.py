"""The score: which validation metric chooses between settings, and which way is better."""

from typing import Literal

from arcmargin.errors import UserError
from arcmargin.metrics.table import VALIDATION, curves

DEFAULT = "val_accuracy"
# Where there are validation classes: unlike recall@1 it sees all images of a class, and their order
# (Musgrave, Belongie, Lim 2020, arXiv 2003.08505, who propose it).
DEFAULT_UNSEEN = "val_unseen_retrieval_map_at_r"


def best(score: str) -> Literal["max", "min"]:
    """Which of many scores is the best one.

    Raises UserError for a metric of the test or of training, and for one that no validation measures.
    """
    measured = {one.name: one.best for one in curves() if one.name.startswith(VALIDATION)}
    if (end := measured.get(score)) is not None:
        return end
    known = ", ".join(measured)
    if score.startswith(VALIDATION):
        raise UserError(f"score={score} is measured by no validation; take one of {known}")
    reason = (
        "it says nothing about images that training has not seen"
        if score.startswith("train_")
        else "a choice made by it would fit the test data, whose figures then mean nothing"
    )
    twins = [one for one in (VALIDATION + score, f"{VALIDATION}unseen_{score}") if one in measured]
    advice = f"take {twins[0]}" if twins else f"take one of {known}"
    raise UserError(f"score={score} is no validation metric: {reason}; {advice}")
