"""The axes of a sweep: what varies, by itself or together, and the jobs that come of it.

    header=arcface,cosface                      two values
    zip(header=arcface,cosface; m2=0.3,0)       two pairs, not four combinations
    m2=interval(0.1,0.6)                        no list: for a search only

Members of a zip are separated by `;` or `,`, its values by `,`; a list in brackets is read as its
values. Hydra's own plan of such sweeps (its docs/design/zipped_sweeps.md) names each one,
`heads=zip(...)`: the name is its key in hydra.sweeper.params.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from arcmargin.errors import UserError

_ZIP = re.compile(r"\s*(?:([\w-]+)=)?zip\((.*)\)\s*", re.DOTALL)
_BEGINS = re.compile(r"\s*([\w-]+=)?zip\(")
MOST_JOBS = 100_000  # of one sweep: all are listed before the first begins
_EXAMPLE = "expected zip(header=arcface,cosface; m2=0.3,0)"


class Axis(NamedTuple):
    """One dimension of a sweep."""

    text: str  # as it was given
    keys: tuple[str, ...]  # as Hydra names them: header, dataset.classes
    points: Sequence[
        tuple[str, ...]
    ]  # overrides, one for each key; none where no values are listed
    override: Override | None = None  # None for a zip

    @property
    def varies(self) -> bool:
        return self.override is None or self.override.is_sweep_override()


def quoted(arguments: Sequence[str]) -> list[str]:
    """The arguments with each `zip(...)` as one of hydra.sweeper.params, which Hydra can read.

    Raises UserError for one without an end.
    """
    rest = [one for one in arguments if not _BEGINS.match(one)]
    params: list[str] = []
    for one in arguments:
        if _BEGINS.match(one):
            name = _inside(one)[1] or f"zip{len(params) + 1}"
            text = QuotedString(one.partition("zip(")[1] + one.partition("zip(")[2], Quote.double)
            params.append(f"++hydra.sweeper.params.{name}={text.with_quotes()}")
    multirun = ["--multirun"] if params and not {"-m", "--multirun"} & set(arguments) else []
    return [*multirun, *rest, *params]


def axes(
    arguments: Sequence[str],
    *,
    params: Mapping[str, object] | None = None,
    loader: ConfigLoader | None = None,
) -> list[Axis]:
    """All of a sweep's axes: `arguments` of the command line go before a configuration's `params`,
    and among these zips before the rest.

    Raises UserError for a zip that cannot be read, and for a key that two axes want to set.
    """
    parser = OverridesParser.create(config_loader=loader)
    texts = {key: str(value) for key, value in (params or {}).items()}
    zips = [text for text in texts.values() if _BEGINS.match(text)]
    found: dict[str, Axis] = {}
    for axis in _ordinary([f"{k}={v}" for k, v in texts.items() if v not in zips], parser):
        found[axis.keys[0]] = axis
    for text in zips:
        axis = _zip(text, parser)
        for key in axis.keys:
            if key in found and found[key].override is None:
                raise UserError(f"{found[key].text} and {text} both set {key}; drop it from one")
            found.pop(key, None)
        found |= dict.fromkeys(axis.keys, axis)
    for axis in _ordinary(arguments, parser):
        (key,) = axis.keys
        if key in found and found[key].override is None:
            raise UserError(f"{found[key].text} sets {key}, so {axis.text} cannot be given too")
        found[key] = axis
    return list({id(axis): axis for axis in found.values()}.values())


def count(axes: Iterable[Axis]) -> int:
    """Of all combinations. Raises UserError for an axis that lists no values, and for too many jobs."""
    total = 1
    for axis in axes:
        if axis.override is not None and axis.override.is_interval_sweep():
            raise UserError(
                f"{axis.text} names no values to try one after another; list them (m2=0.2,0.4), or "
                "search with hydra/sweeper=optuna"
            )
        if not axis.points:
            raise UserError(f"{axis.text}: nothing matches, so there is nothing to run")
        total *= len(axis.points)
    if total > MOST_JOBS:
        raise UserError(
            f"a sweep has at most {MOST_JOBS:,} jobs, and these are more: list fewer values, or search "
            "with hydra/sweeper=optuna"
        )
    return total


def jobs(axes: Iterable[Axis]) -> list[list[str]]:
    """The overrides of every combination. Raises UserError as `count` does."""
    axes = list(axes)
    count(axes)
    combinations = itertools.product(*(axis.points for axis in axes))
    return [list(itertools.chain(*points)) for points in combinations]


def _ordinary(overrides: Sequence[str], parser: OverridesParser) -> Iterator[Axis]:
    for override in parser.parse_overrides(list(overrides)):
        text, name = str(override.input_line), override.get_key_element()
        if not override.is_sweep_override():
            points: Sequence[tuple[str, ...]] = [(text,)]
        elif override.is_discrete_sweep():
            values = itertools.islice(override.sweep_string_iterator(), MOST_JOBS + 1)
            points = [(f"{name}={value}",) for value in values]
        else:
            points = []
        yield Axis(text, (override.key_or_group,), points, override)


def _inside(text: str) -> re.Match[str]:
    if (found := _ZIP.fullmatch(text)) is None:
        raise UserError(f"cannot read '{text}'; {_EXAMPLE}")
    return found


def _zip(text: str, parser: OverridesParser) -> Axis:
    columns: dict[str, list[str]] = {}
    for member in _members(_inside(text)[2]):
        override = _member(member, text, parser)
        name = override.get_key_element()
        if override.key_or_group in {key.lstrip("+") for key in columns}:
            raise UserError(f"'{text}' sets {override.key_or_group} twice")
        columns[name] = [f"{name}={value}" for value in override.sweep_string_iterator()]
    if len(columns) < 2:
        raise UserError(f"'{text}' pairs nothing; {_EXAMPLE}")
    if len({len(column) for column in columns.values()}) > 1:
        counts = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
        raise UserError(f"'{text}' has values that do not pair up: {counts}; list as many of each")
    points = list(zip(*columns.values(), strict=True))
    return Axis(text, tuple(name.lstrip("+") for name in columns), points)


def _member(text: str, whole: str, parser: OverridesParser) -> Override:
    """`m2=0.3,0` or `m2=[0.3,0]` as Hydra reads a sweep."""
    key, equals, values = (part.strip() for part in text.partition("="))
    try:
        (override,) = parser.parse_overrides([key + equals + values])
        if not override.is_sweep_override():
            listed = re.fullmatch(r"\[(.*)\]", values, re.DOTALL)
            (override,) = parser.parse_overrides(
                [f"{key}=choice({listed[1] if listed else values})"]
            )
        if override.is_discrete_sweep():
            return override
    except HydraException as error:
        raise UserError(f"cannot read '{text}' in '{whole}'; {_EXAMPLE}") from error
    raise UserError(f"'{text}' in '{whole}' names no values; {_EXAMPLE}")


def _members(text: str) -> list[str]:
    """The parts between `;`, and between a `,` and the next `key=`, that no bracket or quote holds."""
    parts, start, depth, quote = [], 0, 0, ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[place - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif depth == 0 and (
            letter == ";" or (letter == "," and re.match(r",\s*[+\w./@]+\s*=", text[place:]))
        ):
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in [*parts, text[start:]]]
