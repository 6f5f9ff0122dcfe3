"""embed, verify and export on one small run on images of one's own."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from command_line import arcmargin
from PIL import Image

from arcmargin import backbones
from arcmargin.inference import embed, export, verify
from arcmargin.inference.trained import load
from arcmargin.record import Embeddings, Result, Unseen

SETTINGS = (
    *("dataset=folder", "dataset.path=photos", "dataset.image_size=8", "dataset.channels=3"),
    *("embedding_dim=4", "epochs=2", "logger=none", "threads=1"),
    *("backbone.width=4", "backbone.hidden=8"),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """photos/: four classes, a shade each; run/: trained on two of them, verified on the others."""
    folder = tmp_path_factory.mktemp("use")
    rng = np.random.default_rng(0)
    for name, shade in (("a", 40), ("b", 90), ("c", 150), ("d", 220)):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = (shade + rng.integers(-30, 30, (8, 8, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i:02}.png")
    done = arcmargin(*SETTINGS, "dataset.unseen=[c,d]", "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def here(work, monkeypatch):
    monkeypatch.chdir(work)
    return work


def test_embed_names_what_it_cannot_read_and_how_to_skip_it(here, tmp_path, capsys):
    shutil.copytree("photos", tmp_path / "some")
    (tmp_path / "some" / "a" / "05.png").write_bytes(b"not a picture")
    out = tmp_path / "e.npz"
    assert embed.main(["run", str(tmp_path / "some"), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "1 of 48 images" in said and "a/05.png' (not an image" in said
    assert "leave them out with --on-bad-image skip" in said and not out.exists()
    assert (
        embed.main(["run", str(tmp_path / "some"), "-o", str(out), "--on-bad-image", "skip"]) == 0
    )
    assert embed.main(["run", "photos", "-o", str(tmp_path / "all.npz")]) == 0
    with np.load(out) as some, np.load(tmp_path / "all.npz") as everything:
        kept = everything["paths"] != "a/05.png"
        assert some["paths"].tolist() == everything["paths"][kept].tolist()
        np.testing.assert_allclose(some["embeddings"], everything["embeddings"][kept], atol=1e-5)


def test_embed_gives_what_the_run_itself_measured(here):
    assert embed.main(["run", "photos", "-o", "e.npz"]) == 0
    with np.load("e.npz") as file:
        paths, labels, embeddings = (file[key] for key in ("paths", "labels", "embeddings"))
    assert paths[0] == "a/00.png" and labels.tolist() == [p.split("/")[0] for p in paths]
    own = Unseen.load("run").embeddings  # of c and d, in the order of the files
    assert np.allclose(embeddings[labels >= "c"], own, atol=1e-4)
    test = Embeddings.load("run").embeddings
    known = embeddings[labels < "c"]
    assert all(np.abs(known - one).max(axis=1).min() < 1e-4 for one in test)


def test_embed_writes_parquet_too(here):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert embed.main(["run", "photos/d", "--out", "e.parquet"]) == 0
    table = parquet.read_table("e.parquet").to_pydict()
    assert table["path"][3] == "03.png" and set(table["label"]) == {""}
    assert np.allclose(table["embedding"], Unseen.load("run").embeddings[12:], atol=1e-4)


def cosine(one, other):
    embedded = Unseen.load("run").embeddings.astype(float)
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    return unit[one] @ unit[other]


def test_verify_compares_two_images_at_the_runs_threshold(here, capsys):
    threshold = Result.read("run").open_set.thresholds["far_1e-01"]
    assert verify.main(["run", "photos/c/00.png", "photos/d/05.png", "--far", "1e-1"]) == 0
    said = capsys.readouterr().out
    assert f"threshold {threshold:.4f} (FAR 1e-1 in the run's verification)" in said
    expected = cosine(0, 17)
    verdict = "same" if expected >= threshold else "different"
    assert f"{expected:7.4f}  {verdict}" in said


def test_verify_judges_a_list_and_writes_every_pair(here, capsys):
    with open("pairs.csv", "w") as file:
        for i in range(11):
            file.write(f"photos/c/{i:02}.png,photos/c/{i + 1:02}.png,1\n")
            file.write(f"photos/c/{i:02}.png,photos/d/{i:02}.png,0\n")
    expected = [cosine(i, j) for n in range(11) for i, j in ((n, n + 1), (n, n + 12))]
    middle = float(np.sort(expected)[10:12].mean())
    arguments = ["run", "pairs.csv", "--threshold", str(middle), "-o", "out.csv"]
    assert verify.main(arguments) == 0
    said = capsys.readouterr().out
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.allclose([float(row["cosine"]) for row in rows], expected, atol=1e-4)
    assert [row["label"] for row in rows] == ["1", "0"] * 11
    accepted = np.array([row["verdict"] == "same" for row in rows])
    assert np.array_equal(accepted, np.array(expected) >= middle)
    assert f"22 pairs, {accepted.sum()} of them accepted" in said
    assert f"accepts {100 * accepted[::2].mean():.2f} % of 11 genuine pairs" in said
    auc = np.mean([a > b for a in expected[::2] for b in expected[1::2]])
    assert f"{100 * auc:.2f} %" in said


def test_a_threshold_that_nobody_has_measured_is_not_made_up(here, capsys):
    pair = ["photos/c/00.png", "photos/d/05.png"]
    assert verify.main(["run", *pair, "--far", "1e-4"]) == 0
    said = capsys.readouterr().out
    assert "FAR 1e-4 was not measured by the run, which had too few impostor pairs: 1e-2" in said
    assert "(FAR 1e-2 in the run's verification)" in said
    for threshold in ("nan", "1.5"):
        assert verify.main(["run", *pair, "--threshold", threshold]) == 2
        assert "--threshold must be a cosine, from -1 to 1" in capsys.readouterr().err
    shutil.copy("run/checkpoints/last.ckpt", "copy.ckpt")
    assert verify.main(["copy.ckpt", *pair]) == 2
    assert "no threshold is known" in capsys.readouterr().err
    assert verify.main(["run", "nothing.png", "photos/c/00.png"]) == 2
    assert "no image 'nothing.png'" in capsys.readouterr().err


def test_a_run_verifies_a_list_of_pairs(here, capsys):
    text = "".join(
        f"photos/a/{i:02}.png,photos/{'a' if i % 2 else 'd'}/11.png,{i % 2}\n" for i in range(11)
    )
    (here / "few.csv").write_text(text)
    done = arcmargin(*SETTINGS, "verification_pairs=few.csv", "hydra.run.dir=paired", cwd=here)
    assert done.returncode == 0, done.stderr
    result = Result.read("paired")
    assert (result.open_set.genuine_pairs, result.open_set.impostor_pairs) == (5, 6)
    embedded = Unseen.load("paired").embeddings
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    cosines = unit @ unit[[1, 3]].T  # the files in the order of the list: a/00, d/11, a/01, a/11, …
    firsts = [0, 2, *range(4, 13)]
    scores = [cosines[row, number % 2] for number, row in enumerate(firsts)]
    auc = np.mean([a > b for a in scores[1::2] for b in scores[0::2]])
    assert result.metrics["verification_auc"] == pytest.approx(auc)


def test_missing_images_of_a_list_stop_a_run_before_it_trains(here):
    (here / "gone.csv").write_text("photos/a/00.png,photos/a/70.png,1\nphotos/a/01.png,x.png,0\n")
    done = arcmargin(*SETTINGS, "verification_pairs=gone.csv", "hydra.run.dir=gone", cwd=here)
    assert done.returncode == 2
    assert "photos/a/70.png', 'x.png'" in done.stderr and "epoch" not in done.stderr
    assert not (here / "gone").exists()


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_an_exported_backbone_gives_the_same_embeddings(here, kind, capsys):
    if kind == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
    out = here / f"backbone.{kind}"
    assert export.main(["run", "--format", kind, "-o", str(out)]) == 0
    assert "n×3×8×8 pixels between 0 and 1" in capsys.readouterr().out
    files = sorted((here / "photos" / "c").iterdir())[:5]
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).astype(np.float32) / 255
    images = np.moveaxis(pixels, -1, 1).copy()
    if kind == "onnx":
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        found = session.run(["embeddings"], {"images": images})[0]
    else:
        found = torch.export.load(str(out)).module()(torch.from_numpy(images)).detach().numpy()
    assert np.allclose(found, Unseen.load("run").embeddings[:5], atol=1e-4)


def test_an_export_that_computes_something_else_does_not_stay(here, monkeypatch, capsys):
    real = torch.export.load

    class Off:
        def __init__(self, program):
            self.program = program

        def module(self):
            return lambda images: self.program.module()(images) + 0.01

    monkeypatch.setattr(torch.export, "load", lambda path: Off(real(path)))
    assert export.main(["run", "-o", "off.pt2"]) == 2
    assert "differs from the trained one" in capsys.readouterr().err
    assert not (here / "off.pt2").exists()


def changed(how=None, **top):
    content = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    content["arcmargin"] = {**content["arcmargin"], **(how or {})}
    torch.save({**content, **top}, "changed.ckpt")
    return "changed.ckpt"


def test_checkpoints_that_cannot_be_used_are_explained(here, capsys):
    def refused(path, *words):
        assert embed.main([str(path), "photos"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and all(word in said for word in words), said

    refused("photos", "holds no checkpoints/last.ckpt")
    refused("nothing.ckpt", "no file")
    refused("photos/a/00.png", "is not a file of weights")
    torch.save(torch.nn.Linear(2, 2), "module.ckpt")
    refused("module.ckpt", "is not a file of weights", "nothing else is loaded")
    torch.save({"weights": torch.zeros(2)}, "other.ckpt")
    refused("other.ckpt", "not one of our checkpoints")
    refused(changed(arcmargin=None), "does not say how its backbone is built")
    refused(changed({"embedding_dim": 5}), "5.weight is (4, 8)", "but (5, 8)")
    net = {"_target_": "arcmargin.backbones.lenet", "hidden": 84}
    refused(changed({"backbone": net}), "0.0.weight")
    refused(changed({"backbone": {**net, "depth": 3}}), "cannot be built here", "depth")


def test_damaged_checkpoints_are_one_sentence(here, capsys):
    state = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for damage in (
        {"how": {"std": [0.0, 1.0, 1.0]}},
        {"how": {"mean": [0.1]}},
        {"how": {"mean": [float("nan")] * 3}},
        {"how": {"image_shape": [3, -8, 8]}},
        {"how": {"image_shape": [3, 10**6, 10**6]}},
        {"how": {"image_shape": "large"}},
        {"how": {"embedding_dim": -1}},
        {"callbacks": None},
        {"epoch": "three"},
        {"optimizer_states": []},
        {
            "state_dict": {
                key: v * torch.nan if v.is_floating_point() else v for key, v in state.items()
            }
        },
    ):
        assert embed.main([changed(**damage), "photos"]) == 2, damage
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "is damaged" in said, (damage, said)


def test_a_checkpoint_cannot_choose_which_code_runs(here, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(json, "dumps", lambda **kwargs: ran.append(kwargs))
    path = changed({"backbone": {"_target_": "json.dumps"}})
    assert embed.main([path, "photos"]) == 2
    assert not ran and "--trust json.dumps" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert embed.main([changed({"backbone": {"_target_": "arcmargin.run.main"}}), "photos"]) == 2
    settings = {"_target_": f"{__name__}.own", "width": 4, "hidden": 8}
    trusted = load(changed({"backbone": settings}), trust=f"{__name__}.own")
    plain = load("run")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(trusted.model(images), plain.model(images))


def own(**settings):
    return backbones.convnet(**settings)
