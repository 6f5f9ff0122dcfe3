"""A trained backbone from a checkpoint, with the way in which its images are prepared."""

import importlib
import logging
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from arcmargin.backbones import BUILDERS
from arcmargin.data.image_files import Encoded, Images, read_images
from arcmargin.data.progress import with_progress
from arcmargin.errors import UserError
from arcmargin.files import import_from_here
from arcmargin.record import RECORD_FILE, Result
from arcmargin.training import checkpoints
from arcmargin.training.module import Description

PREFIX = "backbone."
BATCH = 256


class Prepared(nn.Module):
    """Pixels between 0 and 1, RGB or grey, to embeddings."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.backbone((images - self.mean) / self.std)


class Trained(NamedTuple):
    model: Prepared  # in evaluation mode
    image_shape: tuple[int, int, int]
    result: Result | None  # of the run, where it tells of this checkpoint

    @torch.no_grad()
    def embed(self, pixels: UInt8[np.ndarray, "n c h w"]) -> Float[np.ndarray, "n d"]:
        device = self.model.mean.device
        starts = range(0, len(pixels), BATCH)
        parts = []
        for start in with_progress(starts, len(starts), f"embedding batches of {BATCH}"):
            part = torch.from_numpy(pixels[start : start + BATCH]).to(device)
            parts.append(self.model(part.float() / 255).float().cpu().numpy())
        return np.concatenate(parts)

    def read(self, images: Sequence[Encoded], what: str, on_bad_image: str = "stop") -> Images:
        shape, option = self.image_shape, "--on-bad-image skip"
        return read_images(images, shape, what=what, on_bad_image=on_bad_image, option=option)


def load(path: str, *, trust: str | None = None) -> Trained:
    """`path`: a run folder or a .ckpt file. `trust`: the builder of a backbone of one's own, which the
    checkpoint may name; no other code of others is imported."""
    given = Path(path)
    if given.is_dir():
        result = Result.read(given) if (given / RECORD_FILE).exists() else None
        place = checkpoints.in_run(given, (result and result.checkpoint) or checkpoints.LAST)
        if not place.is_file():
            raise UserError(f"'{path}' holds no {place.relative_to(given)}; expected a run folder")
    else:
        place, result = given, _result_of(given)
    found = checkpoints.read(place)
    backbone = _rebuilt(found.description, str(place), trust)
    state = {k.removeprefix(PREFIX): v for k, v in found.state.items() if k.startswith(PREFIX)}
    checkpoints.check_fit(backbone, state, str(place), "the checkpoint")
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    how = found.description
    model = Prepared(backbone, how.mean, how.std).to(device).eval()
    return Trained(model, how.image_shape, result)


def _result_of(checkpoint: Path) -> Result | None:
    """The run's result if these are the weights that it tells of."""
    folder = checkpoint.parent.parent
    result = Result.read(folder) if (folder / RECORD_FILE).exists() else None
    return result if result and result.checkpoint == checkpoint.name else None


def _rebuilt(how: Description, path: str, trust: str | None) -> nn.Module:
    settings = dict(how.backbone)
    build = _builder(str(settings.pop("_target_", "")), trust)
    try:
        return build(image_shape=how.image_shape, embedding_dim=how.embedding_dim, **settings)
    except UserError:
        raise
    except Exception as error:  # a builder meets what it was never meant for
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"'{path}' describes a backbone that cannot be built here ({reason}); another version may "
            "have written it"
        ) from error


def _builder(target: str, trust: str | None) -> Callable[..., nn.Module]:
    """A checkpoint must not choose which code runs."""
    package, _, name = target.rpartition(".")
    if package == "arcmargin.backbones" and name in BUILDERS:
        return BUILDERS[name]
    if target != trust:
        raise UserError(
            f"the checkpoint's backbone is '{target}', which is not one of arcmargin's; if it is yours, "
            f"say --trust {target}"
        )
    import_from_here()
    try:
        build: Callable[..., nn.Module] = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"cannot import the backbone '{target}': {error}") from error
    return build


def add_arguments(parser: ArgumentParser) -> None:
    """What every script that uses a run asks for."""
    parser.add_argument("run", metavar="RUN", help="a run folder, or a .ckpt file in it")
    parser.add_argument("--trust", metavar="NAME", help="a backbone of your own: package.function")


def command_line(work: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """The exit code: 2 and one sentence for a mistake of the user's."""

    def main(argv: Sequence[str] | None = None) -> int:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        try:
            work(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
        return 0

    return main
