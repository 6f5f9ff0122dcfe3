"""Records grouped into configurations: what their settings are, and which one is the baseline."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from arcmargin.metrics.table import number
from arcmargin.record import Record

MARGINS = ("m1", "m2", "m3", "s")
MARGINS_AND_GAP = (*MARGINS, "gap_deg")  # gap_deg: the override that sets matched margins
NEUTRAL = {"m1": 1.0, "m2": 0.0, "m3": 0.0}
SETTINGS = ("dataset", "embedding_dim", "backbone", "optimizer", "epochs", "header", *MARGINS)
HEADERS = ("linear", "normface", "arcface", "cosface", "sphereface")  # then others by name
IN_FORMULA = (*HEADERS[1:], "combined")  # the headers that are normface when their margin is zero
# overrides that do not change a result, or that a field of the record holds
NOT_SETTINGS = {"seeds", "sweep", "logger", "hydra", "wandb", "data_dir", "resume", "on_error"}
IN_RECORD = {f.name for f in fields(Record)} | {"embedding_dim.size"}
MISSING = "default"  # the value of an override that a run does not have


class Configuration(NamedTuple):
    """Runs that differ in nothing but the seed."""

    settings: dict[str, Any]
    records: list[Record]  # by seed

    @property
    def finished(self) -> list[Record]:
        return [record for record in self.records if record.finished]

    def values(self, metric: str) -> dict[Any, float]:
        """By seed, of the finished runs that have it."""
        known = ((run.seed, number(run.metrics.get(metric))) for run in self.finished)
        return {seed: value for seed, value in known if value is not None}


def configurations(records: Iterable[Record], extra: Sequence[str] = ()) -> list[Configuration]:
    """Runs grouped by every setting; `extra` names further keys to keep apart, such as seed. Of
    repeats with one seed only the last finished counts: they would pass for independent runs. But
    where two sweeps hold the same run, the sweep is a setting like any other."""
    records = list(records)
    keys = dict.fromkeys([*SETTINGS, *varying_overrides(records), *extra])
    if _sweeps_overlap(records, list(keys)):
        keys["sweep"] = None
    groups: dict[tuple[Any, ...], dict[Any, Record]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record.finished):
        group = groups[tuple(setting(record, key) for key in keys)]
        group[record.folder if record.seed is None else record.seed] = record
    found = [
        Configuration(
            dict(zip(keys, values, strict=True)),
            sorted(runs.values(), key=lambda run: rank("seed", run.seed)),
        )
        for values, runs in groups.items()
    ]
    return sorted(found, key=lambda one: [rank(key, one.settings[key]) for key in keys])


def name_sweeps(records: Iterable[Record]) -> None:
    """Sets each record's `sweep`: the folder that its run folder lies in, by as much of the path as
    tells it from the others."""
    records = [record for record in records if record.folder is not None]
    homes = {record.folder.resolve().parent for record in records if record.folder}
    for length in range(1, max((len(home.parts) for home in homes), default=0) + 1):
        names = {home: str(Path(*home.parts[-length:])) for home in homes}
        if len(set(names.values())) == len(homes):
            break
    for record in records:
        record.sweep = names[record.folder.resolve().parent] if record.folder else ""


def _sweeps_overlap(records: Sequence[Record], keys: Sequence[str]) -> bool:
    """Whether any two runs differ in nothing but the sweep."""
    if len({record.sweep for record in records}) < 2:
        return False
    homes: dict[tuple[Any, ...], str] = {}
    for record in records:
        place = (*(setting(record, key) for key in keys), record.seed)
        if homes.setdefault(place, record.sweep) != record.sweep:
            return True
    return False


def setting(record: Record, key: str) -> Any:
    """A field of the record, or else what the run's overrides say. None for a margin that the
    header does not take, and for a wanted gap without a margin to give it."""
    if key in MARGINS and not record.takes(key):
        return None
    if key in SETTINGS or key in ("seed", "sweep"):
        return getattr(record, key)
    value = _overrides(record).get(key, MISSING)
    if key == "gap_deg" and value != 0 and not _has_margin(record):
        return None
    return value


def _has_margin(record: Record) -> bool:
    """Whether a wanted gap set one: its header names it, or else it shows in the value."""
    if "matched" in record.extra:
        return record.extra["matched"] is not None
    return any(
        record.takes(key) and getattr(record, key) != value for key, value in NEUTRAL.items()
    )


def varying_overrides(records: Iterable[Record]) -> list[str]:
    """Keys such as optimizer.lr that are no field of a record and not the same in all."""
    overrides = [_overrides(record) for record in records]
    keys = sorted({key for one in overrides for key in one})
    return [key for key in keys if len({one.get(key, MISSING) for one in overrides}) > 1]


def _overrides(record: Record) -> dict[str, Any]:
    pairs = (text.lstrip("+~").partition("=") for text in record.overrides)
    return {
        key: number(value, value)
        for key, _, value in pairs
        if key not in IN_RECORD and key.split(".")[0] not in NOT_SETTINGS
    }


def rank(key: str, value: Any) -> tuple[Any, ...]:
    """Sorts headers in their own order, numbers before words, and what is missing first."""
    if key == "header":
        return (HEADERS.index(value) if value in HEADERS else len(HEADERS), value)
    as_number = number(value)
    return (value is not None, as_number is None, as_number or 0.0, str(value))


# ---- the baseline ---------------------------------------------------------------------------------


def without_margin(one: Configuration) -> bool:
    """Whether this is the unified header at m = 0."""
    neutral = all(one.settings[key] == value for key, value in NEUTRAL.items())
    return neutral and one.settings["header"] in IN_FORMULA


def context(one: Configuration) -> dict[str, Any]:
    """The settings that a fair comparison of heads holds equal: all but the head and its own."""
    own = ("header", *MARGINS_AND_GAP)
    return {k: v for k, v in one.settings.items() if k not in own and not k.startswith("header.")}


def baselines(found: Sequence[Configuration]) -> list[int | None]:
    """The place of each configuration's baseline: m = 0 in the same context and at the same scale,
    or else plain softmax; None if neither ran."""
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(found):
        alike[tuple(context(one).values())].append(index)
    chosen = []
    for one in found:
        scale, others = one.settings["s"], alike[tuple(context(one).values())]
        zero = [i for i in others if without_margin(found[i])]
        zero = [i for i in zero if scale in (None, found[i].settings["s"])]
        zero.sort(key=lambda i: found[i].settings["header"] != "normface")
        linear = [i for i in others if found[i].settings["header"] == "linear"]
        chosen.append(next(iter([*zero, *linear]), None))
    return chosen
