"""The answer in a few sentences: which configuration is best, and what may be believed of it."""

from collections.abc import Sequence

import numpy as np

from arcmargin.metrics.table import Metric, metric, tested
from arcmargin.record import Result
from arcmargin.report.configurations import Configuration
from arcmargin.report.margin_axes import Context
from arcmargin.report.statistics import LEAST_SEEDS, Difference, interval

UNSEEN_HEADLINES = ("verification_tar_at_far_1e-03", "retrieval_recall_at_1", "verification_eer")
MOST_NAMED = 4


def headline(found: Sequence[Configuration]) -> str:
    """The metric that a comparison is first of all about: of unseen classes where there are any."""
    for name in UNSEEN_HEADLINES:
        if any(one.values(name) for one in found):
            return name
    return "accuracy"


def verdict(
    found: Sequence[Configuration],
    labels: Sequence[str],
    contexts: Sequence[Context],
    to_baseline: Sequence[Difference],
    name: str,
) -> list[str]:
    """A sentence or two for each context in which heads can be compared."""
    sentences = []
    for context in contexts:
        members = [index for index in context.members if found[index].values(name)]
        if not members:
            continue
        where = f"{context.title}: " if context.title else ""
        tests = [one for one in to_baseline if one.metric == name and one.first in members]
        sentences.append(where + _best(found, labels, members, metric(name)))
        if len(members) > 1:
            sentences[-1] += f" {_noise(labels, tests, metric(name), bool(context.baselines))}"
    if not sentences and all(run.settings.is_trial for one in found for run in one.finished):
        return ["No test yet, only trials: their scores on the validation are in search.html."]
    return sentences or [f"No run here was tested for its {metric(name).title}."]


def _best(
    found: Sequence[Configuration], labels: Sequence[str], members: Sequence[int], one: Metric
) -> str:
    """Chosen by the validation split where the runs have such a score and it is of this metric."""
    scores = {index: [run.score for run in found[index].finished] for index in members}
    names = {tested(run.score_name) for index in members for run in found[index].finished}
    by_score = names == {one.name} and all(None not in of_one for of_one in scores.values())

    def quality(index: int) -> float:
        values = scores[index] if by_score else list(found[index].values(one.name).values())
        return one.better * float(np.mean([v for v in values if v is not None]))

    best = max(members, key=quality)
    values = list(found[best].values(one.name).values())
    spread = interval(values)
    half = spread.half if spread and len(values) >= LEAST_SEEDS else None
    shown = one.with_unit(float(np.mean(values)), half).replace("-", "−")
    over = f"95 % interval over {len(values)} seeds" if half is not None else _runs(len(values))
    if len(members) == 1:
        return f"{labels[best]}: {one.title} {shown} ({over})."
    if by_score:
        chosen = f"Best on the validation split: {labels[best]}, with a test {one.title} of {shown}"
        return f"{chosen} ({over})."
    return (
        f"Best {one.title}: {labels[best]} with {shown} ({over}; chosen among {len(members)} on these "
        "very images, which flatters it a little)."
    )


def _noise(labels: Sequence[str], tests: Sequence[Difference], one: Metric, baseline: bool) -> str:
    if not baseline:
        return (
            "No run without a margin is among these, so nothing says whether a margin helps: add "
            "header=normface (m = 0), or header=linear."
        )
    tested = [test for test in tests if test.p is not None]
    if not tested:
        return (
            "Whether a difference exceeds the noise cannot be said from one seed: run at least "
            f"{LEAST_SEEDS} of each configuration, better five to ten."
        )
    clear = sorted((t for t in tests if t.larger_than_noise), key=lambda t: -t.mean * one.better)
    seeds = max(test.seeds for test in tested)
    if not clear:
        return (
            f"No configuration's {one.title} differs from its baseline by more than the noise of "
            f"{seeds} seeds."
        )
    unit = "points" if one.unit == "%" else one.unit
    shown = [
        f"{labels[test.first]} by {one.factor * test.mean:+.{one.digits or 2}f} {unit}".replace(
            "-", "−"
        )
        for test in clear
    ]
    named = "; ".join(shown[:MOST_NAMED]) + ("; …" if len(shown) > MOST_NAMED else ".")
    differ = "differs from its" if len(clear) == 1 else "differ from their"
    return (
        f"{len(clear)} of {len(tests)} configurations {differ} baseline by more than the noise of "
        f"{seeds} seeds: {named}"
    )


def _runs(count: int) -> str:
    return "one run: no interval" if count == 1 else f"{count} runs: too few for an interval"


def notes(results: Sequence[Result]) -> list[str]:
    """What a reader of the tables has to know besides."""
    threads = sorted({run.settings.threads for run in results if run.settings.threads})
    if len(threads) < 2:
        return []
    counts = ", ".join(map(str, threads[:-1])) + f" and {threads[-1]}"
    return [
        f"Runs on {counts} threads are mixed: the number of threads changes a result in its last "
        "digits, which training magnifies; threads=1 makes runs comparable to the last digit."
    ]
