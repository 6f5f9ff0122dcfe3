"""The verdict of a fair comparison in words: a sentence to quote, a table, its limits, advice."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arcmargin.files import display_path
from arcmargin.metrics.table import metric
from arcmargin.record import Result
from arcmargin.report import ranks
from arcmargin.report.contest import Contest, Head
from arcmargin.report.labels import NOTHING
from arcmargin.report.recipe import RECIPE, command
from arcmargin.report.statistics import LEAST_SEEDS, Difference, Interval
from arcmargin.report.study import Judged
from arcmargin.report.tuning import Tuned, at_the_edge

MOST_NAMED = 4


def sentence(one: Judged) -> str:
    """The verdict; always one sentence, to be quoted as a whole."""
    words = _verdict(one)
    return f"{one.title}: {words}" if one.title else words[0].upper() + words[1:]


def _verdict(one: Judged) -> str:
    contest = one.contest
    base = contest.best_baseline
    if base is None:
        return (
            "no baseline is among these heads, so nothing says whether a margin helps: add "
            "header=linear and header=normface."
        )
    if not contest.challengers:
        return "only baselines were compared: add heads with a margin, such as header=arcface."
    if not any(d.p is not None for head in contest.challengers for d in head.less.values()):
        if contest.seeds > 1:
            return (
                "whether a head beats the baselines cannot be said: every seed shows the same "
                f"differences in {contest.metric.title}, so nothing tells what the noise is; harder "
                "or more test images would."
            )
        return (
            f"whether a head beats the baselines cannot be said from one seed: take at least "
            f"study.seeds={LEAST_SEEDS}, better ten."
        )
    budget = f"p after Holm; {contest.seeds} fresh seeds, {_trials(one)}"
    named = _baselines(one)
    if contest.winners:
        winners = contest.winners
        gains = "; ".join(
            f"{head.label} by {_gain(contest, head, base)}" for head in winners[:MOST_NAMED]
        )
        more = f"; and {len(winners) - MOST_NAMED} more" if len(winners) > MOST_NAMED else ""
        over = f"over {base.label}, the better one, " if len(contest.baselines) > 1 else ""
        return (
            f"{len(winners)} of {_number(len(contest.challengers), 'head')} "
            f"{'beats' if len(winners) == 1 else 'beat'} {named} in {contest.metric.title}: "
            f"{over}{gains}{more} ({budget})."
        )
    nearest, count = contest.challengers[0], len(contest.challengers)
    nobody = (
        f"the one head, {nearest.label}, does not beat"
        if count == 1
        else f"none of {count} heads beats"
    )
    best = "it" if count == 1 else f"the best, {nearest.label},"
    return (
        f"{nobody} {named} in {contest.metric.title} by more than the noise: {best} differs from "
        f"{base.label} by {_gain(contest, nearest, base)} ({budget})."
    )


def _trials(one: Judged) -> str:
    if not one.study.tuned:
        return "no tuning"
    epochs = f" of {one.study.epochs} epochs" if one.study.epochs else ""
    return f"{one.study.trials} trials{epochs} each"


def _baselines(one: Judged) -> str:
    tuned = "tuned baseline" if one.study.tuned else "baseline"
    means = {head.label: one.contest.metric.with_unit(head.mean) for head in one.contest.heads}
    named = [f"{label} {means[label]}" for label in one.contest.baselines]
    which = "the" if len(named) == 1 else "both" if len(named) == 2 else f"all {len(named)}"
    return f"{which} {tuned}{'s' * (len(named) > 1)} ({', '.join(named)})"


def _gain(contest: Contest, head: Head, base: Head) -> str:
    found = head.less.get(base.label)
    if found is None:
        return "an amount that no common seed tells"
    return f"{_points(contest, found)}, {_p(found)}"


def _points(contest: Contest, one: Difference) -> str:
    """`+4.81 points, 95 % interval 4.20 to 5.42`"""
    shown = contest.metric
    unit = "points" if shown.unit == "%" else shown.unit
    text = f"{_signed(shown.name, one.mean)} {unit}".rstrip()
    if one.half is None:
        return text
    low, high = one.mean - one.half, one.mean + one.half
    return f"{text}, 95 % interval {_signed(shown.name, low)} to {_signed(shown.name, high)}"


def _signed(name: str, value: float) -> str:
    shown = metric(name)
    return f"{shown.factor * value:+.{shown.digits or 2}f}".replace("-", "−")


def _p(one: Difference) -> str:
    if one.corrected is None:
        return "not tested"
    return "p < 0.001" if one.corrected < 0.001 else f"p = {one.corrected:.3f}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


# ---- the table -------------------------------------------------------------------------------------


class Table(NamedTuple):
    heads: list[str]
    rows: list[list[str]]
    caption: str


def table(one: Judged) -> Table:
    contest = one.contest
    heads = ["head", contest.metric.heading, "middle half", "settings"]
    for baseline in contest.baselines:
        heads += [f"less {baseline}", "p", "beats it"]
    heads.append("smallest shown")
    rows = []
    for head in contest.heads:
        row = [head.label, _spread(contest, head.spread), _spread(contest, head.middle)]
        row.append(chosen(one, head.label))
        for baseline in contest.baselines:
            row += _against(contest, head.less.get(baseline))
        rows.append([*row, _smallest(contest, head)])
    return Table(heads, rows, _caption(one))


def _spread(contest: Contest, spread: Interval | None) -> str:
    """`76.5 (75.1 to 77.9)`"""
    if spread is None:
        return NOTHING
    shown = contest.metric.shown
    text = shown(spread.mean)
    if spread.half is not None:
        text += f" ({shown(spread.mean - spread.half)} to {shown(spread.mean + spread.half)})"
    return text.replace("-", "−")


def _against(contest: Contest, one: Difference | None) -> list[str]:
    if one is None:
        return [NOTHING] * 3
    text = _signed(contest.name, one.mean)
    if one.half is not None:
        ends = [_signed(contest.name, one.mean + sign * one.half) for sign in (-1, 1)]
        text += f" ({ends[0]} to {ends[1]})"
    chance = contest.chance(one)
    bold = f"**{text}**" if one.larger_than_noise else text
    return [bold, _p(one).removeprefix("p = ").removeprefix("p "), _chance(chance)]


def _chance(chance: float | None) -> str:
    if chance is None:
        return NOTHING
    return ">99 %" if chance > 0.99 else "<1 %" if chance < 0.01 else f"{100 * chance:.0f} %"


def _smallest(contest: Contest, head: Head) -> str:
    known = [size for one in head.less.values() if (size := contest.smallest(one)) is not None]
    return contest.metric.shown(max(known)) if known else NOTHING


def _caption(one: Judged) -> str:
    count = one.contest.seeds
    return (
        f"Test split, each over {_number(count, 'seed')}; in brackets 95 % intervals over seeds. Middle "
        "half: the interquartile mean. Less a baseline: the paired difference over seeds, bold where it "
        f"is larger than the noise (t-test, {one.contest.comparisons} comparisons corrected by Holm). "
        "Beats it: the probability with a new seed. Smallest shown: the true difference that so many "
        "seeds find in four of five cases."
    )


def chosen(one: Judged, label: str) -> str:
    """`m2 = 0.31, s = 22.1`: what the head chose, or what its YAML has."""
    settings = one.runs[label][0].settings
    given = dict(text.lstrip("+").partition("=")[::2] for text in settings.overrides if "=" in text)
    tuned = {key: given[key] for key in one.study.tuned if key in given}
    if not one.study.tuned:
        own = {key: getattr(settings, key) for key in ("m1", "m2", "m3", "s")}
        neutral = {"m1": 1.0, "m2": 0.0, "m3": 0.0}
        tuned = {
            key: str(value)
            for key, value in own.items()
            if value is not None and value != neutral.get(key)
        }
    return ", ".join(f"{key} = {_four_digits(value)}" for key, value in tuned.items()) or NOTHING


def _four_digits(value: str) -> str:
    return f"{float(value):.4g}" if re.fullmatch(r"\d+\.\d+", value) else value


# ---- limits and advice -----------------------------------------------------------------------------


def limits(one: Judged, tuned: Sequence[Tuned] = ()) -> list[str]:
    """What the statistics do not speak for, in sentences."""
    runs = [run for of_one in one.runs.values() for run in of_one]
    contest, seeds = one.contest, one.contest.seeds
    found = [
        "Seeds vary the initial weights and the order of the batches on one fixed split of one data "
        "set: nothing here speaks for other data, backbones or lengths of training."
    ]
    if seeds < 5:
        found.append(
            f"{_number(seeds, 'seed')} can show large differences only: read “not shown” as “not "
            "known”, never as “equal”. Ten are the default."
        )
    if (own := _of_a_single_run(contest.name, runs)) is not None:
        found.append(
            f"The test images are a sample too, the same for all heads: of a single run the "
            f"{contest.metric.title} is known to about ± {contest.metric.with_unit(own)} (95 %)."
        )
    elif contest.name == "accuracy" and (classes := _classes(runs)):
        found.append(
            "The test images are a sample too, the same for all heads"
            f" ({classes} classes): intervals over seeds do not contain that."
        )
    if not one.study.tuned:
        found.append(
            "Nothing was tuned: each head ran with the settings of its YAML, which may suit one "
            "better than another."
        )
    elif one.study.epochs:
        found.append(
            f"Settings were chosen by trials of {one.study.epochs} epochs, and the tests have "
            f"{runs[0].settings.epochs}: what learns slowly may have been passed over."
        )
    if one.study.tuned and one.study.trials < 10:
        found.append(
            f"{_number(one.study.trials, 'trial')} a head search little: a head that is hard to tune "
            "may be better than this shows."
        )
    edges = list(at_the_edge(tuned))
    if edges:
        found.append(f"A better choice may lie beyond what was searched: {'; '.join(edges)}.")
    names = {label: len(of_one) for label, of_one in one.runs.items()}
    fewer = [label for label, count in names.items() if count < max(names.values())]
    if fewer:
        found.append(f"Some seeds of {', '.join(fewer)} are missing: they failed or were not run.")
    return found


def _of_a_single_run(name: str, runs: Sequence[Result]) -> float | None:
    """Half of its interval over the images, in the middle of all runs."""
    halves = [
        (high - low) / 2
        for run in runs
        if name in run.intervals
        for low, high in [run.intervals[name]]
    ]
    return float(np.median(halves)) if halves else None


def _classes(runs: Sequence[Result]) -> int | None:
    """As many as all runs have."""
    found = {run.settings.num_classes for run in runs}
    return found.pop() if len(found) == 1 else None


def advice(one: Judged, out: Path) -> list[str]:
    """Paragraphs: what to train, how, and how sure that is."""
    label = one.winner
    if label is None:
        return []
    contest, run = one.contest, one.runs[label][0]
    if contest.winners:
        few = len(contest.winners) == 1
        chances = [
            f"{_chance(contest.chance(found))} over {baseline}"
            for baseline, found in next(h for h in contest.heads if h.label == label).less.items()
        ]
        why = (
            f"Take {label} ({chosen(one, label)}): "
            + ("the one head" if few else "of the heads")
            + f" that {'beats' if few else 'beat'} the baselines"
            + ("" if few else ", the best on the validation")
            + f"; with a new seed it wins with a probability of {' and '.join(chances)}."
        )
    else:
        why = (
            f"Take {label} ({chosen(one, label)}): no head is shown to beat it, and of the baselines it "
            "is the best on the validation."
        )
    caveat = (
        "This holds for these data and this length of training; the settings were chosen by "
        f"{one.study.trials} trials, and near ones may be as good."
        if one.study.tuned
        else "This holds for these data, and for settings that nobody tuned."
    )
    folder = shlex.quote(display_path(out))
    again = f"python -m arcmargin.run --config-dir {folder} +experiment={Path(RECIPE).stem}"
    return [f"{why} {caveat}", command(run), again]


def markdown(judged: Sequence[Judged], tuned: Sequence[Tuned], out: Path) -> str:
    """verdict.md"""
    parts = ["# Verdict"]
    for place, one in enumerate(judged):
        parts += contest_markdown(one, tuned)
        if told := advice(one, out):
            # The YAML is the first one's.
            commands = told[1:] if place == 0 else told[1:2]
            parts += [told[0], "\n".join(["```sh", *commands, "```"])]
    if over_all := ranks.sentence([one.contest for one in judged]):
        parts += ["## Over all", over_all]
    return "\n\n".join(parts) + "\n"


def contest_markdown(one: Judged, tuned: Sequence[Tuned] = ()) -> list[str]:
    """Paragraphs: the sentence, the table, what other metrics say, the limits."""
    shown = table(one)
    rule = ["---"] + ["---:"] * 2 + ["---"] + ["---:"] * (len(shown.heads) - 4)
    return [
        *([f"## {one.title}"] if one.title else []),
        f"> {sentence(one)}",
        "\n".join(f"| {' | '.join(line)} |" for line in [shown.heads, rule, *shown.rows]),
        shown.caption,
        *by_other_metrics(one),
        "\n".join(f"- {text}" for text in limits(one, tuned)),
    ]


def by_other_metrics(one: Judged) -> list[str]:
    """Who beats the baselines there; not a second choice of what to judge by."""
    found: dict[str, list[str]] = {}
    for contest in one.others:
        if contest.metric.better and contest.winners:
            found.setdefault(_winners(contest), []).append(contest.metric.title)
    if not found:
        return []
    listed = "; ".join(f"{who} ({', '.join(metrics)})" for who, metrics in found.items())
    return [f"By other metrics these beat all baselines, each corrected by itself: {listed}."]


def _winners(contest: Contest) -> str:
    """`all 10`, `all but magface`, or their names."""
    won = {head.label for head in contest.winners}
    rest = [head.label for head in contest.challengers if head.label not in won]
    if not rest:
        return f"all {len(won)}" if len(won) > 1 else won.pop()
    if len(won) > 3 * len(rest):
        return f"all but {', '.join(sorted(rest))}"
    return ", ".join(sorted(won))
