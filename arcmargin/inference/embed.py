"""Embeddings of a folder of images, as a file: python scripts/embed.py RUN FOLDER"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arcmargin.data.image_files import list_images
from arcmargin.errors import UserError
from arcmargin.files import write_atomically
from arcmargin.inference.trained import add_arguments, command_line, load


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Embeddings of a folder of images.")
    add_arguments(parser)
    parser.add_argument(
        "folder", metavar="FOLDER", help="images, in sub-folders named by class or not"
    )
    parser.add_argument(
        "-o", "--out", default="embeddings.npz", help=".npz, or .parquet (default: embeddings.npz)"
    )
    parser.add_argument("--on-bad-image", choices=("stop", "skip"), default="stop")
    args = parser.parse_args(argv)
    written = embed_folder(args.run, args.folder, args.out, args.on_bad_image, args.trust)
    print(f"{written:,} embeddings in {args.out}")


def embed_folder(
    run: str, folder: str, out: str, on_bad_image: str = "stop", trust: str | None = None
) -> int:
    """How many were written: `embeddings`, `paths` below the folder and `labels`, which are the names of
    the first sub-folder on the way, or empty."""
    root, place = Path(folder), Path(out)
    if place.suffix not in (".npz", ".parquet"):
        raise UserError(f"--out must end in .npz or .parquet, got '{out}'")
    if not root.is_dir():
        raise UserError(f"'{folder}' is not a folder; expected one with images")
    files = list_images(root)
    if not files:
        raise UserError(f"'{folder}' holds no images")
    trained = load(run, trust=trust)
    images = trained.read(files, folder, on_bad_image)
    below = [file.relative_to(root) for file, ok in zip(files, images.readable, strict=True) if ok]
    paths = [path.as_posix() for path in below]
    labels = [path.parts[0] if len(path.parts) > 1 else "" for path in below]
    if not paths:
        raise UserError(f"none of the {len(files):,} images of '{folder}' can be read")
    embeddings = trained.embed(np.asarray(images.pixels)[images.readable])
    if place.suffix == ".parquet":
        _write_parquet(place, embeddings, paths, labels)
    else:
        names, classes = np.array(paths), np.array(labels)
        write_atomically(
            place, lambda file: np.savez(file, embeddings=embeddings, paths=names, labels=classes)
        )
    return len(paths)


def _write_parquet(
    place: Path, embeddings: np.ndarray, paths: list[str], labels: list[str]
) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            "a .parquet file needs pyarrow: pip install 'arcmargin[parquet]'"
        ) from error
    flat = pa.array(np.ascontiguousarray(embeddings).ravel(), pa.float32())
    rows = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
    table = pa.table({"path": paths, "label": labels, "embedding": rows})
    write_atomically(place, lambda file: parquet.write_table(table, file))
