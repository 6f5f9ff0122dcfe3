"""A body's weights from a file: torchvision's, or a run of one's own."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arcmargin.errors import UserError

OURS = "backbone.0."  # a checkpoint's names of the body's tensors
IGNORED = ("num_batches_tracked",)  # absent in old files, and without effect


def read_file(path: Path) -> Any:
    """What torch saved there: tensors and plain values only. Raises UserError for anything else."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle that is not torch's
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(
            f"no file '{path}'; expected a checkpoint or weights that torch saved"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a file of another kind raises almost anything
        raise UserError(
            f"'{path}' is not a file of weights: torch cannot read it as tensors and plain values "
            "alone, and nothing else is loaded"
        ) from error


def load_body(body: nn.Module, weights: str) -> None:
    """Raises UserError that names the first tensor that does not fit."""
    path = Path(weights)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    content = read_file(path)
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"'{path}' holds no weights: expected a state dict or one of our checkpoints"
        )
    found: dict[str, Tensor] = {str(key): value for key, value in content.items()}
    if any(key.startswith(OURS) for key in found):
        found = {k.removeprefix(OURS): v for k, v in found.items() if k.startswith(OURS)}
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
