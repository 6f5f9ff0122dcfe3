"""What settings are chosen by: the measures of `open_set` on the same images, and which may be named."""

import numpy as np
import pytest

from arcmargin.errors import UserError
from arcmargin.metrics import open_set, table, validation
from arcmargin.metrics.score import DEFAULT, DEFAULT_UNSEEN, best


def clusters(classes=12, each=8, noise=0.8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), each))
    return rng.normal(size=(classes, 8))[labels] + noise * rng.normal(size=(len(labels), 8)), labels


def test_they_are_those_of_the_test():
    embeddings, labels = clusters()
    found = validation.measure(embeddings, labels)
    assert tuple(found) == table.OF_VALIDATION_CLASSES
    tested = open_set.evaluate(embeddings, labels).metrics
    for name, value in found.items():
        assert value == pytest.approx(tested[name], abs=1e-9), name
    assert 0.5 < found["retrieval_recall_at_1"] < 1 and 0.5 < found["verification_auc"] < 1


def test_recall_and_the_area_by_plain_loops():
    embeddings, labels = clusters(classes=5, each=4)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    n, found = len(labels), []
    for i in range(n):
        nearest = max((j for j in range(n) if j != i), key=lambda j: unit[i] @ unit[j])
        found.append(labels[nearest] == labels[i])
    pairs = [(unit[i] @ unit[j], labels[i] == labels[j]) for i in range(n) for j in range(i)]
    wins = [a > b for a, same in pairs if same for b, other in pairs if not other]
    measured = validation.measure(embeddings, labels)
    assert measured["retrieval_recall_at_1"] == np.mean(found)
    assert measured["verification_auc"] == pytest.approx(np.mean(wins), abs=1e-5)


def test_what_so_few_images_cannot_show_is_none():
    embeddings, labels = clusters(classes=5, each=4)  # 160 impostor pairs
    assert validation.measure(embeddings, labels)["verification_tar_at_far_1e-03"] is None
    alone = validation.measure(embeddings[:4], np.arange(4))
    assert set(alone.values()) == {None}
    one_class = validation.measure(embeddings[:4], np.zeros(4, dtype=int))
    assert one_class["verification_auc"] is None and one_class["retrieval_recall_at_1"] == 1


def test_the_defaults_and_every_curve_of_known_direction_may_be_the_score():
    assert (best(DEFAULT), best(DEFAULT_UNSEEN)) == ("max", "max")
    assert best("val_unseen_verification_eer") == "min"
    for one in table.curves():
        if one.name.startswith(table.VALIDATION):
            assert best(one.name) == one.best


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ("retrieval_map_at_r", "would fit the test data.*; take val_unseen_retrieval_map_at_r$"),
        ("accuracy", "would fit the test data.*; take val_accuracy$"),
        ("identification_rank_1", "would fit the test data.*; take one of val_accuracy, "),
        ("val_retrieval_map_at_r", "measured by no validation; take one of val_accuracy, "),
        ("val_unseen_identification_rank_1", "measured by no validation"),
    ],
)
def test_no_other_may_and_the_reason_is_one_sentence(score, said):
    with pytest.raises(UserError, match=said) as caught:
        best(score)
    assert "\n" not in str(caught.value)
