"""From a composed configuration, which stays as it is, to plain objects: data, module, settings."""

import inspect
import logging
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args

import pytorch_lightning as pl
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from arcmargin.backbones import Backbone
from arcmargin.data import add_pairs
from arcmargin.data.features import with_features
from arcmargin.data.image_data import ImageData, Normalise
from arcmargin.errors import UserError
from arcmargin.headers import Header
from arcmargin.job import schema
from arcmargin.job.identity import header_name, identity
from arcmargin.job.schema import score_of, validation_classes
from arcmargin.margins import (
    infeasible_margin_message,
    is_feasible,
    matched_margins,
    neighbour_angle,
)
from arcmargin.record import NO_MARGIN, Settings, Study
from arcmargin.training.checkpoints import load_body
from arcmargin.training.module import Description, MarginModule

log = logging.getLogger("arcmargin")

FEATURES = Path("outputs/features")
FEW_STEPS, ENOUGH_STEPS = 4, 8  # an epoch: with fewer than these, as many as those
LEAST_BATCH = 8  # BatchNorm estimates a mean from it
# Of the angle between neighbouring centres: 28° of ten classes' 36° on a circle.
DEFAULT_GAP = 7 / 9


class Choices(NamedTuple):
    """What the groups' configurations are called, and what the user typed."""

    header: str
    dataset: str
    backbone: str
    optimizer: str
    overrides: Sequence[str]


class Built(NamedTuple):
    data: ImageData
    module: MarginModule
    settings: Settings


def build(cfg: DictConfig, choices: Choices) -> Built:
    """What the user got wrong comes out here, before anything is trained."""
    quieten_lightning()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    block = header_block(cfg)
    _check_header(block)
    _refuse_what_the_header_cannot(cfg, block, choices.header)
    _check_types("header", block)
    for group in ("backbone", "optimizer", "schedule", "augment"):
        _check_types(group, OmegaConf.to_container(cfg[group], resolve=True))
    data = load_data(cfg)
    if cfg.gap_deg is not None:
        block |= _matched_margin(cfg, data.num_classes, choices.overrides)
    else:
        block |= _feasible_default(cfg, block, choices, data.num_classes)
    pl.seed_everything(cfg.seed, verbose=False)
    size = cfg.embedding_dim.size
    backbone = build_backbone(cfg.backbone, data.image_shape, size)
    module = MarginModule(
        backbone,
        instantiate(block, embedding_dim=size, num_classes=data.num_classes, _convert_="all"),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        normalise=Normalise(data.mean, data.std),
        augment=instantiate(cfg.augment),
        header_lr=cfg.header_lr,
        description=_description(cfg, data),
    )
    _check_optimizer(module, str(cfg.optimizer.get("_target_")))
    if isinstance(backbone, Backbone) and cfg.backbone.get("frozen"):
        data = _features(data, backbone, module.augment)
        module.normalise = nn.Identity()
    if cfg.compile:
        backbone.compile()  # in place: the names in a checkpoint stay the same
    settings = settings_of(cfg, choices, block, data)
    _warn(cfg, block, choices, settings, len(data.train))
    return Built(data, module, settings)


def header_block(cfg: DictConfig) -> dict[str, Any]:
    """The header's settings, resolved; `header.s=8` is a number like any other."""
    block: Any = OmegaConf.to_container(cfg.header, resolve=True)
    whole = {k: float(v) for k, v in block.items() if k in ("s", *NO_MARGIN) and type(v) is int}
    return block | whole


def settings_of(
    cfg: DictConfig,
    choices: Choices,
    block: Mapping[str, Any] | None = None,
    data: ImageData | None = None,
) -> Settings:
    """What acts: the header's resolved `block` and the data; as far as the configuration alone tells
    where these were never made."""
    if block is None:
        block = header_block(cfg)
    given = {key: block.get(key) for key in ("s", *NO_MARGIN)}
    numbers = {k: float(v) for k, v in given.items() if isinstance(v, int | float)}
    name = header_name(block, choices.header)
    return Settings(
        header=name,
        dataset=data.name if data and choices.dataset == "folder" else choices.dataset,
        embedding_dim=cfg.embedding_dim.size,
        backbone=choices.backbone,
        optimizer=choices.optimizer,
        epochs=cfg.epochs,
        batch_size=_fitting_batch_size(cfg, choices, len(data.train)) if data else cfg.batch_size,
        seed=cfg.seed,
        threads=torch.get_num_threads(),
        **numbers,
        in_formula=_is_formula(block),
        matched=cfg.matched,
        gap_deg=cfg.gap_deg if cfg.matched is not None else None,
        num_classes=data.num_classes if data else None,
        class_names=list(data.class_names) if data else [],
        validation_classes=list(data.unseen_val_names) if data else [],
        overrides=list(choices.overrides),
        study=_study(cfg),
        identity=identity(cfg),
    )


def _fitting_batch_size(cfg: DictConfig, choices: Choices, images: int) -> int:
    """In the place of a default batch size that leaves few steps in an epoch, one that makes enough. One
    that the user or an experiment set stays."""
    size: int = cfg.batch_size
    default = size == schema.Schema().batch_size
    if any(re.match(r"\+*batch_size=", one) for one in choices.overrides) or not default:
        return size
    if math.ceil(images / size) < FEW_STEPS:
        while size > LEAST_BATCH and images // size < ENOUGH_STEPS:
            size //= 2
    return size


def _study(cfg: DictConfig) -> Study | None:
    if cfg.study.stage is None:
        return None
    of_study: Any = OmegaConf.to_container(cfg.study, resolve=True)
    kept = {key: of_study[key] for key in ("stage", "trials", "epochs", "tuned")}
    return Study(**kept, score=score_of(cfg))


def _is_formula(block: Mapping[str, Any]) -> bool:
    try:
        return bool(getattr(get_object(str(block["_target_"])), "in_formula", False))
    except Exception:  # a target that does not exist: the run failed for that
        return False


def _check_header(block: Mapping[str, Any]) -> None:
    """Before it is called: a name can be any program's."""
    target = str(block.get("_target_"))
    try:
        found = get_object(target)
    except Exception as error:
        raise UserError(
            f"header._target_ is '{target}', which cannot be imported; expected a subclass of "
            "arcmargin.headers.Header by its full name"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Header)):
        raise UserError(
            f"header._target_ is '{target}', which is no subclass of arcmargin.headers.Header"
        )


_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _check_types(group: str, settings: Any) -> None:
    """A setting must be of the type that its target declares, where that is a plain one."""
    try:
        called = inspect.signature(get_object(str(settings["_target_"])), eval_str=True)
    except Exception:  # whoever calls it says what is wrong, and some hints are only names
        return
    for key, value in settings.items():
        hint = called.parameters[key].annotation if key in called.parameters else Any
        kinds = set(get_args(hint) or [hint])
        plain = kinds - {NoneType}
        if not plain or not plain <= _PLAIN.keys() or (value is None and NoneType in kinds):
            continue
        if type(value) not in plain and not (type(value) is int and float in plain):
            words = " or ".join(_PLAIN[kind] for kind in _PLAIN if kind in plain)
            raise UserError(f"{group}.{key} must be {words}, got {value!r}")


def _refuse_what_the_header_cannot(cfg: DictConfig, block: Mapping[str, Any], header: str) -> None:
    """Unlike a margin that has no effect, a saving that is not made would end in a full memory."""
    for key, unset in (("class_chunk", None), ("sample_rate", 1.0)):
        if cfg[key] != unset and key not in block:
            raise UserError(
                f"header={header} takes no {key}: only a head whose loss is a softmax over s·cos θ_j "
                f"with a margin on the target alone does; drop {key}={cfg[key]}"
            )
    if cfg.shard and "shard" not in block:
        raise UserError(
            f"header={header} takes no shard: only a head of the margin formula, such as arcface or "
            "cosface, has its classes spread over processes; drop shard=true"
        )
    if block.get("shard") and str(cfg.trainer.get("precision")) in ("16", "16-mixed"):
        raise UserError(
            "shard=true does not go with trainer.precision=16-mixed, whose loss is scaled by what each "
            "process finds among its own gradients; take bf16-mixed"
        )


def load_data(cfg: DictConfig) -> ImageData:
    resolved = (
        {"unseen_val": validation_classes(cfg.dataset)} if "unseen_val" in cfg.dataset else {}
    )
    data = instantiate(cfg.dataset, _convert_="all", **resolved)
    if not isinstance(data, ImageData):
        raise UserError(
            f"dataset._target_ is '{cfg.dataset._target_}', which made a {type(data).__name__}; "
            "expected a function that returns an arcmargin.data.ImageData"
        )
    if isinstance(pairs := cfg.verification_pairs, str):
        data = add_pairs(data, pairs, data_dir=cfg.data_dir, on_bad_image=cfg.on_bad_image)
    return data


def _matched_margin(
    cfg: DictConfig, num_classes: int, overrides: Sequence[str]
) -> dict[str, float]:
    """The one margin that the header names as its own, with the value that gives the wanted gap."""
    given = [o for o in overrides if re.match(r"\+*(header\.)?m[123]=", o)]
    if given:
        raise UserError(
            f"gap_deg chooses the margins, so {given[0]} cannot be set with it; drop one"
        )
    margins = matched_margins(cfg.gap_deg, num_classes, cfg.embedding_dim.size)
    return {} if cfg.matched is None else {cfg.matched: margins[cfg.matched]}


def _feasible_default(
    cfg: DictConfig, block: Mapping[str, Any], choices: Choices, num_classes: int
) -> dict[str, float]:
    """In the place of a default margin that so many classes cannot meet, the one matched to a gap that
    they can. A margin that the user set stays."""
    given = any(re.match(r"\+*(header\.)?m[123]=", one) for one in choices.overrides)
    key, dim = cfg.matched, cfg.embedding_dim.size
    if given or key is None or not _is_formula(block) or num_classes < 2:
        return {}
    margins = {name: block[name] for name in NO_MARGIN}
    delta = neighbour_angle(num_classes, dim)
    if delta == 0 or is_feasible(**margins, delta=delta):
        return {}
    gap = DEFAULT_GAP * math.degrees(delta)
    found = matched_margins(gap, num_classes, dim)[key]
    log.warning(
        "%s's %s = %g needs more than %d dimensions for %d classes; using %.3g, a gap of %.3g°; "
        "%s=%g keeps it",
        *(choices.header, key, block[key], dim, num_classes, found, gap, key, block[key]),
    )
    return {key: found}


def build_backbone(group: DictConfig, image_shape: Sequence[int], embedding_dim: int) -> nn.Module:
    """The backbone of a configuration's group, with the weights that it names."""
    settings: Any = OmegaConf.to_container(group, resolve=True)
    weights, frozen = settings.pop("weights", None), settings.pop("frozen", False)
    if frozen and weights is None:
        raise UserError("backbone.frozen=true needs weights to freeze: set backbone.weights too")
    backbone = instantiate(settings, image_shape=image_shape, embedding_dim=embedding_dim)
    if not isinstance(backbone, nn.Module):
        raise UserError(
            f"backbone._target_ is '{settings['_target_']}', which made a {type(backbone).__name__}; "
            "expected a torch.nn.Module from images to embeddings"
        )
    if weights is None:
        return backbone
    if not isinstance(backbone, Backbone):
        raise UserError(
            "backbone.weights go into the body of an arcmargin.backbones.Backbone, which "
            f"'{settings['_target_']}' does not make"
        )
    load_body(backbone.body, str(weights))
    if frozen:
        backbone.freeze_body()
    return backbone


def _check_optimizer(module: MarginModule, target: str) -> None:
    """Now, and not when training begins."""
    try:
        made: Any = module.new_optimizer()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the optimizer '{target}' cannot be made: {reason}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(
            f"optimizer._target_ is '{target}', which made a {type(made).__name__}; expected a "
            "torch.optim.Optimizer"
        )


def _features(data: ImageData, backbone: Backbone, augment: nn.Module) -> ImageData:
    """The data set as the frozen body sees it: once for all runs with these weights and images."""
    if not isinstance(augment, nn.Identity):
        raise UserError(
            "backbone.frozen=true computes features once: images cannot be augmented; set augment=none"
        )
    data = with_features(data, backbone.body, FEATURES)
    backbone.takes_features = True
    return data


def _description(cfg: DictConfig, data: ImageData) -> Description:
    backbone: Any = OmegaConf.to_container(cfg.backbone, resolve=True)
    return Description(
        {k: v for k, v in backbone.items() if k not in ("weights", "frozen")},
        cfg.embedding_dim.size,
        data.image_shape,
        data.mean.tolist(),
        data.std.tolist(),
    )


def quieten_lightning() -> None:
    """What Lightning says about itself is not what the run says."""
    for name in ("pytorch_lightning", "lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", "Grad strides do not match")  # torch's, of a 3×3×1 layer
    warnings.filterwarnings("ignore", module="lightning_fabric")  # such as that there is a srun


def _warn(
    cfg: DictConfig,
    block: Mapping[str, Any],
    choices: Choices,
    settings: Settings,
    images: int,
) -> None:
    """What a careful reader of the configuration would have noticed."""
    for override in choices.overrides:
        key = re.match(r"\+*(m1|m2|m3|s)=", override)
        if key and key[1] not in block and cfg[key[1]] != NO_MARGIN.get(key[1]):
            log.warning("%s takes no %s: %s has no effect", choices.header, key[1], override)
    if said := _about_steps(cfg, settings, images):
        log.warning("%s", said)
    if not settings.in_formula:
        return
    if settings.header not in (choices.header, "normface"):
        log.warning("header=%s with these margins is %s", choices.header, settings.name)
    margins = (float(block["m1"]), float(block["m2"]), float(block["m3"]))
    classes, dim = len(settings.class_names), settings.embedding_dim
    if infeasible := infeasible_margin_message(*margins, classes, dim):
        log.warning("%s", infeasible)


def _about_steps(cfg: DictConfig, settings: Settings, images: int) -> str | None:
    """Of an epoch that has few of them."""
    steps, used = math.ceil(images / cfg.batch_size), settings.batch_size or cfg.batch_size
    made = f"{images:,} training images make {steps} step{'s' * (steps > 1)} an epoch"
    if used != cfg.batch_size:
        return (
            f"{made} with batch_size={cfg.batch_size}; using {used}, {math.ceil(images / used)} steps; "
            f"batch_size={cfg.batch_size} keeps it"
        )
    return f"{made}: lower batch_size or raise epochs" if steps == 1 else None
