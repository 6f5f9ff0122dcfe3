"""Small conv nets for small images."""

from collections.abc import Sequence

from torch import nn

from arcmargin.backbones.backbone import Backbone, check_count


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
    check_count("width", width)
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
