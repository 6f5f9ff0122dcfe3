"""Checkpoints: all that writes them, finds them, reads them and tells whether they fit."""

import logging
import math
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from arcmargin.errors import UserError
from arcmargin.files import display_path, write_atomically
from arcmargin.metrics.score import best
from arcmargin.training.module import Description, MarginModule

log = logging.getLogger("arcmargin")

FOLDER = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"
BODY = "backbone.0."  # a checkpoint's names of the tensors of a backbone's body
IGNORED = ("num_batches_tracked",)  # absent in old files, and without effect
MOST_PIXELS = 100_000_000  # of one image that a checkpoint may claim: more is damage


# ---- writing ---------------------------------------------------------------------------------------


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames. Lightning's own way is through another file system and a
    copy, which a kill leaves half done."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        write_atomically(Path(path), lambda file: torch.save(checkpoint, file), flush=False)


def callbacks(folder: Path, score: str) -> list[ModelCheckpoint]:
    """last.ckpt after every epoch; best.ckpt whenever the score improves."""
    where: dict[str, Any] = {"dirpath": folder / FOLDER, "enable_version_counter": False}
    last = ModelCheckpoint(filename="last", **where)
    return [last, ModelCheckpoint(filename="best", monitor=score, mode=best(score), **where)]


# ---- finding ---------------------------------------------------------------------------------------


def find(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint asked for, or the one that an interrupted run left in this same folder."""
    if resume is None:
        last = folder / FOLDER / LAST
        if not last.exists() or _is_whole(last):
            return last if last.exists() else None
        log.warning("%s is damaged; training starts from the beginning", display_path(last))
        last.unlink()
        return None
    path = in_run(Path(resume))
    if not path.is_file():
        raise UserError(
            f"resume={resume} holds no checkpoint; give a run folder or a file such as "
            f"outputs/runs/<run>/{FOLDER}/{LAST}"
        )
    if not _is_whole(path):
        raise UserError(f"{display_path(path)} is damaged: no training can go on from it")
    return path


def in_run(path: Path, name: str = LAST) -> Path:
    """The checkpoint of that name in a run folder, or the file itself."""
    return path / FOLDER / name if path.is_dir() else path


def _is_whole(checkpoint: Path) -> bool:
    """A checkpoint is a zip archive with a checksum for each of its parts."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged archive raises almost anything
        return False


# ---- reading ---------------------------------------------------------------------------------------


class Checkpoint(NamedTuple):
    """One of ours, checked."""

    path: Path
    state: dict[str, Tensor]
    description: Description
    epoch: int  # the last that was trained, from 0
    optimizer_settings: set[str]  # names such as momentum


def read_file(path: Path) -> Any:
    """What torch saved there: tensors and plain values only. Raises UserError for anything else."""
    if not path.is_file():
        raise UserError(f"no file '{path}'; expected a checkpoint or weights that torch saved")
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle that is not torch's
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a file of another kind raises almost anything
        raise UserError(
            f"'{path}' is not a file of weights: torch cannot read it as tensors and plain values "
            "alone, and nothing else is loaded"
        ) from error


def read(path: Path) -> Checkpoint:
    """Raises UserError for what is not one of our checkpoints, or is damaged."""
    content = read_file(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise UserError(
            f"'{path}' is not one of our checkpoints: it has no state_dict; give a run folder or its "
            f"{FOLDER}/{LAST}"
        )
    if not isinstance(content.get("arcmargin"), Mapping):
        raise UserError(
            f"'{path}' is not one of our checkpoints: it does not say how its backbone is built; "
            "another program wrote it; train again, or take its weights with backbone.weights"
        )
    state = {str(key): value for key, value in content["state_dict"].items()}
    for key, value in state.items():
        if not isinstance(value, Tensor) or not bool(torch.isfinite(value).all()):
            raise UserError(f"'{path}' is damaged: {key} holds values that are no finite numbers")
    epoch, optimizers = content.get("epoch"), content.get("optimizer_states")
    match optimizers:
        case [{"param_groups": [Mapping() as first, *_]}, *_]:
            settings = {str(name) for name in first}
        case _:
            raise UserError(f"'{path}' is damaged: it holds no state of an optimizer")
    progress = [content.get("callbacks"), content.get("loops")]
    if not isinstance(epoch, int) or not all(isinstance(part, Mapping) for part in progress):
        raise UserError(f"'{path}' is damaged: it does not say how far training had come")
    return Checkpoint(path, state, _described(content["arcmargin"], path), epoch, settings)


def _described(how: Mapping[str, Any], path: Path) -> Description:
    try:
        channels, height, width = (int(n) for n in how["image_shape"])
        mean, std = ([float(value) for value in how[key]] for key in ("mean", "std"))
        found = Description(
            dict(how["backbone"]), int(how["embedding_dim"]), (channels, height, width), mean, std
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' is damaged: it does not say what images it takes") from error
    pixels = channels * height * width
    numbers = [*mean, *std]
    if not (
        min(found.image_shape) > 0
        and pixels <= MOST_PIXELS
        and found.embedding_dim > 0
        and len(mean) == len(std) == channels
        and all(math.isfinite(value) for value in numbers)
        and min(std) > 0
    ):
        raise UserError(
            f"'{path}' is damaged: it describes images of shape {found.image_shape} with mean {mean} "
            f"and deviation {std}"
        )
    return found


# ---- what fits -------------------------------------------------------------------------------------


def check_resumable(path: Path, module: MarginModule, epochs: int) -> None:
    """Raises UserError for a checkpoint from which the training of `module` cannot go on."""
    found = read(path)
    advice = "go on with the settings of the run that wrote it"
    check_fit(module, found.state, str(path), "resume", advice)
    if odd := sorted(set(found.state) - set(module.state_dict())):
        raise UserError(f"resume: '{path}' has {odd[0]}, which is of another network; {advice}")
    wanted = module.description
    if wanted is not None and (found.description.mean, found.description.std) != (
        wanted.mean,
        wanted.std,
    ):
        raise UserError(f"resume: '{path}' was trained on other images; {advice}")
    if lacking := sorted(set(module.new_optimizer().param_groups[0]) - found.optimizer_settings):
        raise UserError(
            f"resume: '{path}' was trained by another optimizer, one without {lacking[0]}; {advice}"
        )
    if found.epoch >= epochs:
        raise UserError(
            f"resume: '{path}' has {found.epoch + 1} epochs behind it, more than epochs={epochs}"
        )


def load_body(body: nn.Module, weights: str) -> None:
    """A backbone's body gets the weights of torchvision's file, or of a run of one's own. Raises
    UserError that names the first tensor that does not fit."""
    path = in_run(Path(weights))
    content = read_file(path)
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"'{path}' holds no weights: expected a state dict or one of our checkpoints"
        )
    found: dict[str, Tensor] = {str(key): value for key, value in content.items()}
    if any(key.startswith(BODY) for key in found):
        found = {k.removeprefix(BODY): v for k, v in found.items() if k.startswith(BODY)}
    check_fit(body, found, str(path), "backbone.weights")
    wanted = body.state_dict()
    body.load_state_dict({key: found.get(key, wanted[key]) for key in wanted})


def check_fit(
    module: nn.Module,
    found: Mapping[str, Tensor],
    path: str,
    what: str,
    advice: str = "choose the channels, the stem and the width of the file",
) -> None:
    """Every tensor that the module has must be there; a classifier on top of it is left aside."""
    for key, tensor in module.state_dict().items():
        if key.endswith(IGNORED):
            continue
        if key not in found:
            raise UserError(
                f"{what}: '{path}' has no {key} {tuple(tensor.shape)}, which is needed here; it is of "
                "another network"
            )
        if found[key].shape != tensor.shape:
            raise UserError(
                f"{what}: {key} is {tuple(found[key].shape)} in '{path}' but {tuple(tensor.shape)} "
                f"here; {advice}"
            )
