"""Heads against their baselines, by one metric over the seeds that both have."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from arcmargin.metrics.table import Metric, metric
from arcmargin.report.statistics import (
    Difference,
    Interval,
    chance_of_more,
    half_width,
    holm,
    interquartile,
    interval,
    paired,
    smallest_found,
)


class Head(NamedTuple):
    label: str
    values: Mapping[Any, float]  # by seed
    less: Mapping[str, Difference]  # this head less each baseline; empty for a baseline

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))

    @property
    def spread(self) -> Interval | None:
        return interval(list(self.values.values()))

    @property
    def middle(self) -> Interval | None:
        return interquartile(list(self.values.values()))


class Contest(NamedTuple):
    """The heads, the best mean first, and which of them are the baselines."""

    name: str  # of the metric
    heads: Sequence[Head]
    baselines: Sequence[str]

    @property
    def metric(self) -> Metric:
        return metric(self.name)

    @property
    def challengers(self) -> list[Head]:
        return [head for head in self.heads if head.label not in self.baselines]

    @property
    def comparisons(self) -> int:
        """That are corrected together."""
        return sum(len(head.less) for head in self.heads)

    @property
    def seeds(self) -> int:
        """Over which most differences are taken."""
        return max((one.seeds for head in self.heads for one in head.less.values()), default=0)

    @property
    def winners(self) -> list[Head]:
        """Better than every baseline by more than the noise."""
        return [head for head in self.challengers if head.less and self._beats_all(head)]

    def _beats_all(self, head: Head) -> bool:
        sign = self.metric.better or 1
        return all(one.larger_than_noise and sign * one.mean > 0 for one in head.less.values())

    @property
    def best_baseline(self) -> Head | None:
        """By its mean."""
        return next((head for head in self.heads if head.label in self.baselines), None)

    def chance(self, one: Difference) -> float | None:
        """That the head beats the baseline with a new seed."""
        more = chance_of_more(one)
        return more if more is None or (self.metric.better or 1) > 0 else 1 - more

    def smallest(self, one: Difference) -> float | None:
        """The true difference that so many seeds find in four of five cases."""
        if one.half is None or one.p is None:
            return None
        deviation = one.half / half_width(one.seeds)
        return smallest_found(one.seeds, self.comparisons) * deviation


def contest(
    values: Mapping[str, Mapping[Any, float]], baselines: Sequence[str], name: str
) -> Contest:
    """`values` by head and seed. All differences to all baselines are corrected together by Holm."""
    labels = [label for label, by_seed in values.items() if by_seed]
    against = [label for label in baselines if label in labels]
    found = {
        (label, baseline): difference
        for label in labels
        if label not in against
        for baseline in against
        if (
            difference := paired(
                name,
                labels.index(label),
                labels.index(baseline),
                dict(values[label]),
                dict(values[baseline]),
            )
        )
    }
    corrected = holm([one.p for one in found.values()])
    tested = {
        pair: one._replace(corrected=p)
        for (pair, one), p in zip(found.items(), corrected, strict=True)
    }
    heads = [
        Head(label, values[label], {to: one for (of, to), one in tested.items() if of == label})
        for label in labels
    ]
    sign = metric(name).better or 1
    return Contest(name, sorted(heads, key=lambda head: -sign * head.mean), against)
