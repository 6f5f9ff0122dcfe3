"""Every top-level option: its type, its range and whether it changes a run's result.

conf/config.yaml says what they mean. A new option is one line here and one there.
"""

import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.metrics.score import DEFAULT, DEFAULT_UNSEEN, best
from arcmargin.metrics.table import VALIDATION_CLASSES

Group = dict[str, Any]

# A source tree keeps conf/ at the top; a wheel carries it inside the package.
_PACKAGE = Path(__file__).resolve().parents[1]
CONF = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())


def option(default: Any, *, changes_result: bool = True, **limits: Any) -> Any:
    """A plain option. `limits`: least, most (inclusive), above, below (exclusive) or choices."""
    return field(default=default, metadata={"changes_result": changes_result, "limits": limits})


def group(*not_in_result: str, **limits: dict[str, Any]) -> Any:
    """A configuration group: the keys in it that change no result, and the limits of others."""
    metadata = {"changes_result": True, "not_in_result": not_in_result, "group_limits": limits}
    return field(default_factory=dict, metadata=metadata)


@dataclass
class EmbeddingDim:
    size: int = 2


@dataclass
class Wandb:
    mode: str = "auto"
    project: str = "arcmargin"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    pictures: int = 8
    table_rows: int = 0
    checkpoint: bool = False
    save_code: bool = False


@dataclass
class Study:
    """A fair comparison, of which this run may be a part."""

    name: str | None = None  # None: there is no study
    trials: int = 20
    seeds: int = 10
    epochs: int | None = None
    lr: float | None = 20.0
    stage: str | None = None  # set by the sweeper in each job: trial or test
    tuned: list[str] = field(default_factory=list)  # so is this: what each header chooses


@dataclass
class Schema:
    header: Group = group("class_chunk", "shard", shard={"choices": (True, False)})
    dataset: Group = group(
        *("data_dir", "on_bad_image", "cache"), split_seed={"least": 0, "most": 2**32 - 1}
    )
    embedding_dim: EmbeddingDim = field(default_factory=EmbeddingDim)
    backbone: Group = group()
    augment: Group = group()
    optimizer: Group = group(
        lr={"above": 0}, momentum={"least": 0, "below": 1}, weight_decay={"least": 0}
    )
    schedule: Group = group()
    trainer: Group = group(
        *("accelerator", "devices", "num_nodes", "strategy"),
        strategy={"choices": ("auto", "ddp", "ddp_find_unused_parameters_true")},
        gradient_clip_val={"least": 0},
        accumulate_grad_batches={"least": 1},
        limit_train_batches={"above": 0},
    )
    logger: Group | None = option(None, changes_result=False)
    wandb: Wandb = field(default_factory=Wandb, metadata={"changes_result": False})
    # These count through the head that takes them.
    m1: float = option(1.0, changes_result=False, least=1)
    m2: float = option(0.0, changes_result=False, least=0)
    m3: float = option(0.0, changes_result=False, least=0)
    s: float = option(30.0, changes_result=False, above=0)
    ramp: float = option(0.0, changes_result=False, least=0, most=1)
    init: str = option("random", changes_result=False, choices=("random", "even"))
    gradient: str = option("detached", changes_result=False, choices=("detached", "autograd"))
    class_chunk: int | None = option(None, changes_result=False, least=1)
    sample_rate: float = option(1.0, changes_result=False, above=0, most=1)
    shard: bool = option(False, changes_result=False)
    matched: str | None = option(None, changes_result=False, choices=("m1", "m2", "m3"))
    gap_deg: float | None = option(None, least=0, below=360)
    seed: int = option(0, least=0, most=2**32 - 1)
    epochs: int = option(1, least=1)
    batch_size: int = option(128, least=2)  # BatchNorm cannot train on a single image
    header_lr: float = option(1.0, least=0)
    evaluate: str = option("last", choices=("last", "best"))
    score: str = option("auto", changes_result=False)
    space: dict[str, Any] = field(default_factory=dict, metadata={"changes_result": False})
    study: Study = field(
        default_factory=Study,
        metadata={
            "changes_result": False,
            "group_limits": {
                "trials": {"least": 0},
                "seeds": {"least": 1},
                "epochs": {"least": 1},
                "lr": {"above": 1},
            },
        },
    )
    verification_pairs: int | str | None = option(None)
    on_bad_image: str = option("stop", changes_result=False, choices=("stop", "skip"))
    resume: str | None = option(None, changes_result=False)
    threads: int | None = option(None, changes_result=False, least=1, most=256)
    compile: bool = option(False, changes_result=False)
    data_dir: str = option("data", changes_result=False)
    sweep: str = option("", changes_result=False)
    on_error: str = option("continue", changes_result=False, choices=("continue", "raise"))


AUTO = "auto"
FIFTH = 0.2  # of the training classes, for validation


@functools.cache  # once a process
def store() -> None:
    """Makes it known to Hydra as `schema`, which conf/config.yaml begins with."""
    ConfigStore.instance().store(name="schema", node=Schema)


def check(cfg: DictConfig) -> None:
    """Raises UserError for an option that is out of its range, was removed, or that nothing reads."""
    known = [f.name for f in fields(Schema)]
    if unknown := [str(key) for key in cfg if key not in (*known, "hydra")]:
        raise UserError(
            f"nothing reads '{unknown[0]}'{did_you_mean(unknown[0], known)}; drop it, or give the key "
            "that you mean"
        )
    for one in fields(Schema):
        if one.name not in cfg:
            raise UserError(f"'{one.name}' was removed, but every run needs it; drop ~{one.name}")
        value = cfg[one.name]
        _check_limits(one.name, value, one.metadata.get("limits", {}))
        for key, limits in one.metadata.get("group_limits", {}).items():
            _check_limits(f"{one.name}.{key}", value.get(key), limits)
    score_of(cfg)
    if cfg.study.name is None and cfg.study != OmegaConf.structured(Study):
        raise UserError("study.trials, study.seeds and so on belong to +study=fair; give that too")
    _check_limits("embedding_dim", cfg.embedding_dim.get("size"), {"least": 1, "most": 2**20})
    for key in ("header", "dataset", "backbone", "optimizer", "schedule", "trainer"):
        if not cfg[key]:
            raise UserError(f"'{key}' is empty, but every run needs one; drop ~{key}")


def validation_classes(dataset: Mapping[str, Any]) -> Any:
    """What dataset.unseen_val comes to: with `auto` a fifth, where a class is unseen."""
    given = dataset.get("unseen_val")
    if given != AUTO:
        return given or None
    unseen = any(dataset.get(key) is not None for key in ("unseen", "unseen_path"))
    return FIFTH if unseen else None


def score_of(cfg: DictConfig) -> str:
    """The validation metric that settings and the best epoch are chosen by.

    Raises UserError for one that cannot choose, or that needs classes that are not there.
    """
    with_classes = validation_classes(cfg.dataset) is not None
    if cfg.score == AUTO:
        return DEFAULT_UNSEEN if with_classes else DEFAULT
    best(cfg.score)
    if cfg.score.startswith(VALIDATION_CLASSES) and not with_classes:
        raise UserError(
            f"score={cfg.score} is measured on validation classes, of which there are none; hold some "
            "out with dataset.unseen_val=0.2"
        )
    return str(cfg.score)


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """`: did you mean epochs?`, or nothing where no known key is near."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else ""


def _check_limits(key: str, value: Any, limits: dict[str, Any]) -> None:
    if value is None or not limits:
        return
    if "choices" in limits:
        if value not in limits["choices"]:
            choices = " or ".join(repr(one) for one in limits["choices"])
            raise UserError(f"{key} must be {choices}, got {value!r}")
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key} must be a number, got {value!r}")
    broken = {
        "least": lambda bound: value < bound,
        "most": lambda bound: value > bound,
        "above": lambda bound: value <= bound,
        "below": lambda bound: value >= bound,
    }
    if not math.isfinite(value) or any(broken[name](bound) for name, bound in limits.items()):
        words = {"least": ">=", "most": "<=", "above": ">", "below": "<"}
        said = " and ".join(f"{words[name]} {bound:g}" for name, bound in limits.items())
        raise UserError(f"{key} must be {said}, got {value}")


def what_changes_the_result(cfg: DictConfig) -> dict[str, Any]:
    """The options that do, resolved; what is null or false in a group is as good as absent."""
    content: dict[str, Any] = {}
    for one in fields(Schema):
        if not one.metadata.get("changes_result", True):
            continue
        value = cfg[one.name]
        if OmegaConf.is_config(value):
            plain: Any = OmegaConf.to_container(value, resolve=True)
            if one.name == "dataset":
                plain["unseen_val"] = validation_classes(plain)
            ignored = one.metadata.get("not_in_result", ())
            content[one.name] = {
                k: v
                for k, v in plain.items()
                if k not in ignored and v is not None and v is not False
            }
        elif value is not None:
            content[one.name] = value
    if cfg.evaluate == "best" and (score := score_of(cfg)) != DEFAULT:
        content["score"] = score  # it chooses the epoch
    if cfg.study.stage == "trial":
        content["test"] = False  # a trial is not tested
    return content
