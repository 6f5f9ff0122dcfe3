"""Random changes of training images: drawn for each image by itself, applied to the whole batch at once.

torchvision's transforms, applied to a batch, change all of its images in the same way.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from arcmargin.errors import UserError


class RandomShift(nn.Module):
    """Shifts each image by up to `pixels` in both directions: a random crop after padding. The image's
    edge is repeated ("replicate") or the image is mirrored at it ("reflect").

    (n, c, h, w) -> (n, c, h, w). Does nothing in evaluation.
    """

    def __init__(self, pixels: int, *, padding: str = "replicate") -> None:
        super().__init__()
        if pixels < 0:
            raise UserError(f"augment.pixels must be 0 or more, got {pixels}")
        if padding not in ("replicate", "reflect"):
            raise UserError(f"augment.padding must be 'replicate' or 'reflect', got '{padding}'")
        self.pixels = pixels
        self.padding = padding

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not self.training or self.pixels == 0:
            return images
        n, _, height, width = images.shape
        if self.padding == "reflect" and self.pixels >= min(height, width):
            raise UserError(
                f"augment.pixels must be less than the image's side of {min(height, width)}, got "
                f"{self.pixels}"
            )
        padded = F.pad(images, [self.pixels] * 4, mode=self.padding)
        # Every shifted copy is a view; one gather picks a view for each image.
        views = padded.unfold(2, height, 1).unfold(3, width, 1)
        dy, dx = torch.randint(0, 2 * self.pixels + 1, (2, n), device=images.device)
        return views[torch.arange(n, device=images.device), :, dy, dx]


class RandomFlip(nn.Module):
    """Mirrors each image left to right with probability `flip`. Does nothing in evaluation."""

    def __init__(self, flip: float = 0.5) -> None:
        super().__init__()
        if not 0 <= flip <= 1:
            raise UserError(f"augment.flip must be in [0, 1], got {flip}")
        self.flip = flip

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not self.training or self.flip == 0:
            return images
        mirrored = torch.rand(len(images), device=images.device) < self.flip
        return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)


def crop_flip(*, pixels: int, flip: float = 0.5, padding: str = "reflect") -> nn.Module:
    """A random crop of the padded image, then a random mirror image (as for CIFAR in He et al. 2016)."""
    return nn.Sequential(RandomShift(pixels, padding=padding), RandomFlip(flip))
