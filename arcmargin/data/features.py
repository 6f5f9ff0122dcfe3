"""What a frozen body makes of each image, computed once: a head is then trained in seconds."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from arcmargin.backbones import Backbone
from arcmargin.data.image_data import ImageData, Split
from arcmargin.data.progress import counted
from arcmargin.errors import UserError
from arcmargin.record import write_atomically

log = logging.getLogger("arcmargin")

BATCH = 256


def with_features(data: ImageData, backbone: Backbone, cache: Path) -> ImageData:
    """The data set with (n, features, 1, 1) in the place of images, and the backbone told so.

    The files in `cache` are named by what they were computed from: weights and images.
    """
    if not backbone.frozen:
        raise UserError("features can be computed once only for a frozen body")
    body = backbone.body.eval()
    weights = hashlib.blake2b(repr(body).encode(), digest_size=16)
    for key, value in body.state_dict().items():
        weights.update(key.encode() + value.numpy().tobytes())
    splits: dict[str, Any] = {
        name: Split(_features(body, split.images, weights.copy(), cache), split.labels)
        for name in ("train", "val", "test", "unseen")
        if (split := getattr(data, name)) is not None
    }
    backbone.takes_features = True
    return replace(data, **splits, pictures=False)


def _features(
    body: nn.Module, images: Float[Tensor, "n c h w"], key: "hashlib.blake2b", cache: Path
) -> Float[Tensor, "n f 1 1"]:
    key.update(repr(tuple(images.shape)).encode())
    key.update(images.contiguous().numpy().data)
    file = cache / f"{key.hexdigest()}.npy"
    try:
        return torch.from_numpy(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s cannot be read (%s); its features are computed again", file, error)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    body.to(device)
    parts = images.split(BATCH)
    with torch.no_grad():
        done = [
            body(part.to(device)).flatten(1).float().cpu()
            for part in counted(parts, len(parts), f"features, batches of {BATCH}")
        ]
    body.cpu()
    features = torch.cat(done)[:, :, None, None]
    write_atomically(file, lambda out: np.save(out, features.numpy()))
    return features
