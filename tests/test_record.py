import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arcmargin.errors import UserError
from arcmargin.record import Damaged, Embeddings, OpenSet, Result, Settings, Snapshots, find_results


def a_result(seed: int = 3, **changes: Any) -> Result:
    settings = Settings(
        header="cosface",
        dataset="digits",
        embedding_dim=2,
        seed=seed,
        s=30.0,
        m1=1.0,
        m2=0.0,
        m3=0.35,
        in_formula=True,
        class_names=["0", "1"],
    )
    given: dict[str, Any] = {
        "settings": settings,
        "metrics": {"accuracy": 0.98, "gap_predicted_deg": None},
        "intervals": {"verification_eer": (0.1, 0.2)},
        "curves": {"epoch": [1, 2], "train_loss": [2.5, 0.125]},
        "open_set": OpenSet(images=7, far=[0.1, 1.0], tar=[None, 1.0]),
    }
    return Result(**given | changes)


def write_json(folder: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    own = {"header": "linear", "dataset": "digits", "embedding_dim": 2} | (settings or {})
    (folder / "record.json").write_text(json.dumps({"schema": 2, "settings": own} | changes))
    return folder


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    result = a_result()
    assert result.write(tmp_path) == tmp_path / "record.json"
    assert Result.read(tmp_path) == result
    Result.read(tmp_path).write(tmp_path / "again")
    again = (tmp_path / "again" / "record.json").read_text()
    assert again == (tmp_path / "record.json").read_text()


def test_a_run_is_named_by_its_head_and_the_margins_that_act() -> None:
    names = {
        (None, None, None): "linear",
        (1.0, 0.0, 0.0): "linear",
        (1.0, 0.5, 0.0): "linear m2=0.5",
        (4.0, 0.1, 0.123456): "linear m1=4 m2=0.1 m3=0.1235",
    }
    for (m1, m2, m3), name in names.items():
        made = Settings(header="linear", dataset="d", embedding_dim=2, m1=m1, m2=m2, m3=m3)
        assert made.name == name


def test_nan_and_numpy_become_plain_json(tmp_path: Path) -> None:
    a_result(
        metrics={"a": float("nan"), "b": float(np.float32(0.5)), "c": np.inf},
        curves={"epoch": [1, 2], "loss": [1.0, float("nan")]},
    ).write(tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in the file")

    text = (tmp_path / "record.json").read_text()
    content = json.loads(text, parse_constant=refuse)
    assert content["metrics"] == {"a": None, "b": 0.5, "c": None}
    assert content["curves"]["loss"] == [1.0, None]


def test_a_failing_write_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_result(seed=1).write(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*record\.json: No space left"):
        a_result(seed=2).write(tmp_path)
    assert Result.read(tmp_path).settings.seed == 1
    assert os.listdir(tmp_path) == ["record.json"]


def test_the_file_appears_only_when_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = os.replace

    def watch(source: Path, target: Path) -> None:
        seen.append((Path(source).read_text(), Path(target).exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    path = a_result().write(tmp_path)
    assert seen == [(path.read_text(), False)]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        a_result().write(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": 1}, "has schema 1, but this version reads 2"),
        ({"settings": {"embedding_dim": "two"}}, "embedding_dim = 'two', but it must be int"),
        ({"settings": {"m2": "much"}}, r"m2 = 'much', but it must be float \| None"),
        ({"settings": {"seed": True}}, "seed = True, but it must be int"),
        ({"settings": {"header": None}}, "header = None, but it must be str"),
        ({"metrics": [1]}, "metrics = .* must be dict"),
        ({"metrics": {"accuracy": "good"}}, "metrics = .* must be dict"),
        ({"curves": {"epoch": [1, "x"]}}, "curves = .* must be dict"),
        ({"settings": {"overrides": ["m2=0.5", None]}}, r"overrides = .* must be list\[str\]"),
        ({"settings": {"class_names": [0, 1]}}, r"class_names = .* must be list\[str\]"),
        ({"intervals": {"eer": [0.1]}}, "intervals = .* must be dict"),
        ({"open_set": {"images": 2.5}}, "images = 2.5, but it must be int"),
        ({"status": "maybe"}, "not finished or failed"),
    ],
)
def test_a_result_with_a_wrong_value_says_which(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(Damaged, match=rf"record\.json .*{why}"):
        Result.read(write_json(tmp_path, **changes))


def test_what_a_later_version_adds_is_left_aside(tmp_path: Path) -> None:
    write_json(tmp_path, settings={"colour": "blue"}, mood="good")
    assert Result.read(tmp_path).settings.header == "linear"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"),
        ('{"header": "arc', "not valid JSON"),
        ("[]", "holds a list"),
        ("{}", "has schema None"),
        ('{"schema": 2}', "has no settings"),
        ('{"schema": 2, "settings": {"header": "a", "dataset": "b"}}', "embedding_dim"),
        ("\x00\x00", "not valid JSON"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
        ('{"schema": 2, "error": "\\ud800"}', "not valid JSON"),
    ],
)
def test_a_damaged_record_says_why(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(Damaged, match=why):
        Result.read(tmp_path)


def test_integers_are_fine_as_margins_and_nan_is_read_as_missing(tmp_path: Path) -> None:
    write_json(tmp_path, settings={"m1": 4, "s": 30})
    text = (tmp_path / "record.json").read_text()
    more = ', "metrics": {"accuracy": NaN, "large": -1e300, "huge": 1' + 400 * "0" + "}}"
    (tmp_path / "record.json").write_text(text[:-1] + more)
    result = Result.read(tmp_path)
    assert (result.settings.m1, result.settings.s) == (4.0, 30.0)
    assert result.metrics == {"accuracy": None, "large": None, "huge": None}


def test_find_results_names_everything(tmp_path: Path) -> None:
    write_json(tmp_path / "b", status="failed", error="NaN loss")
    write_json(tmp_path / "a" / "deep")
    write_json(tmp_path / "a" / "deep" / "checkpoints")  # not a run
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "record.json").write_text('{"hea')
    (tmp_path / "d" / ".hydra").mkdir(parents=True)
    found = find_results(tmp_path, tmp_path / "a")  # one place given twice
    assert [(r.folder, r.finished) for r in found.results] == [
        (tmp_path / "a" / "deep", True),
        (tmp_path / "b", False),
    ]
    assert len(found.damaged) == 1
    assert "record.json is not valid JSON" in found.damaged[0]
    assert found.unfinished == [tmp_path / "d"]


def test_find_results_in_a_run_folder_and_in_no_folder(tmp_path: Path) -> None:
    assert len(find_results(write_json(tmp_path / "run")).results) == 1
    with pytest.raises(UserError, match=r"no folder .*nothing"):
        find_results(tmp_path / "nothing")


def test_embeddings_round_trip_in_the_stated_types(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=(20, 3)), rng.integers(0, 4, 20, dtype=np.int32), np.eye(4, 3))
    assert Embeddings.load(Embeddings(*arrays).save(tmp_path / "without").parent).predicted is None
    arrays = (*arrays, rng.integers(0, 4, 20, dtype=np.int32))
    Embeddings(*arrays).save(tmp_path)
    loaded = Embeddings.load(tmp_path)
    assert [array.dtype for array in loaded] == [np.float32, np.int64, np.float32, np.int64]
    for before, after in zip(arrays, loaded, strict=True):
        np.testing.assert_array_equal(after, np.asarray(before, after.dtype))


@pytest.mark.parametrize("shape", [None, (6, 8, 8), (6, 8, 8, 3)])
def test_snapshots_round_trip(tmp_path: Path, shape: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(0)
    thumbnails = None if shape is None else rng.integers(0, 255, shape, dtype=np.uint8)
    before = Snapshots(
        np.arange(2),
        rng.normal(size=(2, 6, 2)).astype(np.float32),
        rng.integers(0, 3, 6),
        np.ones((2, 3, 2), np.float32),
        np.array([0, 2, 3, 5, 8, 9]),
        np.array(["accuracy", "gap_mean_deg"]),
        np.array([[0.5, np.nan], [0.75, 20.0]], np.float32),
        thumbnails,
    )
    before.save(tmp_path)
    after = Snapshots.load(tmp_path)
    assert after is not None
    for old, new in zip(before, after, strict=True):
        assert (old is None) == (new is None)
        if old is not None:
            np.testing.assert_array_equal(new, old)


def test_missing_and_damaged_arrays(tmp_path: Path) -> None:
    assert Snapshots.load(tmp_path) is None
    with pytest.raises(Damaged, match=r"embeddings\.npz is missing"):
        Embeddings.load(tmp_path)
    Embeddings(np.ones((3, 2)), np.zeros(3, int), np.ones((1, 2))).save(tmp_path)
    whole = (tmp_path / "embeddings.npz").read_bytes()
    (tmp_path / "embeddings.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Damaged, match="cannot be read"):
        Embeddings.load(tmp_path)
    np.savez(tmp_path / "embeddings.npz", labels=np.zeros(3, int))
    with pytest.raises(Damaged, match="has no embeddings, centres"):
        Embeddings.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"embeddings": np.ones(3)}, r"embeddings of shape \(3,\)"),
        ({"labels": np.zeros(4, int)}, r"labels of shape \(4,\)"),
        ({"centres": np.ones((2, 3))}, r"centres of shape \(2, 3\)"),
        ({"labels": np.array([0, 1, 2])}, "the label 2, but only 2 classes"),
        ({"labels": np.array([0.5, 1, 1])}, "labels of type float64"),
        ({"embeddings": np.full((3, 2), "a")}, "embeddings of type <U1"),
    ],
)
def test_arrays_that_do_not_fit_together_are_damaged(
    tmp_path: Path, change: dict[str, np.ndarray], why: str
) -> None:
    arrays = {"embeddings": np.ones((3, 2)), "labels": np.array([0, 1, 1]), "centres": np.eye(2)}
    np.savez(tmp_path / "embeddings.npz", **arrays | change)
    with pytest.raises(Damaged, match=why):
        Embeddings.load(tmp_path)
