"""Small conv nets from images to embeddings.

No activation follows the embedding: a head needs all of space.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arcmargin.errors import UserError


class Backbone(nn.Sequential):
    """A body of features, a hidden layer, and the projection to the embedding.

    (n, c, h, w) -> (n, embedding_dim). The body is any module that takes images. `embedding_norm`
    standardises each coordinate of the embedding over the batch (BatchNorm without scale or shift).
    """

    def __init__(
        self,
        body: nn.Module,
        image_shape: Sequence[int],
        embedding_dim: int,
        *,
        hidden: int,
        embedding_norm: bool,
    ) -> None:
        if embedding_dim < 1:
            raise UserError(f"embedding_dim must be at least 1, got {embedding_dim}")
        with torch.no_grad():
            features = body.eval()(torch.zeros(1, *image_shape)).numel()
        body.train()
        layers = [
            body,
            nn.Flatten(),
            nn.Linear(features, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, embedding_dim, bias=not embedding_norm),
        ]
        if embedding_norm:
            layers.append(nn.BatchNorm1d(embedding_dim, affine=False))
        super().__init__(*layers)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return super().forward(images)


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def convnet(
    *,
    image_shape: Sequence[int],
    embedding_dim: int,
    width: int = 16,
    hidden: int = 256,
    embedding_norm: bool = False,
) -> Backbone:
    """Three convolutions with BatchNorm and few channels: fast on a CPU.

    The first is a strided 5×5 where the image has 16 pixels or more to a side, so that no layer
    works at full size; a smaller one starts with a 3×3 that keeps its size.
    """
    channels, side = image_shape[0], min(image_shape[1:])
    large = side >= 16
    body = _block(channels, width, 5, stride=2) if large else _block(channels, width, 3)
    for inputs, outputs in ((width, 2 * width), (2 * width, 4 * width)):
        body += [*_block(inputs, outputs, 3), nn.MaxPool2d(2)]
    return Backbone(
        nn.Sequential(*body),
        image_shape,
        embedding_dim,
        hidden=hidden,
        embedding_norm=embedding_norm,
    )


def lenet(
    *,
    image_shape: Sequence[int],
    embedding_dim: int,
    hidden: int = 84,
    embedding_norm: bool = False,
) -> Backbone:
    """LeNet-5's two 5×5 convolutions (LeCun et al. 1998), with BatchNorm and max pooling."""
    body: list[nn.Module] = []
    for inputs, outputs in ((image_shape[0], 6), (6, 16)):
        body += [*_block(inputs, outputs, 5), nn.MaxPool2d(2)]
    return Backbone(
        nn.Sequential(*body),
        image_shape,
        embedding_dim,
        hidden=hidden,
        embedding_norm=embedding_norm,
    )
