import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arcmargin.errors import UserError
from arcmargin.record import Damaged, Embeddings, Record, Snapshots, find_records


def a_record(**changes: Any) -> Record:
    given: dict[str, Any] = {
        "header": "cosface",
        "dataset": "digits",
        "embedding_dim": 2,
        "name": "cosface m3=0.35",
        "seed": 3,
        "s": 30.0,
        "m3": 0.35,
        "class_names": ["0", "1"],
        "metrics": {"accuracy": 0.98, "gap_predicted_deg": None},
        "curves": {"epoch": [1, 2], "train_loss": [2.5, 0.125]},
        "unknown": {"colour": "blue"},
    }
    return Record(**given | changes)


def write_json(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"schema": 1, "header": "linear", "dataset": "digits", "embedding_dim": 2} | changes
    (folder / "record.json").write_text(json.dumps(content))
    return folder


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    record = a_record()
    assert record.write(tmp_path) == tmp_path / "record.json"
    assert Record.read(tmp_path) == record
    assert json.loads((tmp_path / "record.json").read_text())["colour"] == "blue"
    Record.read(tmp_path).write(tmp_path / "again")
    again = (tmp_path / "again" / "record.json").read_text()
    assert again == (tmp_path / "record.json").read_text()


def test_nan_and_numpy_become_plain_json(tmp_path: Path) -> None:
    metrics = {"a": float("nan"), "b": np.float32(0.5), "c": np.inf, "d": np.array([1.0, np.nan])}
    extra = {"pair": (1, 2), "seed": np.int64(7)}
    a_record(metrics=metrics, extra=extra).write(tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in the file")

    text = (tmp_path / "record.json").read_text()
    content = json.loads(text, parse_constant=refuse)
    assert content["metrics"] == {"a": None, "b": 0.5, "c": None, "d": [1.0, None]}
    assert content["extra"] == {"pair": [1, 2], "seed": 7}


def test_what_the_contract_lists_is_in_the_file(tmp_path: Path) -> None:
    a_record(unknown={}).write(tmp_path)
    keys = """schema status error name header dataset embedding_dim backbone optimizer epochs seed
        s m1 m2 m3 num_classes class_names overrides metrics curves durations versions git_commit
        wandb extra"""
    assert set(json.loads((tmp_path / "record.json").read_text())) == set(keys.split())


def test_a_failing_write_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_record(seed=1).write(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*record\.json: No space left"):
        a_record(seed=2).write(tmp_path)
    assert Record.read(tmp_path).seed == 1
    assert os.listdir(tmp_path) == ["record.json"]


def test_the_file_appears_only_when_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = os.replace

    def watch(source: Path, target: Path) -> None:
        seen.append((Path(source).read_text(), Path(target).exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    path = a_record().write(tmp_path)
    assert seen == [(path.read_text(), False)]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        a_record().write(tmp_path / "file" / "run")


def test_which_margins_a_header_takes() -> None:
    assert a_record().takes("m2")
    assert not a_record(s=None).takes("m2")
    own = a_record(extra={"takes": ["s", "m3"]})
    assert [own.takes(key) for key in ("s", "m1", "m2", "m3")] == [True, False, False, True]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": 2}, "schema 2"),
        ({"embedding_dim": "two"}, "embedding_dim = 'two', but it must be int"),
        ({"m2": None}, "m2 = None, but it must be float or int"),
        ({"metrics": [1]}, "metrics = .* must be dict"),
        ({"overrides": ["m2=0.5", None]}, "None in overrides, but each must be str"),
        ({"class_names": [0, 1]}, "0 in class_names, but each must be str"),
        ({"status": "maybe"}, "finished or failed"),
    ],
)
def test_a_record_with_a_wrong_value_says_which(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(Damaged, match=rf"record\.json has .*{why}"):
        Record.read(write_json(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"),
        ('{"header": "arc', "not valid JSON"),
        ("[]", "holds a list"),
        ("{}", "has no header"),
        ("\x00\x00", "not valid JSON"),
    ],
)
def test_a_damaged_record_says_why(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(Damaged, match=why):
        Record.read(tmp_path)


def test_integers_are_fine_as_margins_and_nan_is_read_as_missing(tmp_path: Path) -> None:
    write_json(tmp_path, m1=4, s=30)
    text = (tmp_path / "record.json").read_text()
    (tmp_path / "record.json").write_text(text[:-1] + ', "metrics": {"accuracy": NaN}}')
    record = Record.read(tmp_path)
    assert (record.m1, record.s, record.metrics) == (4, 30, {"accuracy": None})


def test_find_records_names_everything(tmp_path: Path) -> None:
    write_json(tmp_path / "b", status="failed", error="NaN loss")
    write_json(tmp_path / "a" / "deep", seed=1)
    write_json(tmp_path / "a" / "deep" / "checkpoints", seed=2)  # not a run
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "record.json").write_text('{"hea')
    (tmp_path / "d" / ".hydra").mkdir(parents=True)
    found = find_records(tmp_path, tmp_path / "a")  # one place given twice
    assert [(r.folder, r.finished) for r in found.records] == [
        (tmp_path / "a" / "deep", True),
        (tmp_path / "b", False),
    ]
    assert len(found.damaged) == 1
    assert "record.json is not valid JSON" in found.damaged[0]
    assert found.unfinished == [tmp_path / "d"]


def test_find_records_in_a_run_folder_and_in_no_folder(tmp_path: Path) -> None:
    assert len(find_records(write_json(tmp_path / "run")).records) == 1
    with pytest.raises(UserError, match=r"no folder .*nothing"):
        find_records(tmp_path / "nothing")


def test_embeddings_round_trip_in_the_stated_types(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=(20, 3)), rng.integers(0, 4, 20, dtype=np.int32), np.eye(4, 3))
    Embeddings(*arrays).save(tmp_path)
    loaded = Embeddings.load(tmp_path)
    assert [array.dtype for array in loaded] == [np.float32, np.int64, np.float32]
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
    np.savez(tmp_path / "embeddings.npz", labels=np.zeros(3))
    with pytest.raises(Damaged, match="has no embeddings, centres"):
        Embeddings.load(tmp_path)
