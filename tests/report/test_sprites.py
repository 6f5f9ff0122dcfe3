import base64
import io

import numpy as np
import pytest
from PIL import Image

from arcmargin.report.sprites import sprite


@pytest.mark.parametrize("kind", ["grey", "rgb", "large"])
def test_the_sprite_holds_every_thumbnail_and_is_bounded(kind: str) -> None:
    shape = {"grey": (7, 8, 8), "rgb": (7, 8, 9, 3), "large": (2000, 60, 60, 3)}[kind]
    thumbnails = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    made = sprite(thumbnails)
    content = base64.b64decode(made["uri"].split(",")[1])
    assert len(content) < 1.5e6
    picture = np.asarray(Image.open(io.BytesIO(content)))
    if kind == "large":
        assert (made["width"], made["height"]) == (30, 30)
        return
    height, width = shape[1:3]
    for i, thumbnail in enumerate(thumbnails):
        top, left = i // made["columns"] * height, i % made["columns"] * width
        np.testing.assert_array_equal(picture[top : top + height, left : left + width], thumbnail)
