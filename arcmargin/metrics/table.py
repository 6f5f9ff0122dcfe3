"""The table of metrics: what each is called, its unit, which way is better, and what it means.

Terminal, report, pages, W&B and docs/metrics.md read it. A metric that is not listed here, such as
one of a user's own, appears under its own name.

python -m arcmargin.metrics.table > docs/metrics.md
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

PREDICTED = "gap_predicted_deg"  # follows from the settings: no noise, nothing to compare
VALIDATION = "val_"  # before the name of a metric: of the validation split, after each epoch
VALIDATION_CLASSES = (
    "val_unseen_"  # or of the validation classes, which training has not seen either
)


class Metric(NamedTuple):
    """One row. A name with `{x}` stands for a family, such as TAR at several rates."""

    name: str  # in records
    title: str
    meaning: str  # one sentence
    unit: str = ""
    factor: float = 1.0  # from the record's number to the shown one
    digits: int | None = None  # None: four significant ones
    better: Literal[1, 0, -1] = 0  # 1: higher, -1: lower, 0: neither
    brief: str = ""  # the meaning in a few words, beside the number in a terminal

    @property
    def heading(self) -> str:
        """`accuracy %`; degrees are the tables' unit of everything that has no other."""
        return f"{self.title} %" if self.unit == "%" else self.title

    @property
    def direction(self) -> str:
        return {1: "higher is better", -1: "lower is better", 0: ""}[self.better]

    @property
    def best(self) -> Literal["max", "min"] | None:
        """Which of many values is the best one; None where neither is."""
        if not self.better:
            return None
        return "max" if self.better > 0 else "min"

    @property
    def explanation(self) -> str:
        """The sentence of a tooltip: the meaning and the direction."""
        return f"{self.meaning} {self.direction.capitalize()}." if self.better else self.meaning

    def shown(self, value: float) -> str:
        """`98.71`: without the unit, for a table whose heading has it."""
        scaled = value * self.factor
        return f"{scaled:.4g}" if self.digits is None else f"{scaled:.{self.digits}f}"

    def with_unit(self, value: float, spread: float | None = None) -> str:
        """`98.71 %`, `32.4°`, `98.71 ± 0.12 %`"""
        space = " " if self.unit and self.unit != "°" else ""
        around = "" if spread is None else f" ± {self.shown(spread)}"
        return f"{self.shown(value)}{around}{space}{self.unit}"


class Section(NamedTuple):
    title: str
    introduction: str
    metrics: tuple[Metric, ...]


_PERCENT: tuple[str, float, int] = ("%", 100.0, 2)
_DEGREES: tuple[str, float, int] = ("°", 1.0, 1)

SECTIONS = (
    Section(
        "The test split",
        "Images of the classes that were trained on. A class's centre is the mean direction of its "
        "test embeddings; the header's own class directions play no part in the angles.",
        (
            Metric(
                "accuracy",
                "accuracy",
                "The share of test images that the header, without any margin, assigns to their own "
                "class.",
                *_PERCENT,
                1,
                brief="of the images, to their own class",
            ),
            Metric(
                "gap_min_deg",
                "smallest gap",
                "On the circle: the free angle between the two neighbouring arcs that lie closest; "
                "below zero they overlap.",
                *_DEGREES,
                1,
                brief="between the closest two arcs",
            ),
            Metric(
                "gap_mean_deg",
                "mean gap",
                "On the circle: the free angle between neighbouring arcs, averaged over all of them.",
                *_DEGREES,
                1,
                brief="free between neighbouring classes' arcs",
            ),
            Metric(
                PREDICTED,
                "predicted gap",
                "On the circle: the gap that the margin promises when the class centres stand "
                "evenly; none where the margin asks for more than the circle has.",
                *_DEGREES,
                brief="what the margin promises",
            ),
            Metric(
                "centre_gap_max_deg",
                "largest centre gap",
                "On the circle: the largest angle between two neighbouring class centres; 360° "
                "divided by the number of classes when they stand evenly.",
                *_DEGREES,
                -1,
                brief="between neighbouring centres",
            ),
            Metric(
                "centre_angle_min_deg",
                "nearest centres",
                "The angle between the two class centres that lie closest.",
                *_DEGREES,
                1,
                brief="between the closest two centres",
            ),
            Metric(
                "margin_p05_deg",
                "margin of 95 %",
                "95 % of the images are closer to their own class's centre than to the nearest other "
                "one by at least this angle.",
                *_DEGREES,
                1,
                brief="95 % are nearer to their own centre by this",
            ),
            Metric(
                "intra_angle_p50_deg",
                "median to centre",
                "Half of the images lie within this angle of their own class's centre.",
                "°",
                1.0,
                2,
                -1,
                brief="half of the images are as near to theirs",
            ),
            Metric(
                "intra_angle_deg",
                "mean to centre",
                "The angle from an image to its own class's centre, averaged over the images.",
                "°",
                1.0,
                2,
                -1,
                brief="from an image to its own class's centre",
            ),
        ),
    ),
    Section(
        "Unseen classes: verification",
        "Are two images of the same class? A pair is accepted when the cosine of its embeddings "
        "reaches a threshold; genuine pairs are of one class, impostor pairs of two.",
        (
            Metric(
                "verification_auc",
                "AUC",
                "The chance that a genuine pair is more similar than an impostor pair.",
                *_PERCENT,
                1,
                brief="genuine pairs are more alike",
            ),
            Metric(
                "verification_eer",
                "EER",
                "The error at the threshold that rejects as large a share of the genuine pairs as it "
                "accepts of the impostor pairs.",
                *_PERCENT,
                -1,
                brief="both errors are equal",
            ),
            Metric(
                "verification_tar_at_far_{x}",
                "TAR@FAR {x}",
                "The share of genuine pairs that is accepted when a share of {x} of the impostor "
                "pairs is.",
                *_PERCENT,
                1,
                brief="genuine pairs accepted",
            ),
            Metric(
                "verification_accuracy",
                "verification accuracy",
                "The share of pairs judged rightly, each by the threshold that was best on the other "
                "folds.",
                *_PERCENT,
                1,
                brief="pairs judged rightly",
            ),
        ),
    ),
    Section(
        "Unseen classes: retrieval",
        "Every image in turn searches all others.",
        (
            Metric(
                "retrieval_recall_at_{x}",
                "recall@{x}",
                "The share of images that find one of their own class among the {x} nearest.",
                *_PERCENT,
                1,
                brief="find their class among {x}",
            ),
            Metric(
                "retrieval_r_precision",
                "R-precision",
                "The share of an image's own class among its R nearest, where R is the number of "
                "other images that its class has.",
                *_PERCENT,
                1,
                brief="own class among the R nearest",
            ),
            Metric(
                "retrieval_map_at_r",
                "mAP@R",
                "R-precision in which an image of the own class counts for more the earlier it comes.",
                *_PERCENT,
                1,
                brief="the same, early ones first",
            ),
        ),
    ),
    Section(
        "Unseen classes: identification",
        "A gallery enrols one image a class; further images, the probes, search it.",
        (
            Metric(
                "identification_rank_{x}",
                "rank-{x}",
                "The share of probes whose class is among the {x} most similar of the gallery.",
                *_PERCENT,
                1,
                brief="class among the first {x}",
            ),
            Metric(
                "identification_fnir_at_fpir_{x}",
                "FNIR@FPIR {x}",
                "The share of probes of enrolled classes that is missed when a share of {x} of the "
                "probes of other classes is wrongly found.",
                *_PERCENT,
                -1,
                brief="enrolled probes missed",
            ),
        ),
    ),
    Section(
        "Unseen classes: one-shot",
        "1,000 random episodes: so many classes (ways), each known by one image; a second of each is "
        "to be told. The interval is over episodes, for these classes.",
        (
            Metric(
                "one_shot_{x}_way",
                "{x}-way 1-shot",
                "The share of images whose class is the most similar of {x}, each known by one image.",
                *_PERCENT,
                1,
                brief="class found among {x}",
            ),
        ),
    ),
    Section(
        "Training",
        "One value an epoch. The metrics of the test split are measured on the validation split "
        f"as well, where their names begin with `{VALIDATION}`; some of those of unseen classes on the "
        f"validation classes, where they begin with `{VALIDATION_CLASSES}`: AUC, EER, TAR@FAR 1e-2 and "
        "1e-3, recall@1, R-precision, mAP@R, each epoch on a sample of their images.",
        (
            Metric(
                "train_loss",
                "training loss",
                "The header's loss, with its margin, averaged over the batches of an epoch.",
                better=-1,
            ),
        ),
    ),
)
ROWS = tuple(row for section in SECTIONS for row in section.metrics)
# Those of unseen classes that validation classes have too: see `metrics.validation`.
OF_VALIDATION_CLASSES = (
    *("verification_auc", "verification_eer"),
    *("verification_tar_at_far_1e-02", "verification_tar_at_far_1e-03"),
    *("retrieval_recall_at_1", "retrieval_r_precision", "retrieval_map_at_r"),
)
# Those of unseen classes that a table for a page of paper has room for.
UNSEEN_IN_TABLES = (
    *("verification_auc", "verification_eer"),
    *("verification_tar_at_far_1e-02", "verification_tar_at_far_1e-03"),
    *("retrieval_recall_at_1", "retrieval_map_at_r"),
    *("identification_rank_1", "identification_fnir_at_fpir_1e-01"),
)


def tested(score: str) -> str:
    """The metric of the test that a score is the validation's counterpart of."""
    return score.removeprefix(VALIDATION_CLASSES).removeprefix(VALIDATION)


def metric(name: str) -> Metric:
    return _find(name)[1]


def in_order(names: Iterable[str]) -> list[str]:
    """As the table has them; what it does not have comes last, by name. Numbers in names count."""
    return sorted(set(names), key=lambda name: (_find(name)[0], _natural(name)))


def _natural(name: str) -> list[tuple[int, str]]:
    """recall@5 before recall@10."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def metric_names(of_runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics that are a number in any of these runs, in order."""
    return in_order(
        name for metrics in of_runs for name, value in metrics.items() if number(value) is not None
    )


def curves() -> list[Metric]:
    """What training measures after each epoch."""
    measured = [row.name for row in SECTIONS[0].metrics if row.name != PREDICTED]
    validation = [f"{VALIDATION}{name}" for name in measured]
    classes = [f"{VALIDATION_CLASSES}{name}" for name in OF_VALIDATION_CLASSES]
    return [metric(name) for name in ("train_loss", *validation, *classes)]


@cache
def _find(name: str) -> tuple[int, Metric]:
    """The place in the table, and the row with a family's `{x}` filled in."""
    for place, row in enumerate(ROWS):
        if found := re.fullmatch(re.escape(row.name).replace(r"\{x\}", "(.+)"), name):
            x = "".join(found.groups()).replace("e-0", "e-")
            texts = (row.title, row.meaning, row.brief)
            title, meaning, brief = (text.replace("{x}", x) for text in texts)
            return place, row._replace(name=name, title=title, meaning=meaning, brief=brief)
    if name.startswith(VALIDATION):
        place, row = _find(tested(name))
        title = f"validation {row.title}"
        return place + len(ROWS), row._replace(name=name, title=title)
    unknown = Metric(name, name, "")
    if name.endswith("_deg"):
        words = name.removesuffix("_deg").replace("_", " ")
        unknown = Metric(name, words, "", "°", 1.0, 2)
    return 2 * len(ROWS), unknown


def number(value: Any, otherwise: Any = None) -> Any:
    """A float, from text too, or `otherwise`."""
    try:
        return otherwise if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise


def as_markdown() -> str:
    """docs/metrics.md"""
    parts = [
        "# Metrics\n",
        "What each number is called and means. Angles are in degrees. This page is made by",
        "`python -m arcmargin.metrics.table`, its picture by `python scripts/draw_metrics.py`.\n",
        "![Arcs, gaps, centres and the margin of one image on the circle](metrics.png)\n",
        "A class's **arc** runs from the 5th to the 95th percentile of its images around its",
        "**centre**; the **gap** is what two neighbouring arcs leave free, the **centre gap** the angle",
        "between their centres. An image's **margin** is its angle to the nearest other centre less",
        "the angle to its own.",
    ]
    for section in SECTIONS:
        parts += [f"\n## {section.title}\n", f"{section.introduction}\n"]
        parts += [
            "| metric | in records | unit | better | meaning |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in section.metrics:
            title, meaning = (words.replace("{x}", "*x*") for words in (row.title, row.meaning))
            better = row.direction.partition(" ")[0] or "–"
            name = row.name.replace("{x}", "x")
            parts.append(f"| {title} | `{name}` | {row.unit or '–'} | {better} | {meaning} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
