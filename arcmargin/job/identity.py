"""Which two runs are the same one: those that would compute the same thing."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from arcmargin.job.schema import what_changes_the_result
from arcmargin.record import NO_MARGIN, formula_name

# Known by name, as importing the class takes seconds and a folder's name must not.
FORMULA = ("arcmargin.headers.MarginHeader", "arcmargin.headers.margin.MarginHeader")


def identity(cfg: DictConfig) -> str:
    """Eight hex digits that two runs share only when they would compute the same thing."""
    content = what_changes_the_result(cfg)
    if cfg.matched is None:  # a head without a margin of its own ignores the wanted gap
        content.pop("gap_deg", None)
    elif cfg.gap_deg is not None:
        content["header"].pop(cfg.matched, None)  # it will be replaced
    text = json.dumps(_same_numbers(content), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _same_numbers(value: Any) -> Any:
    """8 and 8.0 are one setting."""
    if isinstance(value, dict):
        return {key: _same_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_same_numbers(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def header_name(block: Mapping[str, Any], choice: str) -> str:
    """What a head is called: of the formula by the margins that act, else by its configuration."""
    given = {key: block.get(key) for key in NO_MARGIN}
    numbers = {key: float(v) for key, v in given.items() if isinstance(v, int | float)}
    if block.get("_target_") in FORMULA and len(numbers) == len(NO_MARGIN):
        return formula_name(**numbers)
    return choice


def folder_name(cfg: DictConfig, choice: str) -> str:
    """The name of a job's folder, the same whenever the same job is asked for. `choice` is the name of
    the header's configuration."""
    block: Any = OmegaConf.to_container(cfg.header, resolve=True)
    if cfg.gap_deg and cfg.matched in block:
        block[cfg.matched] = float("nan")  # it will act, whatever it comes to
    return f"{header_name(block, choice)}_seed{cfg.seed}_{identity(cfg)}"
