"""What settings are chosen by: a few open-set measures of validation classes, without intervals, so that
each epoch can have them. They are those of `open_set.evaluate` on the same images."""

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics import score_counts, verification
from arcmargin.metrics.retrieval import retrieve
from arcmargin.metrics.score_counts import ScoreCounts
from arcmargin.metrics.similarity import unit_rows

FARS = (1e-2, 1e-3)
RETRIEVAL = ("recall_at_1", "r_precision", "map_at_r")


def measure(
    embeddings: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]
) -> dict[str, float | None]:
    """Verification on all pairs of the images, and retrieval. None: not measurable on so few."""
    unit = unit_rows(embeddings)
    counts = _without_empty(score_counts.of_embeddings(unit, labels))
    genuine, impostor = int(counts.genuine.sum()), int(counts.impostor.sum())
    both = genuine > 0 and impostor > 0
    tar = verification.tar_at_far(counts, np.array(FARS))
    found = retrieve(unit, labels)
    return {
        "verification_auc": verification.auc(counts) if both else None,
        "verification_eer": verification.eer(counts) if both else None,
        **{
            f"verification_tar_at_far_{far:.0e}": float(t) if both and far * impostor >= 1 else None
            for far, t in zip(FARS, tar, strict=True)
        },
        **{
            f"retrieval_{name}": float(np.nanmean(found[name])) if genuine else None
            for name in RETRIEVAL
        },
    }


def _without_empty(counts: ScoreCounts) -> ScoreCounts:
    """Only scores that some pair has: the same curve from a hundredth of the points."""
    some = (counts.genuine > 0) | (counts.impostor > 0)
    return ScoreCounts(*(part[some] for part in counts))
