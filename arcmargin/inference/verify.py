"""Do two images show the same class? python scripts/verify.py RUN one.png other.png"""

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from arcmargin.data.image_files import SUFFIXES, Encoded
from arcmargin.data.pair_lists import PairList, pair_files, read_list
from arcmargin.errors import UserError
from arcmargin.files import write_atomically
from arcmargin.inference.trained import add_arguments, command_line, load
from arcmargin.metrics.open_set import evaluate
from arcmargin.metrics.pairs import Pairs
from arcmargin.metrics.score_counts import of_scores
from arcmargin.metrics.similarity import unit_rows
from arcmargin.metrics.verification import threshold_at_far
from arcmargin.record import Result

FARS = ("1e-1", "1e-2", "1e-3", "1e-4")
SHOWN = 20  # pairs on the screen


class Threshold(NamedTuple):
    cosine: float
    where: str  # it comes from


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Compares two images, or the pairs of lists, by the cosine of their embeddings.",
        epilog="The threshold is the one that the run found for the FAR on its unseen classes; without "
        "any, a labelled list gives its own.",
    )
    add_arguments(parser)
    what = "two images, or lists of pairs: .csv, .bin or lfw"
    parser.add_argument("images", nargs="+", metavar="IMAGE|LIST", help=what)
    parser.add_argument("--far", choices=FARS, default="1e-3", help="default: 1e-3")
    parser.add_argument("--threshold", type=float, metavar="COSINE", help="instead of --far")
    parser.add_argument("-o", "--out", metavar="FILE.csv", help="every pair with its cosine")
    parser.add_argument("--on-bad-image", choices=("stop", "skip"), default="stop")
    parser.add_argument("--data-dir", default="data", help="where lfw is (default: data)")
    args = parser.parse_args(argv)
    lists = [(name, read_list(name, args.data_dir)) for name in args.images if _is_list(name)]
    files = [Path(name) for name in args.images if not _is_list(name)]
    if len(files) not in (0, 2) or (files and lists) or (args.out and len(lists) > 1):
        raise UserError("expected two images, or lists of pairs (one with --out)")
    if gone := [file for file in files if not file.is_file()]:
        raise UserError(f"no image {' nor '.join(repr(str(file)) for file in gone)}")
    if files:
        lists = [("the two images", pair_files([(files[0], files[1])], None, None, "this pair"))]
    trained = load(args.run, trust=args.trust)
    for name, listed in lists:
        images = trained.read(listed.images, name, args.on_bad_image)
        unit = unit_rows(trained.embed(np.asarray(images.pixels)))
        listed = listed.where_readable(images.readable)
        cosines = np.einsum("ij,ij->i", unit[listed.first], unit[listed.second])
        threshold = _threshold(args.threshold, args.far, trained.result, listed.same, cosines)
        _say(name, listed, cosines, threshold)
        if listed.same is not None:
            _say_metrics(unit, listed.labelled(), cosines >= threshold.cosine)
        if args.out:
            _write(Path(args.out), listed, cosines, threshold)
            print(f"{len(cosines):,} pairs in {args.out}")


def _is_list(name: str) -> bool:
    return Path(name).suffix.lower() not in SUFFIXES


def _threshold(
    given: float | None,
    far: str,
    result: Result | None,
    same: Bool[np.ndarray, "p"] | None,
    cosines: Float[np.ndarray, "p"],
) -> Threshold:
    if given is not None:
        if not -1 <= given <= 1:
            raise UserError(f"--threshold must be a cosine, from -1 to 1, got {given}")
        return Threshold(given, "as given")
    known = _measured_thresholds(result)
    if known:
        usable = [rate for rate in known if float(rate) >= float(far)]
        nearest = far if far in known else min(usable or known, key=float)
        if nearest != far:
            print(
                f"FAR {far} was not measured by the run, which had too few impostor pairs: {nearest}"
            )
        return Threshold(known[nearest], f"FAR {nearest} in the run's verification")
    if same is not None and not same.all():
        if float(far) * np.count_nonzero(~same) < 1:
            raise UserError(
                f"FAR {far} cannot be measured with {np.count_nonzero(~same):,} impostor pairs; "
                "choose a higher --far or a --threshold"
            )
        found = threshold_at_far(of_scores(cosines, same), float(far))
        return Threshold(found, f"FAR {far} on this list itself, which flatters")
    raise UserError(
        "this run has verified nothing, so no threshold is known for any FAR: give --threshold, or "
        "train with dataset.unseen or verification_pairs"
    )


def _measured_thresholds(result: Result | None) -> dict[str, float]:
    """By FAR, of those for which the run had impostor pairs enough."""
    if result is None or result.open_set is None:
        return {}
    found = {}
    for far in FARS:
        rate = f"far_{float(far):.0e}"
        if result.metrics.get(f"verification_tar_at_{rate}") is not None:
            found[far] = result.open_set.thresholds[rate]
    return found


def _say(
    name: str, listed: PairList, cosines: Float[np.ndarray, "p"], threshold: Threshold
) -> None:
    print(f"{name}: threshold {threshold.cosine:.4f} ({threshold.where})")
    if len(cosines) > SHOWN:
        accepted = np.count_nonzero(cosines >= threshold.cosine)
        print(f"  {len(cosines):,} pairs, {accepted:,} of them accepted as the same")
        return
    for row in range(len(cosines)):
        first, second = (
            _name(listed.images, int(side[row])) for side in (listed.first, listed.second)
        )
        verdict = "same" if cosines[row] >= threshold.cosine else "different"
        print(f"  {cosines[row]:7.4f}  {verdict:<9}  {first}  {second}")


def _say_metrics(unit: Float[np.ndarray, "n d"], pairs: Pairs, accepted: np.ndarray) -> None:
    same = pairs.same
    for kind, what in ((same, "genuine"), (~same, "impostor")):
        if kind.any():
            share = 100 * accepted[kind].mean()
            print(f"  accepts {share:.2f} % of {np.count_nonzero(kind):,} {what} pairs")
    found = evaluate(unit, np.full(len(unit), -1), pairs)
    for name, (low, high) in found.intervals.items():
        value = 100 * (found.metrics[name] or 0.0)
        print(f"  {name:<34}{value:>6.2f} %   {100 * low:>6.2f} to {100 * high:>6.2f}")
    for note in found.notes:
        print(f"  {note}")


def _name(images: Sequence[Encoded], row: int) -> str:
    image = images[row]
    return str(image) if isinstance(image, Path) else f"image {row + 1}"


def _write(
    out: Path, listed: PairList, cosines: Float[np.ndarray, "p"], threshold: Threshold
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["first", "second", "cosine", "verdict", "label"])
    for row, cosine in enumerate(cosines):
        names = [_name(listed.images, int(side[row])) for side in (listed.first, listed.second)]
        verdict = "same" if cosine >= threshold.cosine else "different"
        label = "" if listed.same is None else int(listed.same[row])
        writer.writerow([*names, f"{cosine:.6f}", verdict, label])
    write_atomically(out, lambda file: file.write(text.getvalue().encode()))
