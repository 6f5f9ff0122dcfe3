"""The score: which validation metric chooses between settings, and which way is better."""

from arcmargin.errors import UserError
from arcmargin.metrics.table import metric

VALIDATION = "val_"


def direction(score: str) -> int:
    """1 where higher is better, -1 where lower is.

    Raises UserError for a test metric, and for one of which neither is known to be better.
    """
    if not score.startswith(VALIDATION):
        reason = (
            "a choice made by it would fit the test data, and their figures mean nothing afterwards"
            if metric(score).better
            else "it says nothing about images that training has not seen"
        )
        raise UserError(
            f"score={score} is not a validation metric: {reason}; take {VALIDATION}accuracy or "
            "another curve of a run whose name begins so"
        )
    better = metric(score.removeprefix(VALIDATION)).better
    if not better:
        raise UserError(
            f"score={score}: whether it should be high or low is not known; take one such as "
            f"{VALIDATION}accuracy"
        )
    return better
