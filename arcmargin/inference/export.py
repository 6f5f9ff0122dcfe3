"""A trained backbone for other programs: python scripts/export.py RUN --format onnx

It takes pixels between 0 and 1 (RGB or grey), any number of images, and returns embeddings, not scaled
to length one. Comparisons take the cosine.
"""

import argparse
import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from arcmargin.errors import UserError
from arcmargin.files import write_atomically
from arcmargin.inference.trained import Trained, add_arguments, command_line, load

SUFFIX = {"torch": ".pt2", "onnx": ".onnx"}
TOLERANCE = 1e-4  # of the largest number in an embedding


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A trained backbone for other programs.")
    add_arguments(parser)
    parser.add_argument("--format", choices=tuple(SUFFIX), default="torch", help="default: torch")
    parser.add_argument("-o", "--out", metavar="FILE", help="default: backbone.pt2 or .onnx in RUN")
    args = parser.parse_args(argv)
    run = Path(args.run)
    out = Path(args.out) if args.out else (run if run.is_dir() else run.parent)
    out = out if args.out else out / f"backbone{SUFFIX[args.format]}"
    trained = load(args.run, trust=args.trust)
    trained.model.cpu()
    difference = (_torch if args.format == "torch" else _onnx)(trained, out)
    channels, height, width = trained.image_shape
    print(f"{out}: n×{channels}×{height}×{width} pixels between 0 and 1 -> n embeddings")
    print(f"read back and compared on random images: they differ by {difference:.1e} at most")


def _example(trained: Trained) -> torch.Tensor:
    return torch.rand(2, *trained.image_shape, generator=torch.Generator().manual_seed(0))


def _torch(trained: Trained, out: Path) -> float:
    with _quiet():
        shapes = {"images": {0: torch.export.Dim("n")}}
        program = torch.export.export(
            trained.model, (_example(trained),), dynamic_shapes=shapes, strict=False
        )
        write_atomically(out, lambda file: torch.export.save(program, file))
        loaded = torch.export.load(str(out)).module()
    return _compare(trained, lambda images: loaded(images).detach(), out)


def _onnx(trained: Trained, out: Path) -> float:
    try:
        import onnxruntime

        importlib.import_module("onnxscript")  # the exporter needs it: asked for before it fails
    except ImportError as error:
        raise UserError(
            "--format onnx needs more packages: pip install 'arcmargin[onnx]'"
        ) from error
    with _quiet():
        program = torch.onnx.export(
            trained.model,
            (_example(trained),),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("n")}},
            input_names=["images"],
            output_names=["embeddings"],
            verbose=False,
        )
        if program is None:
            raise UserError(f"torch made no ONNX program for '{out}'; try --format torch")
        content = program.model_proto.SerializeToString()
        write_atomically(out, lambda file: file.write(content))
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return _compare(
        trained,
        lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
        out,
    )


@torch.no_grad()
def _compare(
    trained: Trained, exported: Callable[[torch.Tensor], torch.Tensor], out: Path
) -> float:
    """On batches of several sizes; a file that computes something else does not stay."""
    worst = 0.0
    for count in (1, 2, 7):
        images = torch.rand(count, *trained.image_shape)
        expected = trained.model(images)
        scale = max(float(expected.abs().max()), 1.0)
        worst = max(worst, float((exported(images) - expected).abs().max()) / scale)
    if not np.isfinite(worst) or worst > TOLERANCE:
        out.unlink()
        raise UserError(
            f"the exported backbone differs from the trained one by {worst:.1e}, where {TOLERANCE:g} is "
            f"allowed; '{out}' was removed"
        )
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters say much about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
