"""The published results: docs/results, and the tables of README.md and docs/ that are made from them.

    python scripts/publish.py outputs/sweeps/mnist_circle    # writes docs/results/mnist_circle.csv
    python scripts/publish.py                                # makes the tables anew

A sweep is refused when runs failed, come from several commits, or from a source tree with local
changes. A page says which table stands where:

    <!-- table: mnist_circle -->       mean ± standard deviation of each configuration
    <!-- noise: mnist_circle -->       what differs from its baseline by more than the noise
    <!-- verdict: omniglot_fair -->    of a fair comparison (+study=fair): what it says, in full
    <!-- sentence: omniglot_fair -->   its first sentence
    <!-- reported: mnist_reported -->  beside another project's, docs/results/mnist_reported_source.csv
    <!-- end -->                       the end of each; what is between is written here
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from publishing import noise, reported, rows, tables, verdict

from arcmargin.errors import UserError
from arcmargin.files import display_path, write_atomically
from arcmargin.report import tuning

ROOT = Path(__file__).resolve().parents[1]
# What is made of the runs, and of the file beside theirs whose name ends with the second word.
MAKERS: dict[str, tuple[Callable[..., str], str | None]] = {
    "table": (tables.summary, None),
    "noise": (noise.differences, None),
    "verdict": (verdict.verdict, "space"),
    "sentence": (verdict.sentence, None),
    "reported": (reported.comparison, "source"),
}
MARKED = re.compile(rf"(<!-- ({'|'.join(MAKERS)}): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", nargs="?", type=Path, help="a sweep's folder, to be published")
    given = parser.parse_args(arguments)
    try:
        written = publish(given.sweep, ROOT) if given.sweep else []
        written += rewrite(ROOT)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(display_path, written)) or "nothing changed")
    return 0


def publish(sweep: Path, root: Path) -> list[Path]:
    """The files in docs/results that the sweep's runs become."""
    found = rows.results(sweep)
    trials = [run for run in found if run.settings.is_trial]
    tests = [run for run in found if not run.settings.is_trial]
    home = root / "docs" / "results" / sweep.resolve().name
    frames = {
        home.with_suffix(".csv"): rows.runs(tests, sweep) if tests else None,
        home.with_name(f"{home.name}_roc.csv"): rows.curves(tests, sweep),
        home.with_name(f"{home.name}_trials.csv"): rows.runs(trials, sweep, tested=False)
        if trials
        else None,
        home.with_name(f"{home.name}_space.csv"): rows.spaces(tuning.load([sweep])),
    }
    return [_write(path, _csv(frame)) for path, frame in frames.items() if frame is not None]


def rewrite(root: Path) -> list[Path]:
    """The pages of which a table changed."""
    changed = []
    for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        before = page.read_text()
        after = MARKED.sub(partial(_filled, page=page, root=root), before)
        if after != before:
            changed.append(_write(page, after))
    return changed


def read(path: Path) -> pd.DataFrame:
    """A file of docs/results."""
    return pd.read_csv(path, dtype={"commit": str})


def _filled(found: re.Match[str], page: Path, root: Path) -> str:
    begin, kind, name, end = found.groups()
    path = root / "docs" / "results" / f"{name}.csv"
    if not path.exists():
        raise UserError(
            f"{display_path(page)} shows {name}, but there is no {display_path(path)}; publish "
            f"that sweep: python scripts/publish.py outputs/sweeps/{name}"
        )
    runs = read(path)
    make, ending = MAKERS[kind]
    made = make(runs, _beside(path, ending)) if ending else make(runs)
    source = f"[Each run]({os.path.relpath(path, page.parent)}), of {_commits(runs)}."
    inline = {"table": f" {source}", "reported": f" {source}", "noise": ""}
    after = inline.get(kind, f"\n\n{source}")
    return f"{begin}\n{made}{after}\n\n{end}"


def _beside(path: Path, ending: str) -> pd.DataFrame | None:
    """None: a comparison without a search has no space."""
    beside = path.with_name(f"{path.stem}_{ending}.csv")
    if beside.exists():
        return read(beside)
    if ending == "source":
        raise UserError(
            f"expected the reported table in {display_path(beside)}, and it is not there; write it "
            "there, a row a configuration, with its source on the page"
        )
    return None


def _commits(runs: pd.DataFrame) -> str:
    """`commit 9abfb54`; several: a table from before publishing refused that."""
    names = [f"{name[:7]}{name[40:]}" for name in sorted(runs["commit"].unique())]
    return f"commit {names[0]}" if len(names) == 1 else f"commits {', '.join(names)}"


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")


def _write(path: Path, text: str) -> Path:
    return write_atomically(path, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    sys.exit(main())
