"""A fair comparison (+study=fair): what its tests say of the heads, and which one to take."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from arcmargin.metrics.score import best
from arcmargin.metrics.table import tested
from arcmargin.record import Found, Result, Study
from arcmargin.report.configurations import Configuration
from arcmargin.report.contest import Contest, contest
from arcmargin.report.margin_axes import Context


class Judged(NamedTuple):
    """The comparison in one context, such as a data set."""

    title: str  # empty where it is the only one
    contest: Contest  # by the metric that the choice of settings was by
    others: Sequence[Contest]  # by the further metrics
    runs: Mapping[str, Sequence[Result]]  # that finished, of each head
    study: Study

    @property
    def winner(self) -> str | None:
        """Of the heads that beat the baselines, or else of these, the one that the validation likes
        best: the test decides who may win, not who does."""
        candidates = [head.label for head in self.contest.winners] or self.contest.baselines
        scores = {label: self.validation(label) for label in candidates}
        known = {label: score for label, score in scores.items() if score is not None}
        if not known:
            return next(iter(candidates), None)
        return (max if best(self.study.score) == "max" else min)(known, key=known.__getitem__)

    def validation(self, label: str) -> float | None:
        """The mean of the score that chose, over the tested runs."""
        scores = [run.validation.get(self.study.score) for run in self.runs[label]]
        known = [score for score in scores if score is not None]
        return float(np.mean(known)) if known else None


def without_trials(found: Found) -> Found:
    """What is tested once is what was chosen: trials count only while there is nothing else."""
    tests = [run for run in found.results if not run.settings.is_trial]
    return found._replace(results=tests) if tests else found


def judge(
    found: Sequence[Configuration],
    labels: Sequence[str],
    contexts: Sequence[Context],
    names: Sequence[str],
    otherwise: str,
) -> list[Judged]:
    """One for each context of a study; none where no run of a study is tested. `names` are the metrics,
    `otherwise` the one to judge by where the score of the choice is not measured by the test."""
    judged = []
    for context in contexts:
        members = [index for index in context.members if found[index].finished]
        part = found[members[0]].finished[0].settings.study if members else None
        if part is None or part.stage == "trial":
            continue
        headers = [found[index].settings["header"] for index in members]
        called = headers if len(set(headers)) == len(headers) else [labels[i] for i in members]
        baselines = [
            label
            for index, label in zip(members, called, strict=True)
            if index in context.baselines
        ]
        contests = {
            name: contest(
                {
                    label: found[index].values(name)
                    for index, label in zip(members, called, strict=True)
                },
                baselines,
                name,
            )
            for name in names
        }
        first = tested(part.score)
        headline = contests.pop(first if first in contests else otherwise)
        runs = {label: found[index].finished for index, label in zip(members, called, strict=True)}
        judged.append(Judged(context.title, headline, [*contests.values()], runs, part))
    return judged
