"""One run, as a user types it: what it leaves, what it says, and what it refuses."""

import json

import numpy as np
import pytest
from command_line import QUICK, arcmargin
from PIL import Image

from arcmargin.record import Embeddings, Result, Snapshots


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The first command of the README, with fewer epochs; W&B offline as on a fresh machine."""
    cwd = tmp_path_factory.mktemp("run")
    done = arcmargin("header=cosface", "epochs=12", "threads=1", cwd=cwd)
    assert done.returncode == 0, done.stderr
    (folder,) = (cwd / "outputs" / "runs").iterdir()
    return done, folder


def test_the_first_command_leaves_everything_it_names(finished):
    done, folder = finished
    files = "record.json embeddings.npz snapshots.npz embedding.png embedding.html"
    for name in files.split():
        assert (folder / name).stat().st_size > 0, name
    assert (folder / ".hydra" / "config.yaml").exists()
    assert (folder / "checkpoints" / "last.ckpt").exists()
    for line in ("accuracy", "mean gap", "embedding.png", f"outputs/runs/{folder.name}"):
        assert line in done.stdout


def test_the_record_says_what_was_run_and_what_came_of_it(finished):
    _, folder = finished
    result = Result.read(folder)
    settings = result.settings
    assert (settings.header, settings.dataset, settings.embedding_dim) == ("cosface", "digits", 2)
    assert (settings.m1, settings.m2, settings.s) == (1.0, 0.0, 30.0)
    # CosFace's own 0.35 is infeasible on this circle: matched to 7/9 of the 36° between the centres.
    assert settings.m3 == pytest.approx(4 * (np.sin(np.radians(18)) * np.sin(np.radians(14))) / 2)
    assert settings.overrides == ["header=cosface", "epochs=12", "threads=1"]
    assert (settings.threads, settings.batch_size, settings.in_formula) == (1, 128, True)
    assert result.metrics["accuracy"] > 0.85
    assert result.metrics["gap_predicted_deg"] == pytest.approx(28)
    assert len(settings.class_names) == settings.num_classes == 10
    assert {"torch", "python", "hydra-core"} <= set(result.versions)
    assert result.wandb["mode"] == "offline"
    assert result.score == result.curves["val_accuracy"][-1] and len(result.curves["epoch"]) == 12
    assert Embeddings.load(folder).embeddings.shape == (359, 2)
    assert Snapshots.load(folder).epochs[0] == 0
    assert json.loads((folder / "record.json").read_text())["status"] == "finished"


def test_a_log_gets_plain_lines_and_the_way_to_upload(finished):
    done, _ = finished
    said = (
        "cosface's m3 = 0.35 needs more than 2 dimensions for 10 classes; using 0.15, a gap of 28°; "
        "m3=0.35 keeps it"
    )
    assert done.stderr.count(said) == 1 and "infeasible" not in done.stderr
    assert "wandb sync" in done.stderr
    assert "epoch 12/12" in done.stderr
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr and "GPU available" not in done.stderr


def test_the_same_command_twice_gives_the_same_metrics(tmp_path):
    for name in ("a", "b"):
        done = arcmargin(*QUICK, f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    one, two = (Result.read(tmp_path / name) for name in ("a", "b"))
    assert one.metrics == two.metrics and one.curves == two.curves


def settings_of(*arguments, cwd):
    done = arcmargin(*QUICK, *arguments, "hydra.run.dir=x", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done, Result.read(cwd / "x")


def test_what_reached_the_head_is_what_is_recorded(tmp_path):
    done, result = settings_of("header.m2=0.3", "header.s=8", cwd=tmp_path)
    settings = result.settings
    assert (settings.m2, settings.s, settings.name) == (0.3, 8.0, "arcface m2=0.3")
    assert result.metrics["gap_predicted_deg"] == pytest.approx(np.degrees(0.3))
    assert "arcface m2=0.3 on digits, 2-D, seed 0, s=8" in done.stdout


def test_a_head_of_the_formula_is_named_by_its_margins_and_that_is_said_once(tmp_path):
    done, result = settings_of("header=normface", "m2=0.3", cwd=tmp_path)
    assert result.settings.name == "arcface m2=0.3"
    assert done.stderr.count("header=normface with these margins is arcface m2=0.3") == 1
    (tmp_path / "x" / "record.json").unlink()
    done, result = settings_of("header=cosface", "m2=0.2", cwd=tmp_path)
    assert result.settings.name == "combined m2=0.2 m3=0.35"
    assert done.stderr.count("with these margins is combined m2=0.2 m3=0.35") == 1


def test_a_margin_that_the_user_sets_stays_and_its_bound_is_named(tmp_path):
    done = arcmargin(
        "epochs=1", "logger=none", "header=cosface", "m3=0.35", "hydra.run.dir=x", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert Result.read(tmp_path / "x").settings.m3 == 0.35
    assert "m3=0.35 is infeasible for 10 classes" in done.stderr and "0.191" in done.stderr
    assert "keeps it" not in done.stderr


def test_what_a_head_does_not_take_is_said_unless_it_is_no_margin(tmp_path):
    done, _ = settings_of("header=linear", "s=8", "m2=0.2", "m3=0", cwd=tmp_path)
    assert "linear takes no s: s=8 has no effect" in done.stderr
    assert "linear takes no m2: m2=0.2 has no effect" in done.stderr
    assert "m3" not in done.stderr


def test_only_the_very_same_run_is_finished_already(tmp_path):
    settings_of(cwd=tmp_path)
    again = arcmargin(*QUICK, "hydra.run.dir=x", cwd=tmp_path)
    assert again.returncode == 0 and "arcface m2=0.5 is finished already: x" in again.stderr
    other = arcmargin(*QUICK, "header=cosface", "seed=3", "hydra.run.dir=x", cwd=tmp_path)
    assert other.returncode == 2
    assert "x holds the result of another run (arcface m2=0.5 on digits, seed 0)" in other.stderr
    assert Result.read(tmp_path / "x").settings.header == "arcface"


def test_embedding_dim_takes_a_number(tmp_path):
    _, result = settings_of("embedding_dim=5", cwd=tmp_path)
    assert result.settings.embedding_dim == 5
    assert Embeddings.load(tmp_path / "x").embeddings.shape[1] == 5


def test_gap_deg_sets_the_margin_that_is_the_headers_own(tmp_path):
    _, result = settings_of("header=sphereface", "gap_deg=30", cwd=tmp_path)
    assert result.settings.m1 == pytest.approx((90 + 30) / (90 - 30))  # four classes: 90° apart
    assert (result.settings.matched, result.settings.gap_deg) == ("m1", 30.0)
    assert result.metrics["gap_predicted_deg"] == pytest.approx(30)


def test_a_finished_run_goes_on_from_its_checkpoint(tmp_path):
    settings_of(cwd=tmp_path)
    more = arcmargin(*QUICK, "epochs=3", "resume=x", "hydra.run.dir=y", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "epoch 3/3" in more.stderr and "epoch 1/3" not in more.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images") / "shades"
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (root / name).mkdir(parents=True)
        for i in range(20):
            noise = rng.integers(-50, 50, (10, 10))
            Image.fromarray((level + noise).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def test_a_folder_of_images_of_ones_own_gives_the_run_its_name(tmp_path, images):
    arguments = ["dataset=folder", f"dataset.path={images}", "dataset.image_size=12", "epochs=4"]
    done = arcmargin("logger=none", "threads=1", *arguments, "hydra.run.dir=x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = Result.read(tmp_path / "x")
    assert result.settings.class_names == ["dark", "light"]
    assert result.settings.dataset == "shades" and result.metrics["accuracy"] > 0.9


def test_few_images_get_a_batch_size_that_makes_enough_steps(tmp_path, images):
    own = ["dataset=folder", f"dataset.path={images}", "dataset.image_size=12", "logger=none"]
    done = arcmargin(*own, "epochs=1", "threads=1", "hydra.run.dir=x", cwd=tmp_path)
    said = "28 training images make 1 step an epoch with batch_size=128; using 8, 4 steps"
    assert done.returncode == 0 and done.stderr.count(said) == 1
    assert Result.read(tmp_path / "x").settings.batch_size == 8
    done = arcmargin(
        *own, "epochs=1", "threads=1", "batch_size=128", "hydra.run.dir=y", cwd=tmp_path
    )
    said = "28 training images make 1 step an epoch: lower batch_size or raise epochs"
    assert done.returncode == 0 and done.stderr.count(said) == 1
    assert Result.read(tmp_path / "y").settings.batch_size == 128


MISTAKES = {
    "unknown header": (["header=arcfaze"], "arcface"),
    "unknown data set": (["dataset=imagenet"], "digits"),
    "unknown key": (["m4=1"], "m4"),
    "a key that nothing reads": (["+epoch=1"], "did you mean epochs?"),
    "m1 below one": (["m1=0.5"], "m1 must be >= 1, got 0.5"),
    "a word for a number": (["m2=abc"], "'abc'"),
    "negative margin": (["m2=-1"], "m2 must be >= 0, got -1"),
    "negative margin of the head": (["header.m2=-1"], "m2 must be >= 0, got -1"),
    "zero scale": (["s=0"], "s must be > 0, got 0"),
    "no epochs": (["epochs=0"], "epochs must be >= 1"),
    "empty batches": (["batch_size=0"], "batch_size must be >= 2"),
    "endless batches": (["batch_size=1e20"], "batch_size"),
    "no rate": (["optimizer.lr=x"], "optimizer.lr must be a number"),
    "half a channel": (["backbone.width=0.5"], "backbone.width must be a whole number, got 0.5"),
    "half a pixel": (
        ["augment=shift", "augment.pixels=0.5"],
        "augment.pixels must be a whole number",
    ),
    "a list for a number": (["schedule.warmup=[]"], "schedule.warmup must be a number, got []"),
    "a word of the head": (["header.gradient=1"], "header.gradient must be a word, got 1"),
    "no channels": (["backbone.width=0"], "backbone.width must be a whole number from 1 on, got 0"),
    "a hidden layer of none": (["backbone.hidden=0"], "backbone.hidden must be a whole number"),
    "missing folder": (["dataset=folder", "dataset.path=nowhere"], "'nowhere' is not a folder"),
    "path not given": (["dataset=folder"], "dataset.path"),
    "nothing to resume": (["resume=nowhere"], "holds no checkpoint"),
    "gap beside margin": (["gap_deg=10", "m2=0.1"], "m2=0.1 cannot be set with it"),
    "gap too wide": (["gap_deg=80"], "the gap must be"),
    "a setting the header lacks": (["+header.magic=1"], "magic"),
    "no such accelerator": (["trainer.accelerator=warp"], "warp"),
    "chunks the header cannot": (["header=linear", "class_chunk=9"], "linear takes no class_chunk"),
    "classes the header cannot spread": (
        ["header=adaface", "shard=true"],
        "adaface takes no shard",
    ),
    "classes spread in half precision": (
        ["shard=true", "trainer.precision=16-mixed"],
        "bf16-mixed",
    ),
    "unknown on_error": (["on_error=stop"], "on_error must be"),
    "syntax": (["m2=0.2,"], "m2=0.2,"),
    "another program": (["header._target_=os.system"], "no subclass of arcmargin.headers.Header"),
    "no program": (["header._target_=no.such.thing"], "cannot be imported"),
    "a group of nothing": (["header=null"], "header takes the name of an option, got null"),
    "no data": (["dataset={_target_: builtins.dict}"], "takes the name of an option"),
    "nothing to freeze": (["backbone.frozen=true"], "needs weights to freeze"),
    "removed": (["~epochs"], "every run"),
    "no data at all": (["~dataset"], "dataset"),
    "nowhere to write": (["hydra.run.dir=/proc/x"], "cannot write"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(tmp_path, name):
    arguments, expected = MISTAKES[name]
    done = arcmargin("logger=none", *arguments, cwd=tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2, done.stderr
    assert lines[-1].startswith("arcmargin: ") and expected in lines[-1], done.stderr
    assert "Traceback" not in done.stderr
    runs = tmp_path / "outputs" / "runs"
    assert not runs.exists() or not list(runs.iterdir())


def test_an_unknown_wandb_mode_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    done = arcmargin("wandb.mode=sometimes", cwd=tmp_path)
    assert done.returncode == 2 and "wandb.mode must be one of" in done.stderr


def test_an_output_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    done = arcmargin("logger=none", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().startswith("arcmargin: cannot write the output")
