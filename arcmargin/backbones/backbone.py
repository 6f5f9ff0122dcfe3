"""What all backbones share: a body that makes features of images, and a projection to the embedding."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arcmargin.errors import UserError


def check_count(key: str, value: int) -> None:
    if value < 1:
        raise UserError(f"backbone.{key} must be a whole number from 1 on, got {value!r}")


class Backbone(nn.Sequential):
    """A body of features, a hidden layer if `hidden` is a number, and the projection.

    (n, c, h, w) -> (n, embedding_dim). The body is any module that takes images. `embedding_norm`
    standardises each coordinate of the embedding over the batch (BatchNorm without scale or shift).
    """

    def __init__(
        self,
        body: nn.Module,
        image_shape: Sequence[int],
        embedding_dim: int,
        *,
        hidden: int | None,
        embedding_norm: bool,
    ) -> None:
        if embedding_dim < 1:
            raise UserError(f"embedding_dim must be at least 1, got {embedding_dim}")
        if hidden is not None:
            check_count("hidden", hidden)
        with torch.no_grad():
            features = body.eval()(torch.zeros(1, *image_shape)).numel()
        body.train()
        layers: list[nn.Module] = [body, nn.Flatten()]
        if hidden is not None:
            layers += [
                nn.Linear(features, hidden, bias=False),
                nn.BatchNorm1d(hidden),
                nn.ReLU(inplace=True),
            ]
        layers.append(nn.Linear(hidden or features, embedding_dim, bias=not embedding_norm))
        if embedding_norm:
            layers.append(nn.BatchNorm1d(embedding_dim, affine=False))
        super().__init__(*layers)
        # On a CPU convolutions take two thirds of the time with the channels last in memory.
        self.to(memory_format=torch.channels_last)
        self.frozen = False
        self.takes_features = False

    @property
    def body(self) -> nn.Module:
        return self[0]

    def freeze_body(self) -> None:
        """From now on the body keeps its weights and its running means."""
        self.frozen = True
        self.body.requires_grad_(False)
        self.body.eval()

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """With `takes_features` the images are what the body makes of images."""
        for layer in list(self)[1:] if self.takes_features else self:
            images = layer(images)
        return images
