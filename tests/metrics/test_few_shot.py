"""One-shot episodes: their draws, a plain loop, and the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcmargin.metrics import few_shot
from arcmargin.metrics.open_set import evaluate
from arcmargin.metrics.similarity import unit_rows


def clusters(classes=25, each=4, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), each))
    centres = rng.normal(size=(classes, 8))
    return centres[labels] + noise * rng.normal(size=(len(labels), 8)), labels


@given(st.lists(st.integers(1, 6), min_size=5, max_size=12), st.integers(0, 9))
@settings(deadline=None)
def test_an_episode_has_two_images_of_each_of_its_classes(sizes, seed):
    sizes = [*sizes, 2, 2, 2, 2, 2]
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    known, asked = few_shot.draw(labels, 5, count=30, seed=seed)
    assert known.shape == asked.shape == (30, 5)
    assert (labels[known] == labels[asked]).all() and (known != asked).all()
    assert all(len(set(row)) == 5 for row in labels[known].tolist())
    assert {sizes[label] for label in labels[known].ravel()}.isdisjoint({1})
    again = few_shot.draw(labels, 5, count=30, seed=seed)
    assert (again.known == known).all() and (again.asked == asked).all()


def test_every_image_has_its_turn_alike():
    """Chi-square over classes, and over the ordered pairs of images within them."""
    _, labels = clusters(classes=6, each=3)
    known, asked = few_shot.draw(labels, 5, count=6000)
    counts = np.zeros((len(labels), len(labels)))
    np.add.at(counts, (known.ravel(), asked.ravel()), 1)
    found = counts[counts > 0]
    assert len(found) == 6 * 3 * 2
    expected = 6000 * 5 / 36
    assert ((found - expected) ** 2 / expected).sum() < 80, "35 degrees of freedom: mean 35, sd 8"


@pytest.mark.parametrize("ways", [5, 20])
def test_a_plain_loop_finds_the_same(ways):
    embeddings, labels = clusters()
    unit = unit_rows(embeddings)
    right = []
    for known, asked in zip(*few_shot.draw(labels, ways), strict=True):
        for place in range(ways):
            cosines = [float(unit[asked[place]] @ unit[other]) for other in known]
            right.append(int(np.argmax(cosines)) == place)
    found = few_shot.one_shot(unit, labels)[ways]
    assert found.accuracy == pytest.approx(np.mean(right), abs=1e-4)  # but for ties
    of_each = np.mean(np.reshape(right, (-1, ways)), axis=1)
    half = 1.96 * np.std(of_each, ddof=1) / np.sqrt(1000)
    assert found.interval == pytest.approx((np.mean(right) - half, np.mean(right) + half), abs=1e-3)


def test_the_limits():
    embeddings, labels = clusters(noise=0.0)
    assert {
        way: one.accuracy for way, one in few_shot.one_shot(unit_rows(embeddings), labels).items()
    } == {
        5: 1.0,
        20: 1.0,
    }
    same = np.ones((100, 4), dtype=np.float32) / 2
    assert few_shot.one_shot(same, labels)[5].accuracy == 0, "a tie is no recognition"
    chance = np.random.default_rng(0).normal(size=(100, 64))
    found = few_shot.one_shot(unit_rows(chance), labels)
    assert found[5].accuracy == pytest.approx(0.2, abs=0.03)
    assert found[20].accuracy == pytest.approx(0.05, abs=0.02)
    few = labels < 10
    assert list(few_shot.one_shot(unit_rows(embeddings)[few], labels[few])) == [5]
    assert few_shot.one_shot(unit_rows(embeddings)[:1], labels[:1]) == {}


def test_a_run_with_enough_unseen_classes_has_it():
    embeddings, labels = clusters()
    found = evaluate(embeddings, labels)
    wanted = few_shot.one_shot(unit_rows(embeddings), labels)
    for ways in (5, 20):
        name = f"one_shot_{ways}_way"
        assert found.metrics[name] == wanted[ways].accuracy
        assert found.intervals[name] == wanted[ways].interval
    three = labels < 3
    assert "one_shot_5_way" not in evaluate(embeddings[three], labels[three]).metrics
