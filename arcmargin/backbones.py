"""Small conv nets from images to embeddings. No activation on the embedding: a head needs all of space."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arcmargin.errors import UserError


class Backbone(nn.Sequential):
    """A body of features, a hidden layer, and the projection to the embedding.

    (n, c, h, w) -> (n, embedding_dim). The body is any module that takes images. `embedding_norm`
    standardises each coordinate of the embedding over the batch (BatchNorm without scale or shift):
    the embeddings then surround the origin from the first step, which a 2-D head needs, because on a
    circle one class cannot pass another.
    """

    def __init__(
        self,
        body: nn.Module,
        image_shape: tuple[int, int, int],
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
            nn.PReLU(hidden),
            nn.Linear(hidden, embedding_dim, bias=not embedding_norm),
        ]
        if embedding_norm:
            layers.append(nn.BatchNorm1d(embedding_dim, affine=False))
        super().__init__(*layers)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return super().forward(images)


def _block(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs),
    ]


def convnet(
    *,
    image_shape: tuple[int, int, int],
    embedding_dim: int,
    width: int = 32,
    hidden: int = 128,
    embedding_norm: bool = False,
) -> Backbone:
    """Three stages of 3×3 convolutions with BatchNorm, each halving the image."""
    body: list[nn.Module] = []
    channels = image_shape[0]
    for stage, outputs in enumerate((width, 2 * width, 2 * width)):
        body += _block(channels, outputs, 3)
        # Rounding up keeps an 8×8 image alive through every stage.
        body.append(nn.MaxPool2d(2, ceil_mode=stage > 0))
        channels = outputs
    return Backbone(
        nn.Sequential(*body),
        image_shape,
        embedding_dim,
        hidden=hidden,
        embedding_norm=embedding_norm,
    )


def lenet(
    *,
    image_shape: tuple[int, int, int],
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
