"""The arrays that pictures are drawn from, checked against the run that they belong to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from arcmargin.record import Damaged, Embeddings, Result, Snapshots, Unseen


class ArrayReader:
    """Reads runs' arrays. Files that cannot be used are remembered in `damaged`, a sentence a run."""

    def __init__(self) -> None:
        self._damaged: dict[Path, str] = {}

    @property
    def damaged(self) -> list[str]:
        return list(self._damaged.values())

    def embeddings(self, result: Result) -> Embeddings:
        """Raises Damaged when they are missing, cannot be read, or are not this run's."""
        with self._remember(result, "embeddings.npz"):
            data = Embeddings.load(result.folder or "")
            _check(result, *data[:3])
        return data

    def snapshots(self, result: Result, data: Embeddings) -> Snapshots | None:
        """None when there are none. Raises Damaged as `embeddings` does."""
        with self._remember(result, "snapshots.npz"):
            moments = Snapshots.load(result.folder or "")
            if moments is None:
                return None
            _check(result, moments.embeddings[0], moments.labels, moments.centres[0])
            rows = moments.rows
            if rows.size and not 0 <= rows.min() <= rows.max() < len(data.labels):
                raise Damaged(f"{result.folder}/snapshots.npz has rows that the test split has not")
        return moments

    def unseen(self, result: Result) -> Unseen | None:
        """None when there are none. Raises Damaged as `embeddings` does."""
        with self._remember(result, "unseen.npz"):
            unseen = Unseen.load(result.folder or "")
            if unseen is not None and unseen.embeddings.shape[1] != result.settings.embedding_dim:
                raise Damaged(
                    f"{result.folder}/unseen.npz has {unseen.embeddings.shape[1]} dimensions, but "
                    f"its record says {result.settings.embedding_dim}"
                )
        return unseen

    @contextmanager
    def _remember(self, result: Result, file: str) -> Iterator[None]:
        try:
            yield
        except Damaged as error:
            if result.folder is not None and (result.folder / file).exists():
                self._damaged[result.folder] = str(error)
            raise


def _check(result: Result, embeddings: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> None:
    dim, classes = result.settings.embedding_dim, result.settings.num_classes
    if embeddings.shape[1] != dim or centres.shape[0] != (classes or len(centres)):
        raise Damaged(
            f"{result.folder} has embeddings of {embeddings.shape[1]} dimensions and {len(centres)} "
            f"classes, but its record says {dim} dimensions and {classes} classes"
        )
    if labels.size and labels.min() < 0:
        raise Damaged(f"{result.folder} has embeddings with the label {labels.min()}")
