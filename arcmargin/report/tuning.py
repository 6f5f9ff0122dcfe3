"""How a fair comparison chose its settings: the score by the number of trials and by each setting."""

from collections.abc import Iterator, Sequence
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arcmargin.metrics.score import best
from arcmargin.record import JOURNAL_FILE


class Tuned(NamedTuple):
    """A head's trials that ended, in the order in which they were asked for."""

    label: str
    score: str  # the name of the validation metric
    scores: Sequence[float]
    settings: Sequence[dict[str, float]]
    ranges: dict[str, tuple[float, float, bool]]  # low, high, logarithmic

    @property
    def header(self) -> str:
        words = dict(text.partition("=")[::2] for text in self.label.split())
        return words.get("header", self.label)

    @property
    def pick(self) -> int:
        """The place of the trial that was chosen."""
        return int((np.argmax if best(self.score) == "max" else np.argmin)(self.scores))

    @property
    def chosen(self) -> dict[str, float]:
        return self.settings[self.pick]


def load(folders: Sequence[Path]) -> list[Tuned]:
    """From the journals of the sweeps; none without Optuna, which is an extra."""
    if not any((folder / JOURNAL_FILE).exists() for folder in folders):
        return []
    try:
        from optuna.distributions import FloatDistribution, IntDistribution
        from optuna.trial import TrialState

        from arcmargin.report import journal
    except ImportError:
        return []
    found = []
    for folder in folders:
        for study in journal.load(folder / JOURNAL_FILE):
            ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if not ended:
                continue
            numbers = {
                name: (float(one.low), float(one.high), one.log)
                for name, one in ended[0].distributions.items()
                if isinstance(one, FloatDistribution | IntDistribution)
            }
            found.append(
                Tuned(
                    study.study_name,
                    study.user_attrs["score"],
                    [float(trial.value) for trial in ended if trial.value is not None],
                    [{name: float(trial.params[name]) for name in numbers} for trial in ended],
                    numbers,
                )
            )
    return found


def expected_best(scores: Sequence[float], direction: str = "max") -> np.ndarray:
    """Of 1, 2 … n of the trials, taken without putting back, the best one's score on average.

    After Dodge et al. 2019 (arXiv 1909.03004), who put back, which is biased (Tang et al. 2020).
    """
    sign = 1 if direction == "max" else -1
    rising = np.sort(sign * np.asarray(scores, dtype=float))
    n = len(rising)
    return np.array(
        [
            sign * sum(comb(i, k - 1) * rising[i] for i in range(n)) / comb(n, k)
            for k in range(1, n + 1)
        ]
    )


def at_the_edge(tuned: Sequence[Tuned], share: float = 0.05) -> Iterator[str]:
    """`m2 from 0 to 0.8 (arcface 0.79)`: choices so near an end of their range that a better one may lie
    beyond. A margin of zero is an end beyond which there is nothing."""
    found: dict[str, list[str]] = {}
    for one in tuned:
        if not len(one.scores):
            continue
        for name, value in one.chosen.items():
            low, high, log = one.ranges[name]
            at, start, end = np.log([value, low, high]) if log else (value, low, high)
            near_low = (at - start) < share * (end - start) and low > 0
            if near_low or (end - at) < share * (end - start):
                searched = f"{name} from {low:.4g} to {high:.4g}"
                found.setdefault(searched, []).append(f"{one.header} {value:.4g}")
    for searched, heads in found.items():
        yield f"{searched} ({', '.join(heads)})"
