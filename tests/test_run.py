"""The command line, as a user types it."""

import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arcmargin import run
from arcmargin.record import Embeddings, Record, Snapshots, find_records

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["logger=none", "dataset.classes=4", "epochs=2", "threads=1"]


# conftest.py keeps W&B offline for all tests; these want to see what the product decides itself.
WITHOUT_MODE = {key: value for key, value in os.environ.items() if key != "WANDB_MODE"}


def command(*arguments):
    return [sys.executable, "-m", "arcmargin.run", *arguments]


def arcmargin(*arguments, cwd, timeout=180):
    return subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One real run of the default command, W&B offline as on a fresh machine."""
    cwd = tmp_path_factory.mktemp("run")
    done = arcmargin("header=cosface", "epochs=12", "threads=1", cwd=cwd)
    assert done.returncode == 0, done.stderr
    (folder,) = (cwd / "outputs" / "runs").iterdir()
    return done, folder


def test_the_first_command_leaves_everything_it_names(finished):
    done, folder = finished
    for name in (
        "record.json",
        "embeddings.npz",
        "snapshots.npz",
        "embedding.png",
        "embedding.html",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / ".hydra" / "config.yaml").exists()
    assert (folder / "checkpoints" / "last.ckpt").exists()
    for line in (
        "accuracy",
        "gap_mean_deg",
        "embedding.png",
        str(folder.relative_to(folder.parents[2])),
    ):
        assert line in done.stdout


def test_the_record_says_what_was_run_and_what_came_of_it(finished):
    _, folder = finished
    record = Record.read(folder)
    assert (record.header, record.dataset, record.embedding_dim) == ("cosface", "digits", 2)
    assert (record.m1, record.m2, record.m3, record.s) == (1.0, 0.0, 0.35, 30.0)
    assert record.overrides == ["header=cosface", "epochs=12", "threads=1"]
    assert record.metrics["accuracy"] > 0.85
    assert record.metrics["gap_predicted_deg"] is None, "m3 = 0.35 is infeasible on this circle"
    assert len(record.class_names) == 10
    assert {"torch", "python", "hydra-core"} <= set(record.versions)
    assert record.wandb["mode"] == "offline"
    assert len(record.curves["val_accuracy"]) == 12
    embeddings = Embeddings.load(folder)
    assert embeddings.embeddings.shape == (359, 2) or len(embeddings.embeddings) > 300
    assert Snapshots.load(folder).epochs[0] == 0


def test_a_log_gets_plain_lines_a_bound_and_the_way_to_upload(finished):
    done, _ = finished
    assert "m3=0.35 is infeasible" in done.stderr and "0.191" in done.stderr
    assert "wandb sync" in done.stderr
    assert "epoch 12/12" in done.stderr
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr and "GPU available" not in done.stderr


def test_the_same_command_twice_gives_the_same_metrics(tmp_path):
    for name in ("a", "b"):
        done = arcmargin(*QUICK, f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    one, two = (Record.read(tmp_path / name) for name in ("a", "b"))
    assert one.metrics == two.metrics and one.curves == two.curves


def test_a_named_sweep_runs_every_job_once_and_skips_what_is_finished(tmp_path):
    sweep = ["--multirun", "header=linear,arcface", "m2=0.2,0.3", "sweep=try", *QUICK]
    done = arcmargin(*sweep, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "sweeps" / "try"
    found = find_records(folder)
    assert sorted(r.name for r in found.records) == ["arcface m2=0.2", "arcface m2=0.3", "linear"]
    assert "linear takes no m2: m2=0.2 has no effect" in done.stderr
    before = {r.folder: (r.folder / "record.json").stat().st_mtime_ns for r in found.records}
    again = arcmargin(*sweep, cwd=tmp_path)
    assert again.returncode == 0 and "finished already" in again.stderr
    assert before == {f: (f / "record.json").stat().st_mtime_ns for f in before}
    assert (folder / "report" / "grid.png").exists() and (folder / "report" / "summary.md").exists()


def test_a_failing_job_is_recorded_and_the_others_go_on(tmp_path):
    done = arcmargin("--multirun", "m2=-1,0.2", "sweep=try", *QUICK, cwd=tmp_path)
    assert done.returncode == 1
    found = find_records(tmp_path / "outputs" / "sweeps" / "try")
    by_status = {r.status: r for r in found.records}
    assert set(by_status) == {"finished", "failed"}
    assert "m2 must be >= 0, got -1" in by_status["failed"].error
    assert "m2 must be >= 0, got -1" in done.stderr and "sweep=try" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_job_is_recorded_with_its_matched_margin(tmp_path):
    diverging = ["gap_deg=20", "optimizer.lr=1e30", "trainer.gradient_clip_val=null"]
    done = arcmargin("--multirun", *diverging, "seed=0", "sweep=try", *QUICK, cwd=tmp_path)
    (record,) = find_records(tmp_path / "outputs" / "sweeps" / "try").records
    assert done.returncode == 1 and record.status == "failed"
    assert math.degrees(record.m2) == pytest.approx(20) and record.name in done.stderr


def test_a_sweep_does_not_keep_the_images_of_its_jobs(tmp_path):
    code = (
        "import gc, sys, arcmargin.run as run; from arcmargin.data.image_data import ImageData\n"
        "sys.argv[1:] = ['--multirun', 'seed=0,1,2', '+debug=fast', 'logger=none', 'threads=1']\n"
        "run.main()\n"
        "print(sum(isinstance(thing, ImageData) for thing in gc.get_objects()), 'kept')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 kept"


def test_embedding_dim_takes_a_number(tmp_path):
    done = arcmargin(*QUICK, "embedding_dim=5", "hydra.run.dir=x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Record.read(tmp_path / "x").embedding_dim == 5
    assert Embeddings.load(tmp_path / "x").embeddings.shape[1] == 5
    assert not (tmp_path / "x" / "embedding.html").exists()


def test_gap_deg_sets_the_margin_that_is_the_headers_own(tmp_path):
    done = arcmargin(*QUICK, "header=sphereface", "gap_deg=30", "hydra.run.dir=x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = Record.read(tmp_path / "x")
    assert record.m1 == pytest.approx((90 + 30) / (90 - 30))  # four classes: 90° apart
    assert record.metrics["gap_predicted_deg"] == pytest.approx(30)


def test_a_finished_run_goes_on_from_its_checkpoint(tmp_path):
    assert arcmargin(*QUICK, "hydra.run.dir=x", cwd=tmp_path).returncode == 0
    more = arcmargin(*QUICK, "epochs=3", "resume=x", "hydra.run.dir=y", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "epoch 3/3" in more.stderr and "epoch 1/3" not in more.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (root / name).mkdir()
        for i in range(20):
            noise = rng.integers(-50, 50, (10, 10))
            Image.fromarray((level + noise).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def test_a_folder_of_images_of_ones_own(tmp_path, images):
    arguments = ["dataset=folder", f"dataset.path={images}", "dataset.image_size=12", "epochs=4"]
    done = arcmargin("logger=none", "threads=1", *arguments, "hydra.run.dir=x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = Record.read(tmp_path / "x")
    assert record.class_names == ["dark", "light"] and record.metrics["accuracy"] > 0.9


MISTAKES = {
    "unknown header": (["header=arcfaze"], "arcface"),
    "unknown data set": (["dataset=imagenet"], "digits"),
    "unknown key": (["m4=1"], "m4"),
    "m1 below one": (["m1=0.5"], "m1 must be >= 1, got 0.5"),
    "a word for a number": (["m2=abc"], "'abc'"),
    "negative margin": (["m2=-1"], "m2 must be >= 0, got -1"),
    "zero scale": (["s=0"], "s must be a finite number > 0, got 0"),
    "negative scale": (["s=-3"], "s must be a finite number > 0, got -3"),
    "no epochs": (["epochs=0"], "epochs must be at least 1"),
    "empty batches": (["batch_size=0"], "batch_size must be at least 1"),
    "missing folder": (["dataset=folder", "dataset.path=nowhere"], "'nowhere' is not a folder"),
    "path not given": (["dataset=folder"], "dataset.path"),
    "nothing to resume": (["resume=nowhere"], "holds no checkpoint"),
    "gap beside margin": (["gap_deg=10", "m2=0.1"], "m2=0.1 cannot be set with it"),
    "gap too wide": (["gap_deg=80"], "the gap must be"),
    "a setting the header lacks": (["+header.magic=1"], "magic"),
    "no such accelerator": (["trainer.accelerator=warp"], "warp"),
    "chunks the header cannot": (["header=linear", "class_chunk=9"], "linear takes no class_chunk"),
    "unknown on_error": (["on_error=stop"], "on_error must be"),
    "unknown wandb mode": (["logger=wandb", "wandb.mode=sometimes"], "wandb.mode must be one of"),
    "syntax": (["m2=0.2,"], "m2=0.2,"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(tmp_path, name):
    arguments, expected = MISTAKES[name]
    environment = WITHOUT_MODE if name == "unknown wandb mode" else None
    quick = [] if name == "unknown wandb mode" else ["logger=none"]
    done = subprocess.run(
        command(*quick, *arguments),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2, done.stderr
    assert lines[-1].startswith("arcmargin: ") and expected in lines[-1], done.stderr
    assert "Traceback" not in done.stderr
    runs = tmp_path / "outputs" / "runs"
    assert not runs.exists() or not list(runs.iterdir())


def test_an_output_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    done = arcmargin("logger=none", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().startswith("arcmargin: cannot write the output")


def test_compile_without_a_compiler_is_said_in_one_sentence(tmp_path):
    environment = {
        **os.environ,
        "CXX": "no-such-compiler",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        command("compile=true", *QUICK),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("arcmargin: compile=true needs a C++ compiler")
    assert not list((tmp_path / "outputs" / "runs").iterdir())


def test_help_and_typos_answer_without_loading_torch(tmp_path):
    code = (
        "import sys, arcmargin.run as run; sys.argv[1:] = [{!r}]\n"
        "try: run.main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'wandb' not in sys.modules, 'loaded too early'"
    )
    for argument in ("--help", "header=arcfaze", "m2=abc"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(argument)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_ctrl_c_says_how_to_go_on_and_the_run_can_be_resumed(tmp_path, interrupt_training):
    arguments = ["logger=none", "threads=1", "epochs=1000", "hydra.run.dir=x"]
    code, rest = interrupt_training(arguments, cwd=tmp_path)
    assert code == 130
    assert "resume=x" in rest and "Traceback" not in rest
    assert not (tmp_path / "x" / "record.json").exists()
    resumed = arcmargin("logger=none", "threads=1", "epochs=60", "resume=x", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/60" not in resumed.stderr and "epoch 60/60" in resumed.stderr


def test_a_terminal_gets_a_bar_and_no_prompt(tmp_path):
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 100))
    process = subprocess.Popen(
        command("epochs=30", "threads=1", "dataset.classes=4"),
        cwd=tmp_path,
        stdin=child,
        stdout=child,
        stderr=child,
        env=WITHOUT_MODE,
    )
    os.close(child)
    shown, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the terminal closes with its last process
            break
        if not part:
            break
        shown += part
    assert process.wait(10) == 0, shown.decode()
    assert b"step/s" in shown and re.search(rb"epoch \d+/30", shown)
    assert b"Enter your choice" not in shown


def test_the_report_of_a_run(finished):
    _, folder = finished
    script = ROOT / "scripts" / "report.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report" / "grid.png").exists()
    assert json.loads((folder / "record.json").read_text())["status"] == "finished"


def test_an_interrupt_that_a_library_turned_into_an_error_is_one(monkeypatch):
    def task():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("half done") from None

    environment = dict(os.environ)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(run, "_task", task)
    monkeypatch.setattr(sys, "argv", ["arcmargin"])
    try:
        with pytest.raises(SystemExit) as end:
            run.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == 130
    assert dict(os.environ) == environment  # what is started next reports errors in its own way


def test_started_from_within_a_run_a_mistake_is_still_one_sentence(tmp_path):
    """It inherits the environment of the run."""
    inner = [sys.executable, "-m", "arcmargin.run", "m1=0.5"]
    script = (
        "import subprocess, sys; from arcmargin import run\n"
        f"run._task = lambda: sys.exit(subprocess.run({inner!r}).returncode)\n"
        "run.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("arcmargin: m1 must be")
