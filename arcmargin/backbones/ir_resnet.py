"""ArcFace's residual network (Deng et al. 2019, arXiv 1801.07698, section 3.1), for faces of 112×112.

Its unit comes from pyramidal networks (Han et al. 2017, arXiv 1610.02915): BN-Conv-BN-PReLU-Conv-BN with
nothing after the sum. The end is the paper's option E: BN, dropout, a full layer, BN.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from arcmargin.backbones.backbone import Backbone
from arcmargin.errors import UserError

WIDTHS = (64, 128, 256, 512)
UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class Unit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        return self.shortcut(x) + self.residual(x)


def ir_resnet(
    *,
    image_shape: Sequence[int],
    embedding_dim: int,
    layers: int = 18,
    dropout: float = 0.4,
    hidden: int | None = None,
    embedding_norm: bool = True,
) -> Backbone:
    """The first layer keeps the image's size; each of the four stages halves it."""
    if layers not in UNITS:
        raise UserError(
            f"backbone.layers must be one of {', '.join(map(str, UNITS))}, got {layers}"
        )
    if not 0 <= dropout < 1:
        raise UserError(f"backbone.dropout must be in [0, 1), got {dropout}")
    body: list[nn.Module] = [
        nn.Conv2d(image_shape[0], WIDTHS[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTHS[0]),
        nn.PReLU(WIDTHS[0]),
    ]
    inputs = WIDTHS[0]
    for outputs, units in zip(WIDTHS, UNITS[layers], strict=True):
        for number in range(units):
            body.append(Unit(inputs, outputs, stride=2 if number == 0 else 1))
            inputs = outputs
    body += [nn.BatchNorm2d(inputs), nn.Dropout(dropout)]
    return Backbone(
        nn.Sequential(*body),
        image_shape,
        embedding_dim,
        hidden=hidden,
        embedding_norm=embedding_norm,
    )
