"""Lists of image pairs to verify: a CSV of one's own, or a .bin file as insightface makes them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from arcmargin.data.image_data import ImageData, RawImages, add_unseen
from arcmargin.data.image_files import Encoded, read_images
from arcmargin.data.insightface_bin import read_bin
from arcmargin.errors import UserError
from arcmargin.metrics.pairs import Pairs

SAME = {"1": True, "true": True, "same": True, "0": False, "-1": False, "false": False}
SAME |= {"different": False}


class PairList(NamedTuple):
    """Which images are compared with which. Each image is in `images` once."""

    images: Sequence[Encoded]
    first: Int[np.ndarray, "n"]
    second: Int[np.ndarray, "n"]
    same: Bool[np.ndarray, "n"] | None  # None where the list does not say
    folds: Int[np.ndarray, "n"] | None = None

    def where_readable(self, readable: Bool[np.ndarray, "m"]) -> "PairList":
        """The pairs of which both images could be read."""
        usable = readable[self.first] & readable[self.second]
        same = None if self.same is None else self.same[usable]
        folds = None if self.folds is None else self.folds[usable]
        return PairList(self.images, self.first[usable], self.second[usable], same, folds)

    def labelled(self) -> Pairs:
        if self.same is None:
            raise UserError("the list of pairs has no label column: which show the same class?")
        return Pairs(self.first, self.second, self.same, self.folds)


def add_pairs(
    data: ImageData, path: str, *, data_dir: str = "data", on_bad_image: str = "stop"
) -> ImageData:
    """The data set with the pairs of a list to verify, prepared as its own images are."""
    listed = read_list(path, data_dir)
    check_both_kinds(listed.labelled(), path)  # before images are read
    images = read_images(listed.images, data.image_shape, what=path, on_bad_image=on_bad_image)
    pairs = listed.where_readable(images.readable).labelled()
    check_both_kinds(pairs, path)
    unknown = np.full(len(images.pixels), -1, dtype=np.int64)
    return add_unseen(data, RawImages(images.pixels, unknown), pairs=pairs)


def check_both_kinds(pairs: Pairs, what: str) -> None:
    if not pairs.same.any() or pairs.same.all():
        kind = "genuine" if pairs.same.any() else "impostor"
        raise UserError(
            f"'{what}' has {kind} pairs only ({len(pairs.same):,}); verification compares them with "
            f"{'impostor' if kind == 'genuine' else 'genuine'} pairs: add some"
        )


def read_list(path: str, data_dir: str = "data") -> PairList:
    """`path`: a .csv or .bin file, or the word lfw. Raises UserError naming every missing image."""
    if path == "lfw":
        return lfw_pairs(data_dir)
    if not Path(path).is_file():
        raise UserError(f"no file '{path}': expected a list of pairs, a .csv or .bin file, or lfw")
    if path.endswith(".bin"):
        images, same = read_bin(Path(path))
        first = np.arange(0, len(images), 2)
        return PairList(images, first, first + 1, np.array(same))
    return _read_csv(Path(path))


def pair_files(
    pairs: Sequence[tuple[Path, Path]],
    same: Bool[np.ndarray, "n"] | None,
    folds: Int[np.ndarray, "n"] | None,
    what: str,
) -> PairList:
    """The pairs of files, each file listed once however many pairs it is in.

    `what` names the list in messages. Raises UserError naming every missing file.
    """
    rows: dict[Path, int] = {}
    places = np.array([[rows.setdefault(file, len(rows)) for file in pair] for pair in pairs])
    missing = [file for file in rows if not file.is_file()]
    if len(missing) == len(rows):
        raise UserError(
            f"none of the {len(rows):,} images of {what} is there, such as '{missing[0]}'; paths "
            "count from the folder of the list"
        )
    if missing:
        raise UserError(
            f"{len(missing):,} of the {len(rows):,} images of {what} are missing: "
            + ", ".join(f"'{file}'" for file in missing)
        )
    return PairList(list(rows), places[:, 0], places[:, 1], same, folds)


def _read_csv(path: Path) -> PairList:
    """Two paths and a label a line; a first line with words in the place of the paths is a header."""
    expected = "expected two paths and a label (1 or 0, same or different) a line"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' is not a CSV file ({error}); {expected}") from error
    width = len(lines[0][1]) if lines else 0
    if width not in (2, 3) or any(len(row) != width for _, row in lines):
        odd = next((line for line, row in lines if len(row) not in (2, 3) or len(row) != width), 1)
        raise UserError(f"line {odd} of '{path}' cannot be used; {expected}")
    if _is_header(lines[0][1], path.parent):
        lines = lines[1:]
    if not lines:
        raise UserError(f"'{path}' lists no pairs; {expected}")
    labels = [SAME.get(row[2].strip().lower()) if width == 3 else None for _, row in lines]
    if width == 3 and None in labels:
        line, row = lines[labels.index(None)]
        raise UserError(f"line {line} of '{path}' has the label '{row[2]}'; {expected}")
    files = [
        (path.parent / row[0].strip(), path.parent / row[1].strip()) for _, row in lines
    ]  # an absolute path stays as it is
    same = np.array(labels, dtype=bool) if width == 3 else None
    return pair_files(files, same, None, f"'{path}'")


def _is_header(row: list[str], folder: Path) -> bool:
    names = [cell.strip() for cell in row[:2]]
    return not any(Path(name).suffix or (folder / name).is_file() for name in names)


def lfw_pairs(data_dir: str, split: str = "10fold", image_set: str = "deepfunneled") -> PairList:
    """The pairs of LFW's protocol: 6,000 in ten folds, or those of its development sets."""
    from torchvision.datasets import LFWPairs

    for key, value, known in (
        ("split", split, ("10fold", "train", "test")),
        ("image_set", image_set, ("original", "funneled", "deepfunneled")),
    ):
        if value not in known:
            raise UserError(f"dataset.{key} must be one of {', '.join(known)}, got {value!r}")
    try:
        protocol = LFWPairs(data_dir, split=split, image_set=image_set)
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split("You can")[0].split())
        raise UserError(
            f"could not find LFW in '{data_dir}/lfw-py' ({reason}); its archive (lfw-{image_set}.tgz, "
            "unpacked beside it) and pairs.txt, pairsDevTest.txt have to be put there by hand"
        ) from error
    pairs = [(Path(first), Path(second)) for first, second in protocol.data]
    same = np.array(protocol.targets, dtype=bool)
    number = 10 if split == "10fold" else 1
    # Each fold lists its genuine pairs, then as many impostor pairs.
    folds = np.arange(len(pairs)) * number // len(pairs) if number > 1 else None
    return pair_files(pairs, same, folds, "LFW")
