"""ResNet-18 (He et al. 2016, arXiv 1512.03385), torchvision's."""

from collections.abc import Sequence

from torch import nn

from arcmargin.backbones.backbone import Backbone
from arcmargin.errors import UserError

SMALL_SIDE = 64  # pixels; below, the usual stem would leave little of an image


def resnet18(
    *,
    image_shape: Sequence[int],
    embedding_dim: int,
    stem: str = "auto",
    hidden: int | None = None,
    embedding_norm: bool = False,
) -> Backbone:
    """The `large` stem is the paper's, a strided 7×7 and a pooling; the `small` one is the 3×3 that is
    usual for images such as CIFAR's."""
    from torchvision.models import resnet18 as build

    if stem not in ("auto", "small", "large"):
        raise UserError(f"backbone.stem must be 'auto', 'small' or 'large', got '{stem}'")
    channels, side = image_shape[0], min(image_shape[1:])
    body = build(weights=None)
    body.fc = nn.Identity()
    small = stem == "small" or (stem == "auto" and side < SMALL_SIDE)
    if small:
        body.maxpool = nn.Identity()
    if small or channels != 3:
        kernel, stride = (3, 1) if small else (7, 2)
        body.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
    return Backbone(
        body,
        image_shape,
        embedding_dim,
        hidden=hidden,
        embedding_norm=embedding_norm,
    )
