"""Many small pictures in one, for a page that shows them one at a time."""

import base64
import io
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

SIDE = 48  # pixels of one, at most
MOST_BYTES = 1_200_000


def sprite(thumbnails: UInt8[np.ndarray, "n h w ..."]) -> dict[str, Any]:
    """All thumbnails in one picture, row by row: PNG, or JPEG where that would be too large."""
    count, height, width = thumbnails.shape[:3]
    shrink = max(1, -(-max(height, width) // SIDE))
    small = thumbnails[:, ::shrink, ::shrink]
    height, width = small.shape[1:3]
    columns = int(np.ceil(np.sqrt(count)))
    sheet = np.zeros((columns * columns, *small.shape[1:]), np.uint8)
    sheet[:count] = small
    sheet = sheet.reshape(columns, columns, *small.shape[1:]).swapaxes(1, 2)
    picture = Image.fromarray(sheet.reshape(columns * height, columns * width, *small.shape[3:]))
    for kind, quality in (("PNG", 0), ("JPEG", 80), ("JPEG", 40)):
        file = io.BytesIO()
        picture.save(file, kind, quality=quality)
        if file.tell() <= MOST_BYTES:
            break
    uri = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"uri": uri, "width": width, "height": height, "columns": columns}
