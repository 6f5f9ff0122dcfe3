"""The score: which validation metric chooses between settings, and which way is better."""

from typing import Literal

from arcmargin.errors import UserError
from arcmargin.metrics.table import VALIDATION, curves, metric


def best(score: str) -> Literal["max", "min"]:
    """Which of many scores is the best one.

    Raises UserError for a test metric, and for one of which neither end is known to be better.
    """
    known = ", ".join(one.name for one in curves() if one.name.startswith(VALIDATION) and one.best)
    if not score.startswith(VALIDATION):
        reason = (
            "it says nothing about images that training has not seen"
            if score.startswith("train_")
            else "a choice made by it would fit the test data, whose figures then mean nothing"
        )
        raise UserError(f"score={score} is no validation metric: {reason}; take one of {known}")
    if (end := metric(score).best) is None:
        raise UserError(
            f"score={score}: whether it should be high or low is not known; take one of {known}"
        )
    return end
