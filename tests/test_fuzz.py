"""Whatever comes in: it works, or one sentence says why not, the exit is not 0 and nothing half-written.

Seeded. ARCMARGIN_FUZZ says how many inputs of each kind (default 40).
"""

import contextlib
import io
import json
import os
import random
import shutil
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from command_line import QUICK, Done, arcmargin, in_process
from PIL import Image

from arcmargin.inference import embed, verify
from arcmargin.record import Result
from arcmargin.report import write as report

pytestmark = pytest.mark.long
COUNT = int(os.environ.get("ARCMARGIN_FUZZ", "40"))
SMALL = (*QUICK, "backbone.width=4", "backbone.hidden=8")

NUMBERS = ("0", "-1", "1", "2", "0.5", "-0.5", "1e20", "1e400", "-0.0", "nan", "inf", "null", "x")
ODD = ("''", "[]", "{}", "[1,2]", "true", "'a b'", "../x", "/proc/x", "ü", "${m2}", "${no}", "0x10")
KEYS = (
    *(
        "batch_size",
        "optimizer.lr",
        "optimizer.momentum",
        "optimizer.weight_decay",
        "seed",
        "threads",
    ),
    *("embedding_dim", "epochs", "dataset.val_fraction", "dataset.test_fraction"),
    *(
        "dataset.split_seed",
        "dataset.classes",
        "dataset.unseen",
        "dataset.unseen_val",
        "trainer.gradient_clip_val",
    ),
    *("+trainer.limit_train_batches", "+trainer.accumulate_grad_batches", "+trainer.max_steps"),
    *("+trainer.overfit_batches", "header_lr", "m1", "m2", "m3", "s", "gap_deg", "ramp", "init"),
    *("gradient", "sample_rate", "class_chunk", "evaluate", "verification_pairs", "on_bad_image"),
    *("resume", "backbone.weights", "backbone.frozen", "backbone.width", "backbone.hidden"),
    *("backbone.embedding_norm", "schedule.warmup", "header.m2", "header.s", "+header.magic"),
    *("header._target_", "dataset._target_", "optimizer._target_", "backbone._target_"),
    *("header", "dataset", "optimizer", "schedule", "augment", "backbone", "trainer"),
    *("+epoch", "lr", "head", "+colour", "data_dir", "on_error", "compile", "shard"),
)
TARGETS = ("os.system", "builtins.dict", "no.such.thing", "arcmargin.run.main", "torch.nn.Linear")


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the checks of annotations, which would answer first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def check(done: Done, said: str = "") -> bool:
    """Whether it worked; an answer in between fails the test."""
    assert "Traceback" not in done.stderr, f"{said}\n{done.stderr}"
    if done.returncode == 0:
        return True
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2 and lines, f"{said}\n{done}"
    assert lines[-1].startswith(("arcmargin: ", "error: ")), f"{said}\n{done.stderr}"
    return False


def command_lines(rng: random.Random) -> list[str]:
    chosen = rng.sample(KEYS, rng.choice((1, 1, 1, 2, 3)))
    drawn = []
    for key in chosen:
        pool = TARGETS if key.endswith("_target_") else (NUMBERS * 2 + ODD)
        drawn.append(f"{key}={rng.choice(pool)}")
    if rng.random() < 0.1:
        drawn.append(
            rng.choice(("~epochs", "~dataset", "~header", "~m2", "m2=", "=3", "--flag", "m2"))
        )
    return drawn


def test_command_lines(tmp_path):
    rng = random.Random(17)
    worked = 0
    for number in range(3 * COUNT):
        folder = tmp_path / str(number)
        folder.mkdir()
        drawn = command_lines(rng)
        done = arcmargin(*SMALL, *drawn, cwd=folder)
        runs = [path for path in folder.glob("outputs/runs/*") if path.is_dir()]
        if check(done, " ".join(drawn)):
            worked += 1
            assert all((run / "record.json").exists() for run in runs)
        else:
            assert not any((run / "record.json").exists() for run in runs), drawn
            assert not list(folder.rglob(".*.ckpt.*")), drawn
        shutil.rmtree(folder)
    assert 0 < worked < 3 * COUNT, "the inputs are odd, but not all of them"


def pictures(rng: random.Random, root: Path) -> None:
    """Three classes, mostly sound."""
    noise = np.random.default_rng(rng.randrange(2**32))
    names = rng.sample(["a", "b", "c d", "$\\frac{$", "é", "<b>", "=1+1", "%s", "x" * 200], 3)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(rng.choice((4, 6, 8))):
            pixels = noise.integers(0, 255, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    place = root / names[0] / "odd.png"
    damage = rng.randrange(10)
    if damage == 0:
        place.write_bytes(b"%!PS-Adobe-3.0\nshowpage\n")
    elif damage == 1:
        place.write_bytes(noise.bytes(300))
    elif damage == 2:
        place.write_bytes(b"")
    elif damage == 3:
        Image.fromarray(noise.random((9, 9), dtype=np.float32)).save(place.with_suffix(".tiff"))
    elif damage == 4:
        Image.fromarray(noise.integers(0, 2**31, (9, 9), dtype=np.int32)).save(
            place.with_suffix(".tif")
        )
    elif damage == 5:
        whole = next((root / names[1]).iterdir())
        whole.write_bytes(whole.read_bytes()[:60])
    elif damage == 6:
        for file in (root / names[1]).iterdir():
            file.unlink()
    elif damage == 7:
        place.symlink_to("nowhere.png")
    elif damage == 8:
        os.mkfifo(place)


def test_folders_of_images(tmp_path):
    rng = random.Random(18)
    worked = 0
    for number in range(COUNT):
        folder = tmp_path / str(number)
        pictures(rng, folder / "photos")
        more = rng.sample(
            [
                "dataset.channels=3",
                "on_bad_image=skip",
                "dataset.image_size=12",
                "dataset.image_size=2",
            ],
            2,
        )
        done = arcmargin(
            *("dataset=folder", "dataset.path=photos", "epochs=1", "logger=none", "threads=1"),
            *("backbone.width=4", "backbone.hidden=8", *more),
            cwd=folder,
        )
        worked += check(done, f"{sorted(p.name for p in folder.rglob('*'))[:9]} {more}")
        shutil.rmtree(folder)
    assert 0 < worked < COUNT


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two finished runs of one sweep's folder."""
    cwd = tmp_path_factory.mktemp("finished")
    for seed in (0, 1):
        given = (
            f"seed={seed}",
            "dataset.unseen=2",
            "dataset.classes=5",
            f"hydra.run.dir=runs/{seed}",
        )
        done = arcmargin(*SMALL, *given, cwd=cwd)
        assert done.returncode == 0, done.stderr
    return cwd / "runs"


def damaged_json(rng: random.Random, path: Path) -> None:
    text = path.read_text()
    content = json.loads(text)
    kind = rng.randrange(7)
    if kind == 0:
        path.write_text(text[: rng.randrange(len(text))])
    elif kind == 1:
        path.write_bytes(bytes(rng.randrange(256) for _ in range(200)))
    elif kind == 2:
        path.write_text("[" * 20_000)
    else:
        part = rng.choice([content, content["settings"], content["metrics"], content["curves"]])
        values = ["x", -1, 1e300, None, [], {}, [[1]], True, "\ud800", "=cmd()", "$\\frac{$"]
        part[rng.choice(list(part))] = rng.choice(values)
        text = json.dumps(content)
        if kind == 3:
            text = text.replace('"accuracy": ', '"accuracy": 1' + 400 * "0", 1)
        path.write_text(text)


def damaged_arrays(rng: random.Random, path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    name = rng.choice(list(arrays))
    kind = rng.randrange(5)
    if kind == 0:
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])
        return
    if kind == 1:
        del arrays[name]
    elif kind == 2:
        arrays[name] = arrays[name][:-1]
    elif kind == 3:
        arrays[name] = arrays[name].reshape(-1)
    elif arrays[name].dtype.kind == "f":
        arrays[name] = np.full_like(arrays[name], np.nan)
    else:
        arrays[name] = np.zeros((2, 2, 2))
    np.savez(path, **arrays)


def test_records_of_others(tmp_path, finished):
    rng = random.Random(19)
    for number in range(COUNT):
        folder = tmp_path / str(number)
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("checkpoints"))
        if rng.random() < 0.6:
            damaged_json(rng, folder / "0" / "record.json")
        else:
            damaged_arrays(rng, rng.choice(sorted((folder / "0").glob("*.npz"))))
        done = in_process(lambda f=folder: report.main([str(f)]), cwd=tmp_path)
        assert check(done, str(number)), "the other run can be reported on"
        assert (folder / "report" / "index.html").exists()
        shutil.rmtree(folder)


def test_checkpoints_of_others(tmp_path, finished):
    rng = random.Random(20)
    whole = finished / "0" / "checkpoints" / "last.ckpt"
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photos" / "a" / "0.png")
    odd = [None, "x", -1, 10**12, float("nan"), [], {}, [0.0], torch.zeros(2), True]
    for number in range(COUNT):
        place = tmp_path / f"{number}.ckpt"
        content = torch.load(whole, weights_only=True)
        kind = rng.randrange(5)
        if kind == 0:
            data = bytearray(whole.read_bytes())
            for _ in range(rng.choice((1, 50))):
                data[rng.randrange(len(data))] = rng.randrange(256)
            place.write_bytes(bytes(data[: rng.choice((len(data), rng.randrange(len(data))))]))
        else:
            part = rng.choice(
                [
                    content,
                    content["arcmargin"],
                    content["arcmargin"]["backbone"],
                    content["state_dict"],
                ]
            )
            key = rng.choice(list(part))
            if kind == 1:
                del part[key]
            else:
                part[key] = rng.choice(odd)
            torch.save(content, place)
        said = f"{number} kind {kind}"
        out = tmp_path / "e.npz"
        check(
            in_process(
                lambda p=place, o=out: embed.main([str(p), "photos", "-o", str(o)]), cwd=tmp_path
            ),
            said,
        )
        if number % 4 == 0:
            done = arcmargin(
                *SMALL, "dataset.classes=5", "dataset.unseen=2", "epochs=2", f"resume={place}",
                f"hydra.run.dir=r{number}", cwd=tmp_path,
            )  # fmt: skip
            if not check(done, said):
                assert not (tmp_path / f"r{number}").exists(), said


def test_lists_of_pairs(tmp_path, finished):
    rng = random.Random(21)
    names = []
    noise = np.random.default_rng(0)
    for i in range(6):
        names.append(f"{i}.png")
        Image.fromarray(noise.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / names[-1])
    cells = [*names, "gone.png", "", "1", "0", "same", "x", '"', "0.png,1.png,1", "\x00", "é"]
    for number in range(COUNT):
        lines = []
        for _ in range(rng.choice((0, 1, 3, 12))):
            sound = rng.random() < 0.7
            row = (
                [*rng.sample(names, 2), rng.choice("01")]
                if sound
                else rng.sample(cells, rng.choice((1, 2, 3)))
            )
            lines.append(",".join(row))
        text = "\n".join(lines).encode()
        (tmp_path / "pairs.csv").write_bytes(text if rng.random() < 0.9 else b"\xff\xfe" + text)
        run = str(finished / "0")
        threshold = (
            ["--threshold", rng.choice(["0.5", "nan", "2", "-1"])] if rng.random() < 0.5 else []
        )
        done = in_process(
            lambda r=run, t=threshold: verify.main([r, "pairs.csv", *t]), cwd=tmp_path
        )
        check(done, f"{number} {lines}")
        if number % 4 == 0:
            done = arcmargin(
                *SMALL, "verification_pairs=pairs.csv", f"hydra.run.dir=p{number}", cwd=tmp_path
            )
            if not check(done, f"{number} {lines}"):
                assert not (tmp_path / f"p{number}").exists()


def test_the_check_above_notices_a_traceback():
    with contextlib.redirect_stderr(io.StringIO()), pytest.raises(AssertionError):
        check(Done(1, "", "Traceback (most recent call last):\n  ...\nValueError: x\n"))
    with pytest.raises(AssertionError):
        check(Done(1, "", "something\n"))
    assert Result  # the fixture's runs are read by the report
