"""What every head promises, checked for each YAML in conf/header: a new one is tested by being there."""

import copy
import math
from pathlib import Path

import pytest
import torch
import yaml
from header_presets import PRESETS, C, D, build, composed
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.func import functional_call, grad, vmap

from arcmargin.errors import UserError
from arcmargin.headers import MarginHeader
from arcmargin.job.schema import CONF, store

N = 32


def batch(n: int = N, d: int = D, c: int = C, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of many lengths, labels with one that is missing."""
    rng = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(n, d, generator=rng) * (0.2 + 3 * torch.rand(n, 1, generator=rng))
    labels = torch.randint(0, c, (n,), generator=rng)
    labels[-1] = -1
    return embeddings, labels


every_preset = pytest.mark.parametrize("preset", PRESETS)


def test_the_catalogue_is_complete() -> None:
    asked_for = """linear normface sphereface sphereface_original sphereface_r cosface arcface combined
        subcenter_arcface adacos curricularface mv_softmax adaface magface elastic_arcface
        elastic_cosface sphereface2 uniface per_class sface inter_topk kappaface x2_softmax gb_cosface
        """
    assert set(asked_for.split()) <= set(PRESETS)


@every_preset
def test_every_yaml_cites_its_source_and_sets_only_what_acts(preset: str) -> None:
    text = (CONF / "header" / f"{preset}.yaml").read_text()
    assert text.startswith("# @package _global_\n#")
    assert set(yaml.safe_load(text)) <= {"defaults", "m1", "m2", "m3", "matched", "header", "space"}
    cfg = composed(preset)
    assert cfg.s == 30.0, "all presets share the scale, so that a comparison is fair"
    block = OmegaConf.to_container(cfg.header, resolve=False)
    assert isinstance(block, dict)
    for key in ("m1", "m2", "m3"):
        if key not in block:
            assert cfg[key] == (1.0 if key == "m1" else 0.0), f"{key} is set but has no effect"
    assert cfg.matched is None or cfg.matched in block


def test_a_head_of_ones_own_inherits_the_formula(tmp_path: Path) -> None:
    """In a folder that --config-dir names, without a copy of what all heads share."""
    (tmp_path / "header").mkdir()
    (tmp_path / "header" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [/formula]\nm1: 1.2\nm3: 0.1\n"
    )
    store()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        search_path = [f"hydra.searchpath=[file://{tmp_path}]"]
        cfg = compose("config", ["header=mine", "m2=0.2", *search_path])
    header = instantiate(cfg.header, embedding_dim=D, num_classes=C)
    assert (header.m1, header.m2, header.m3, header.s) == (1.2, 0.2, 0.1, 30.0)
    assert header.in_formula


@every_preset
def test_a_head_in_the_formula_is_the_formula(preset: str) -> None:
    header = build(preset).double().eval()
    assert header.in_formula == isinstance(header, MarginHeader)
    if not header.in_formula:
        return
    embeddings, labels = (tensor[:-1] for tensor in batch())
    embeddings = embeddings.double()
    unit = torch.nn.functional.normalize
    theta = torch.acos((unit(embeddings) @ unit(header.weight).T).clamp(-1, 1))
    own = torch.arange(len(labels)), labels
    phi = header.m1 * theta[own] + header.m2
    k = torch.floor(phi / math.pi)
    expected = header.s * torch.cos(theta)
    expected[own] = header.s * ((-1) ** k * torch.cos(phi) - 2 * k - header.m3)
    torch.testing.assert_close(header(embeddings, labels), expected)


@every_preset
def test_shapes_and_loss(preset: str) -> None:
    header = build(preset)
    embeddings, labels = batch()
    assert header(embeddings, labels).shape == header.logits(embeddings).shape == (N, C)
    assert header.directions.shape == (C, D)
    torch.testing.assert_close(header.directions.norm(dim=1), torch.ones(C))
    assert header.loss(embeddings, labels).isfinite()
    assert repr(header).startswith(type(header).__name__ + "(embedding_dim=5, num_classes=7")


@every_preset
def test_margin_lowers_the_targets_logit(preset: str) -> None:
    header = build(preset).eval()
    embeddings, labels = batch()
    kept = labels >= 0
    change = (header(embeddings, labels) - header.logits(embeddings))[kept]
    own = change.gather(1, labels[kept, None])
    assert (own <= 1e-4).all()


@every_preset
def test_an_unlabelled_sample_has_no_part_in_the_loss(preset: str) -> None:
    header = build(preset).eval()
    embeddings, labels = batch()
    embeddings.requires_grad_()
    loss = header.loss(embeddings, labels)
    loss.backward()
    torch.testing.assert_close(loss, header.loss(embeddings[:-1], labels[:-1]))
    assert embeddings.grad is not None and (embeddings.grad[-1] == 0).all()


@every_preset
def test_class_order_does_not_matter(preset: str) -> None:
    header = build(preset).eval()
    embeddings, labels = batch()
    order = torch.randperm(C, generator=torch.Generator().manual_seed(2))
    shuffled = copy.deepcopy(header)
    rows = header.weight.detach().view(C, -1, D)  # a head may have several directions a class
    shuffled.load_state_dict({**header.state_dict(), "weight": rows[order].reshape(-1, D)})
    position = torch.argsort(order)
    moved = torch.where(labels >= 0, position[labels], -1)
    expected = header(embeddings, labels)[:-1, order]  # the last sample has no label
    torch.testing.assert_close(shuffled(embeddings, moved)[:-1], expected, atol=1e-4, rtol=1e-5)


@every_preset
def test_turning_the_space_changes_nothing(preset: str) -> None:
    header = build(preset).eval()
    embeddings, labels = batch()
    torch.manual_seed(3)
    turn = torch.linalg.qr(torch.randn(D, D))[0]
    turned = copy.deepcopy(header)
    turned.load_state_dict({**header.state_dict(), "weight": header.weight.detach() @ turn})
    expected = header(embeddings, labels)
    torch.testing.assert_close(turned(embeddings @ turn, labels), expected, atol=1e-3, rtol=1e-4)


@every_preset
@pytest.mark.parametrize("gradient", ["detached", "autograd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_finite_where_angles_are_not_smooth(
    preset: str, gradient: str, dtype: torch.dtype
) -> None:
    header = build(preset, gradient=gradient)
    w = header.weight.detach()[:3]
    points = torch.cat([w, -w, 5 * w, 1e-4 * w, torch.zeros(3, D)]).to(dtype).requires_grad_()
    labels = torch.arange(3).repeat(5)
    with torch.autocast("cpu", dtype=dtype if dtype != torch.float32 else torch.bfloat16,
                        enabled=dtype != torch.float32):  # fmt: skip
        loss = header.loss(points, labels)
    loss.backward()
    assert loss.isfinite()
    assert points.grad is not None and points.grad.isfinite().all()
    for parameter in header.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@every_preset
def test_autocast_does_not_reach_the_head(preset: str) -> None:
    header = build(preset).eval()
    embeddings, labels = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = header(embeddings, labels), header.logits(embeddings)
    assert torch.equal(inside[0], header(embeddings, labels))
    assert torch.equal(inside[1], header.logits(embeddings))
    assert header(embeddings.bfloat16(), labels).dtype == torch.float32


# SFace holds its weights constant: its loss is not what its gradient descends, see below.
@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "sface"])
@pytest.mark.parametrize("classes", [3, 10])
def test_collapse_is_no_minimum(preset: str, classes: int) -> None:
    """All class directions in one place and all embeddings in one: worse than the polygon."""
    header = build(preset, 2, classes, init="even").eval()
    labels = torch.arange(classes)
    polygon = header.loss(5 * header.directions, labels).item()
    collapsed = copy.deepcopy(header)
    with torch.no_grad():
        collapsed.weight.copy_(header.weight[:1].expand_as(header.weight))
    one_place = 5 * header.directions[:1].expand(classes, 2)
    for side in (1, -1):
        assert collapsed.loss(side * one_place, labels).item() > polygon + 0.5


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("preset", ["sface", "arcface"])
def test_descent_leaves_a_collapse(preset: str, side: int) -> None:
    """Free embeddings and directions, from one place each, end apart: every sample in its class."""
    header = build(preset, 9, 10)
    labels, place = torch.arange(10).repeat(4), torch.eye(9)[0]
    with torch.no_grad():
        header.weight.copy_(place + 0.01 * torch.randn(10, 9))
    embeddings = side * place + 0.01 * torch.randn(40, 9)
    embeddings.requires_grad_()
    optimizer = torch.optim.SGD([embeddings, header.weight], lr=0.01, momentum=0.9)
    for _ in range(400):
        optimizer.zero_grad()
        header.loss(embeddings, labels).backward()
        optimizer.step()
    assert (header.logits(embeddings).argmax(dim=1) == labels).all()


@every_preset
def test_state_dict_round_trip(preset: str) -> None:
    trained, fresh = build(preset, seed=0), build(preset, seed=9)
    embeddings, labels = batch()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        trained.loss(embeddings, labels).backward()
        optimizer.step()
    fresh.load_state_dict(trained.state_dict())
    for head in (trained, fresh):
        head.eval()
    assert torch.equal(fresh(embeddings, labels), trained(embeddings, labels))
    assert torch.equal(fresh.logits(embeddings), trained.logits(embeddings))
    assert torch.equal(fresh.directions, trained.directions)


@every_preset
def test_evaluation_changes_no_state(preset: str) -> None:
    header = build(preset).eval()
    before = copy.deepcopy(header.state_dict())
    header.loss(*batch())
    for name, value in header.state_dict().items():
        assert torch.equal(value, before[name]), name


@every_preset
def test_compiles_as_one_graph_and_not_again_while_the_margin_ramps(
    preset: str, unchecked_shapes: None
) -> None:
    torch.compiler.reset()
    header = build(preset, ramp=0.5)
    embeddings, labels = batch()
    compiled = torch.compile(header.eval(), backend="aot_eager", fullgraph=True)
    compiled(embeddings, labels)
    with torch.compiler.set_stance("fail_on_recompile"):
        for fraction in (0.0, 0.1, 0.3, 1.0):
            header.set_progress(fraction)
            expected = header(embeddings, labels)
            torch.testing.assert_close(compiled(embeddings, labels), expected)


@every_preset
def test_gradients_sample_by_sample_with_torch_func(preset: str) -> None:
    header = build(preset).eval()
    embeddings, labels = batch()
    embeddings, labels = embeddings[:4], labels[:4]
    parameters, buffers = dict(header.named_parameters()), dict(header.named_buffers())

    def target_logit(parameters: dict, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = functional_call(header, (parameters, buffers), (x[None], y[None]))
        return logits.gather(1, y[None, None]).sum()

    together = vmap(grad(target_logit), in_dims=(None, 0, 0))(parameters, embeddings, labels)
    for i in range(4):
        alone = grad(target_logit)(parameters, embeddings[i], labels[i])
        torch.testing.assert_close(together["weight"][i], alone["weight"], atol=1e-4, rtol=1e-4)


@every_preset
def test_even_start(preset: str) -> None:
    header = build(preset, 2, 10, init="even")
    cosines = (header.directions @ header.directions.T).fill_diagonal_(-1)
    nearest_deg = torch.rad2deg(cosines.amax(dim=1).acos())
    # Sub-centers surround the even directions; every other head starts on them.
    assert (
        (nearest_deg > 20).all()
        if hasattr(header, "k")
        else ((nearest_deg - 36).abs() < 0.01).all()
    )


@every_preset
def test_says_what_is_wrong(preset: str, unchecked_shapes: None) -> None:
    header = build(preset)
    embeddings, labels = batch()
    wrong = [
        (embeddings[:, :-1], labels, r"embeddings must have shape \(N, 5\), got \(32, 4\)"),
        (embeddings[0], labels, r"embeddings must have shape \(N, 5\), got \(5,\)"),
        (embeddings.long(), labels, "embeddings must be floating point, got torch.int64"),
        (embeddings, labels[:-1], r"labels must have shape \(32,\), one a sample, got \(31,\)"),
        (embeddings, labels.float(), "labels must be int64, got torch.float32"),
        (embeddings, labels.where(labels != 3, 7), "label 7 is out of range for 7 classes"),
        (embeddings, labels.where(labels != 3, -2), "label -2 is out of range for 7 classes"),
    ]
    for bad_embeddings, bad_labels, sentence in wrong:
        with pytest.raises(UserError, match=sentence):
            header.loss(bad_embeddings, bad_labels)
    with pytest.raises(UserError, match=r"embeddings must have shape \(N, 5\)"):
        header.logits(embeddings[:, :-1])


@every_preset
@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ((0, C), "embedding_dim must be at least 1, got 0"),
        ((D, -1), "num_classes must be at least"),
    ],
)
def test_needs_at_least_one_of_each(preset: str, sizes: tuple[int, int], sentence: str) -> None:
    with pytest.raises(Exception, match=sentence) as error:  # Hydra wraps it
        build(preset, *sizes)
    assert isinstance(error.value.__cause__, UserError)


@every_preset
def test_no_nonsense_in_the_constants(preset: str) -> None:
    block = OmegaConf.to_container(composed(preset).header, resolve=False)
    assert isinstance(block, dict)
    bad = {"m1": [0.5, math.nan], "m2": [-0.1, math.inf], "m3": [-0.1, math.nan], "s": [0.0, math.inf],
           "ramp": [-0.1, 1.5], "init": ["uneven"], "gradient": ["none"]}  # fmt: skip
    for key, values in bad.items():
        for value in values if key in block else []:
            with pytest.raises(Exception, match=key) as error:
                build(preset, **{key: value})
            assert isinstance(error.value.__cause__, UserError), key
