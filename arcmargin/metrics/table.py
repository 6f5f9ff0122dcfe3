"""What a metric in a record is called, in which unit it is shown, and which way is better.

A metric that is not listed here, such as one that a later version writes, appears under its own name.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from arcmargin.record import Record

PREDICTED = "gap_predicted_deg"  # follows from the settings: no noise, nothing to compare


class Metric(NamedTuple):
    name: str  # in records
    title: str
    unit: str = ""
    factor: float = 1.0  # from the record's number to the shown one
    digits: int | None = None  # None: four significant ones
    better: int = 0  # 1: higher, -1: lower, 0: not known or neither

    @property
    def heading(self) -> str:
        """`accuracy %`; degrees are the tables' unit of everything that has no other."""
        return f"{self.title} %" if self.unit == "%" else self.title

    def shown(self, value: float) -> str:
        scaled = value * self.factor
        return f"{scaled:.4g}" if self.digits is None else f"{scaled:.{self.digits}f}"


KNOWN = (
    Metric("accuracy", "accuracy", "%", 100.0, 2, 1),
    Metric("gap_min_deg", "gap min", "°", 1.0, 1, 1),
    Metric("gap_mean_deg", "gap mean", "°", 1.0, 1, 1),
    Metric(PREDICTED, "gap predicted", "°", 1.0, 1),
    Metric("centre_gap_max_deg", "centre gap max", "°", 1.0, 1, -1),
    Metric("centre_angle_min_deg", "centre angle min", "°", 1.0, 1, 1),
    Metric("margin_p05_deg", "margin p05", "°", 1.0, 1, 1),
    Metric("intra_angle_p50_deg", "intra angle p50", "°", 1.0, 2, -1),
    Metric("intra_angle_deg", "intra angle", "°", 1.0, 2, -1),
)
# Of classes that training has not seen: those that a table shows, in its order.
UNSEEN = (
    Metric("verification_auc", "AUC", "%", 100.0, 2, 1),
    Metric("verification_eer", "EER", "%", 100.0, 2, -1),
    Metric("verification_tar_at_far_1e-02", "TAR@FAR 1e-2", "%", 100.0, 2, 1),
    Metric("verification_tar_at_far_1e-03", "TAR@FAR 1e-3", "%", 100.0, 2, 1),
    Metric("retrieval_recall_at_1", "recall@1", "%", 100.0, 2, 1),
    Metric("retrieval_map_at_r", "mAP@R", "%", 100.0, 2, 1),
    Metric("identification_rank_1", "rank-1", "%", 100.0, 2, 1),
    Metric("identification_fnir_at_fpir_1e-01", "FNIR@FPIR 1e-1", "%", 100.0, 2, -1),
)
# Open-set scores: the end of the name says what it is, what stands before it on which task or data.
ENDINGS = (
    (r"eer", "EER", -1),
    (r"tar_at_far_(\d+e-?\d+|[\d.]+)", "TAR@FAR {}", 1),
    (r"fnir_at_fpir_(\d+e-?\d+|[\d.]+)", "FNIR@FPIR {}", -1),
    (r"(?:tpir|dir)_at_(?:fpir|far)_(\d+e-?\d+|[\d.]+)", "DIR@FAR {}", 1),
    (r"recall_at_(\d+)", "recall@{}", 1),
    (r"precision_at_(\d+)", "precision@{}", 1),
    (r"rank_?(\d+)", "rank-{}", 1),
    (r"map_at_r", "mAP@R", 1),
    (r"map", "mAP", 1),
    (r"r_precision", "R-precision", 1),
    (r"auc|auroc", "AUC", 1),
    (r"accuracy", "accuracy", 1),
)
TASKS = {"retrieval", "identification"}  # said by the measure's own name


def metric(name: str) -> Metric:
    for known in (*KNOWN, *UNSEEN):
        if known.name == name:
            return known
    for pattern, title, better in ENDINGS:
        found = re.fullmatch(rf"(?:(.+)_)?{pattern}", name)
        if found:
            groups = found.groups()
            title = title.format(*(number.replace("e-0", "e-") for number in groups[1:]))
            said = TASKS if "accuracy" in pattern else {*TASKS, "verification"}
            before = " ".join(w for w in (groups[0] or "").split("_") if w and w not in said)
            return Metric(name, f"{before} {title}".strip(), "%", 100.0, 2, better)
    if name.endswith("_deg"):
        return Metric(name, name.removesuffix("_deg").replace("_", " "), "°", 1.0, 2)
    return Metric(name, name)


def metric_names(records: Iterable[Record]) -> list[str]:
    """The known metrics in their order, then the others by name; numbers only."""
    present = {
        name
        for record in records
        for name, value in record.metrics.items()
        if number(value) is not None
    }
    known = [one.name for one in (*KNOWN, *UNSEEN) if one.name in present]
    return known + sorted(present - set(known))


def number(value: Any, otherwise: Any = None) -> Any:
    """A float, from text too, or `otherwise`."""
    try:
        return otherwise if value is None else float(value)
    except (TypeError, ValueError):
        return otherwise
