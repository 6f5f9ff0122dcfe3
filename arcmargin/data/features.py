"""Features of images by a frozen body, computed once: a head is then trained on them in seconds."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from arcmargin.data.image_data import ImageData, Normalise, Split, evaluation_batch_size
from arcmargin.data.mapped_images import MappedImages
from arcmargin.data.progress import with_progress
from arcmargin.errors import UserError
from arcmargin.files import write_atomically

log = logging.getLogger("arcmargin")


def with_features(data: ImageData, body: nn.Module, cache: Path) -> ImageData:
    """The data set with (n, features, 1, 1) in the place of images: what the body makes of them.

    `cache` keeps them in files named by the body, its weights and the images they were computed from.
    Raises UserError where a parameter of the body would be trained.
    """
    if any(parameter.requires_grad for parameter in body.parameters()):
        raise UserError("features can be computed once only for a frozen body")
    body.eval()
    key = hashlib.blake2b(repr(body).encode(), digest_size=16)
    for name, value in body.state_dict().items():
        key.update(name.encode() + value.numpy().tobytes())
    key.update(repr((data.mean.tolist(), data.std.tolist())).encode())
    layers = nn.Sequential(Normalise(data.mean, data.std), body)
    splits: dict[str, Any] = {
        name: Split(_features(layers, split.images, key.copy(), cache), split.labels)
        for name, split in data.splits().items()
    }
    return replace(data, **splits, pictures=False)


def _features(
    layers: nn.Module,
    images: UInt8[Tensor, "n c h w"] | MappedImages,
    key: "hashlib.blake2b",
    cache: Path,
) -> Float[Tensor, "n f 1 1"]:
    key.update(repr(tuple(images.shape)).encode())
    size = evaluation_batch_size(images.shape[1:])
    for batch in images.split(size):
        key.update(batch.contiguous().numpy().data)
    file = cache / f"{key.hexdigest()}.npy"
    try:
        return torch.from_numpy(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s cannot be read (%s); its features are computed again", file, error)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layers.to(device)
    batches = with_progress(images.split(size), len(images), "features", count=len)
    with torch.no_grad():
        parts = [layers(batch.to(device)).flatten(1).float().cpu() for batch in batches]
    layers.cpu()
    features = torch.cat(parts)[:, :, None, None]
    write_atomically(file, lambda out: np.save(out, features.numpy()))
    return features
