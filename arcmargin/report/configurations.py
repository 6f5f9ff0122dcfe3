"""What a configuration is: runs that differ in nothing but the seed; its settings, its baseline."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from arcmargin.metrics.table import number
from arcmargin.record import NO_MARGIN, Result, Settings
from arcmargin.report.style import HEADER_COLOURS

PLAIN_SOFTMAX = "linear"  # the layer without scale and margin: the other baseline
MARGINS = (*NO_MARGIN, "s")
MARGINS_AND_GAP = (*MARGINS, "gap_deg")  # gap_deg: sets the margin of each head
SETTINGS = (
    *("dataset", "embedding_dim", "backbone", "optimizer", "epochs", "batch_size", "header"),
    *MARGINS,
)
# overrides that do not change a result, or that the settings hold
NOT_SETTINGS = {
    "seeds",
    "study",
    "sweep",
    "logger",
    "hydra",
    "wandb",
    "data_dir",
    "resume",
    "on_error",
}
IN_SETTINGS = {f.name for f in fields(Settings)} | {"embedding_dim.size"}
MISSING = "default"  # the value of an override that a run does not have


class Configuration(NamedTuple):
    """Runs that differ in nothing but the seed."""

    settings: dict[str, Any]
    results: list[Result]  # by seed

    @property
    def finished(self) -> list[Result]:
        return [result for result in self.results if result.finished]

    def values(self, metric: str) -> dict[Any, float]:
        """By seed, of the finished runs that have it."""
        known = ((run.settings.seed, run.metrics.get(metric)) for run in self.finished)
        return {seed: value for seed, value in known if value is not None}

    @property
    def without_margin(self) -> bool:
        """Whether this is the formula at m = 0."""
        neutral = all(self.settings[key] == value for key, value in NO_MARGIN.items())
        return neutral and self.results[0].settings.in_formula

    @property
    def plain_softmax(self) -> bool:
        return self.settings["header"] == PLAIN_SOFTMAX


def name_sweeps(results: Iterable[Result]) -> None:
    """Sets each result's `sweep`: the folder that its run folder lies in, by as much of the path as
    tells it from the others."""
    results = [result for result in results if result.folder is not None]
    parents = [result.folder.resolve().parent for result in results if result.folder]
    for length in range(1, max((len(home.parts) for home in parents), default=0) + 1):
        names = {home: str(Path(*home.parts[-length:])) for home in parents}
        if len(set(names.values())) == len(names):
            break
    for result, home in zip(results, parents, strict=True):
        result.sweep = names[home]


def setting(result: Result, key: str) -> Any:
    """What acted, or else what the run's overrides say. None for what the header does not take."""
    if key == "sweep":
        return result.sweep
    if key in IN_SETTINGS:
        return getattr(result.settings, key)
    return _overrides(result).get(key, MISSING)


def further_settings(results: Iterable[Result]) -> list[str]:
    """gap_deg, and overrides such as optimizer.lr that no setting holds, where they vary."""
    results = list(results)
    runs = [_overrides(result) for result in results]
    keys = dict.fromkeys(key for overrides in runs for key in overrides)
    varying = [key for key in keys if len({run.get(key, MISSING) for run in runs}) > 1]
    gaps = {result.settings.gap_deg for result in results}
    return [*(["gap_deg"] if len(gaps - {None}) > 1 else []), *varying]


def _overrides(result: Result) -> dict[str, str]:
    pairs = (override.lstrip("+~").partition("=") for override in result.settings.overrides)
    return {
        key: value
        for key, _, value in pairs
        if key not in IN_SETTINGS and key.split(".")[0] not in NOT_SETTINGS
    }


def rank(key: str, value: Any) -> tuple[Any, ...]:
    """Sorts headers in their own order, numbers before words, and what is missing first."""
    if key == "header":
        known = list(HEADER_COLOURS)
        return (known.index(value) if value in known else len(known), value)
    as_number = number(value)
    return (value is not None, as_number is None, as_number or 0.0, str(value))


def last_line(error: str | None) -> str:
    return (error or "").strip().splitlines()[-1] if (error or "").strip() else ""


# ---- the baseline ---------------------------------------------------------------------------------


def context(one: Configuration) -> dict[str, Any]:
    """The settings that a fair comparison of heads holds equal: all but the head and its own."""
    own = {"header", *MARGINS_AND_GAP, *tuned(one)}
    return {k: v for k, v in one.settings.items() if k not in own and not k.startswith("header.")}


def tuned(one: Configuration) -> list[str]:
    """The settings that each head chose for itself, in a study."""
    study = one.results[0].settings.study
    return study.tuned if study else []


def baselines(found: Sequence[Configuration]) -> list[int | None]:
    """The place of each configuration's baseline: m = 0 in the same context and at the same scale,
    unless each chose its own; or else plain softmax; None if neither ran."""
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(found):
        alike[tuple(context(one).values())].append(index)
    chosen = []
    for one in found:
        scale, others = one.settings["s"], alike[tuple(context(one).values())]
        zero = [i for i in others if found[i].without_margin]
        if "s" not in tuned(one):
            zero = [i for i in zero if scale in (None, found[i].settings["s"])]
        linear = [i for i in others if found[i].plain_softmax]
        chosen.append(next(iter([*zero, *linear]), None))
    return chosen
