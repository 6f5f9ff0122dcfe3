import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from synthetic_records import make_result

from arcmargin.errors import UserError
from arcmargin.metrics import geometry
from arcmargin.record import Embeddings, Result
from arcmargin.report import drawing, figures
from arcmargin.report.grid import Cell, grid
from arcmargin.report.style import COLOURS, class_colours

FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
FASHION += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def embeddings(dim: int = 2, classes: int = 10, size: int = 400, seed: int = 0) -> Embeddings:
    """Classes around evenly spaced (2-D) or random directions."""
    rng = np.random.default_rng(seed)
    if dim == 2:
        angle = 2 * np.pi * np.arange(classes) / classes + 0.1
        centres = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    else:
        centres = rng.normal(size=(classes, dim))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = rng.integers(0, classes, size)
    points = centres[labels] + 0.05 * rng.normal(size=(size, dim))
    return Embeddings(points.astype(np.float32), labels, centres.astype(np.float32))


def finished_run(
    folder: Path | None = None, data: Embeddings | None = None, **changes: Any
) -> Result:
    data = data or embeddings()
    metrics: dict[str, float | None] = {"accuracy": 0.9871, "gap_predicted_deg": 18.0}
    if data.embeddings.any():
        metrics |= geometry.measure(data.embeddings, data.labels)
    given: dict[str, Any] = {
        "dataset": "mnist",
        "embedding_dim": data.embeddings.shape[1],
        "m2": 0.314,
        "class_names": [str(c) for c in range(len(data.centres))],
        "metrics": metrics,
    }
    result = make_result(**given | changes)
    if folder is not None:
        data.save(folder)
        result.write(folder)
    return result


def written(figure: Figure) -> list[Text]:
    """All text but the tick labels."""
    found = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    found += [text for legend in figure.legends for text in legend.get_texts()]
    return [text for text in found if text.get_text().strip()]


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in written(figure))


def assert_nothing_sticks_out(figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox
    for text in written(figure):
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 > -1 and box.x1 < page.x1 + 1, text.get_text()
        assert box.y0 > -1 and box.y1 < page.y1 + 1, text.get_text()


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (embeddings(2), None),
        (embeddings(2), FASHION),
        (embeddings(2, classes=40, size=2000), None),
        (embeddings(3), None),
        (embeddings(16), FASHION),
        (embeddings(1, classes=2), None),
    ],
    ids=["circle", "long names", "40 classes", "sphere", "16-D", "1-D"],
)
def test_a_panel_states_its_result_and_fits(data: Embeddings, names: list[str] | None) -> None:
    record = finished_run(data=data, **({"class_names": names} if names else {}))
    figure = figures.panel(record, data)
    said = texts(figure)
    assert "arcface m2=0.314" in said
    assert "accuracy 98.71 %" in said
    assert ("predicted 18.0°" in said) == (data.embeddings.shape[1] == 2)
    assert ("PCA of 16-D" in said) == (data.embeddings.shape[1] == 16)
    assert_nothing_sticks_out(figure)


def turn(corners: np.ndarray) -> float:
    """Degrees between the ends of points along a circle."""
    return float(np.ptp(np.degrees(np.unwrap(np.arctan2(corners[:, 1], corners[:, 0])))))


def test_the_circle_draws_the_measured_gaps() -> None:
    data = embeddings()
    ax = Figure().add_subplot()
    drawing.circle(ax, data, [str(c) for c in range(10)], predicted=18.0, inches=5.0)
    sectors = [
        path.vertices
        for shapes in ax.collections
        if isinstance(shapes, PolyCollection)
        for path in shapes.get_paths()
        if not path.vertices[0].any()  # sectors start at the centre; ridges do not
    ]
    around = geometry.arcs(data.embeddings, data.labels)
    spans = sorted(round(turn(corners[1:-1]), 6) for corners in sectors)
    expected = sorted(np.round([*around.gap, *(around.high - around.low)], 6))
    np.testing.assert_allclose(spans, expected, atol=1e-5)
    numbers = {text.get_text() for text in ax.texts}
    assert {f"{gap:.0f}°" for gap in around.gap} <= numbers


def test_the_bracket_is_as_wide_as_the_predicted_gap() -> None:
    data = embeddings(classes=4)
    ax = Figure().add_subplot()
    drawing.circle(ax, data, list("0123"), predicted=18.0, inches=2.0)
    segments = [
        s for c in ax.collections if isinstance(c, LineCollection) for s in c.get_segments()
    ]
    brackets = [segment for segment in segments if len(segment) == 52]
    assert len(brackets) == 4
    for corners in brackets:
        assert turn(corners) == pytest.approx(18.0)


def test_overlap_is_hatched_and_explained() -> None:
    rng = np.random.default_rng(0)
    angle = np.radians(rng.normal(0, 10, 400) + np.repeat([0, 10], 200))
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    data = Embeddings(points, np.repeat([0, 1], 200), points[::200])
    figure = figures.panel(finished_run(data=data), data)
    (ax,) = figure.axes
    (hatched,) = [patch for patch in ax.patches if patch.get_hatch()]
    wedge = hatched.get_path().vertices
    assert turn(wedge[np.linalg.norm(wedge, axis=1) > 0.5]) == pytest.approx(
        -geometry.arcs(data.embeddings, data.labels).gap.min()
    )
    assert "overlap of the arcs" in texts(figure)


@pytest.mark.parametrize("middle", [0.0, 3.0, 180.0, 359.0])
def test_density_peaks_where_the_samples_are(middle: float) -> None:
    rng = np.random.default_rng(0)
    off = rng.normal(0, 4, 20000)
    angle = np.radians(np.r_[middle + off, middle + 100])
    data = Embeddings(
        np.stack([np.cos(angle), np.sin(angle)], axis=1), np.r_[np.zeros(20000, int), 1], np.eye(2)
    )
    height = drawing.density_at(data, geometry.arcs(data.embeddings, data.labels))
    assert height.max() == pytest.approx(1.0, abs=1e-3)
    normal = np.exp(-0.5 * (off / 4) ** 2)
    assert np.abs(height[:-1] ** 2 - normal).max() < 0.08


def test_both_views_together_show_every_point_of_the_sphere_once() -> None:
    def seen(point: np.ndarray, behind: bool) -> list[float]:
        """Right, up and towards the reader of a single dot; what is near is larger."""
        ax, data = Figure().add_subplot(), Embeddings(point[None], np.zeros(1, int), point[None])
        drawing.sphere(ax, data, ["a"], 3.0, behind=behind)
        (dot,) = (one for one in ax.collections if len(one.get_offsets()) == 1)
        nearness = (dot.get_sizes()[0] / (3.0 * 1.6) - 0.35) / 0.65
        return [*dot.get_offsets()[0], 2 * nearness - 1]

    front, behind = (np.array([seen(axis, side) for axis in np.eye(3)]).T for side in (False, True))
    for turn in (front, behind):
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)  # no mirror image
        assert turn[1, 2] > 0  # north is up
    np.testing.assert_allclose(front[2], -behind[2], atol=1e-12)


def test_projection_is_the_principal_plane() -> None:
    data = embeddings(16, size=300)
    share = drawing.projection(Figure().add_subplot(), data, list("0123456789"), 3.0)
    unit = data.embeddings / np.linalg.norm(data.embeddings, axis=1, keepdims=True)
    variances = np.linalg.eigvalsh(np.cov(unit.T))
    assert share == pytest.approx(variances[-2:].sum() / variances.sum(), rel=1e-4)


def test_angle_histograms_return_the_decision_margin() -> None:
    data = embeddings(3)
    median, low = drawing.angle_histograms(Figure().add_subplot(), data)
    differences = []
    for x, y in zip(data.embeddings, data.labels, strict=True):
        cosines = data.centres @ x / np.linalg.norm(x) / np.linalg.norm(data.centres, axis=1)
        theta = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
        differences.append(min(np.delete(theta, y)) - theta[y])
    assert median == pytest.approx(np.median(differences), abs=1e-3)
    assert low == pytest.approx(np.percentile(differences, 5), abs=1e-3)


def in_lab(colours: list[str], matrix: np.ndarray) -> np.ndarray:
    """CIELAB of what is seen; `matrix` acts on linear RGB (Machado et al. 2009, severity 1)."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ matrix.T).clip(0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = seen @ np.array(to_xyz).T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


SIGHT = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.3673, 0.8606, -0.228], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
    "tritanopia": np.array(
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]
    ),
}


@pytest.mark.parametrize("sight", SIGHT)
def test_ten_colours_are_apart_for_colour_blind_readers(sight: str) -> None:
    lab = in_lab(list(COLOURS), SIGHT[sight])
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2))
    assert nearest > 15  # Okabe and Ito's eight colours: 16


def test_colours_do_not_depend_on_how_many_there_are() -> None:
    assert class_colours(30)[:4] == class_colours(4)
    assert len(set(class_colours(30))) == 30
    assert len(class_colours(100)) == 100


def test_grid_wraps_and_states_mean_and_spread_over_seeds(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / str(i), seed=i) for i in range(3)]
    for run, accuracy in zip(runs, (0.98, 0.99, 0.97), strict=True):
        run.metrics["accuracy"] = accuracy
    figure = grid([[Cell(runs)] * 5], [""], list("abcde"), title="mnist")
    assert len(figure.axes) == 5  # three, then two and the legend
    assert len({round(ax.get_position().y0, 6) for ax in figure.axes}) == 2
    assert texts(figure).count("accuracy 98.00 ± 1.00 %") == 5
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    assert_nothing_sticks_out(figure)


@pytest.mark.parametrize("angles", [False, True])
def test_the_title_of_a_narrow_grid_is_wrapped(tmp_path: Path, angles: bool) -> None:
    cells = [[Cell([finished_run(tmp_path)])]] * 6
    title = (
        "digits · 2-D · s = 30 · epochs = 6 · test split · mean ± sd over seeds, picture: the first"
    )
    figure = grid(cells, list("abcdef"), ["m2 = 0.1"], title=title, angles=angles)
    assert " ".join(texts(figure).split()).startswith(title)
    assert_nothing_sticks_out(figure)


@pytest.mark.parametrize("angles", [False, True])
def test_long_titles_of_rows_and_columns_do_not_overlap(tmp_path: Path, angles: bool) -> None:
    cells = [[Cell([finished_run(tmp_path)])] * 3] * 4
    names = [
        "2-D, augment._target_ = arcmargin.data.augment.RandomShift" + "n" * i for i in range(4)
    ]
    figure = grid(cells, names, [f"column {name}" for name in names[:3]], angles=angles)
    assert_nothing_sticks_out(figure)
    drawn = FigureCanvasAgg(figure).get_renderer()
    titles = [text for text in written(figure) if "2-D, augment" in text.get_text()]
    boxes = [text.get_window_extent(drawn) for text in titles]
    assert len(boxes) == 7
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_empty_cells_say_why(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "ok")
    failed = make_result(status="failed", error="Traceback\nRuntimeError: the loss became NaN")
    gone = finished_run(tmp_path / "gone")
    (tmp_path / "gone" / "embeddings.npz").unlink()
    nothing = Embeddings(np.zeros((5, 2)), np.zeros(5, int), np.eye(2))
    blank = finished_run(tmp_path / "blank", data=nothing, metrics={})
    cells = [[Cell([run, failed]), Cell([failed])], [Cell([]), Cell([gone])], [Cell([blank])] * 2]
    for angles in (False, True):
        figure = grid(cells, ["r", "s", "t"], ["m2 = 0.2", "m2 = 0.5"], angles=angles)
        said = texts(figure).replace("\n", " ")
        for words in (
            "1 of 2 runs failed",
            "failed: RuntimeError: the loss became NaN",
            "not run",
            "no picture",
            "no embedding has a direction",
        ):
            assert words in said, (words, said)
        assert_nothing_sticks_out(figure)


def test_histograms_share_their_limits(tmp_path: Path) -> None:
    narrow = finished_run(tmp_path / "a", data=embeddings(2, classes=20))
    wide = finished_run(tmp_path / "b", data=embeddings(2, classes=3))
    figure = grid([[Cell([narrow]), Cell([wide])]], [""], ["a", "b"], angles=True)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1


def test_long_class_names_move_to_the_legend_of_small_pictures(tmp_path: Path) -> None:
    run = finished_run(tmp_path, class_names=FASHION)
    figure = grid([[Cell([run])] * 5], [""], list("abcde"))
    assert texts(figure).count("Ankle boot") == 1
    assert_nothing_sticks_out(figure)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_save_by_suffix(tmp_path: Path, suffix: str) -> None:
    data = embeddings(3)
    path = figures.save(figures.panel(finished_run(data=data), data), tmp_path / f"a.{suffix}")
    start = path.read_bytes()[:200]
    assert {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<svg"}[suffix] in start or suffix == "svg"
    if suffix == "png":
        with Image.open(path) as picture:
            assert picture.width > 900


def test_pages_are_one_pdf(tmp_path: Path) -> None:
    pages = [Figure(figsize=(1, 1)) for _ in range(3)]
    pdf = figures.save_pdf(pages, tmp_path / "grid.pdf")
    assert len(re.findall(rb"/Type /Page\b", pdf.read_bytes())) == 3


def test_save_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        figures.save(Figure(), tmp_path / "file" / "a.png")


def test_drawing_leaves_pyplot_and_torch_alone() -> None:
    code = (
        "import sys, arcmargin.report.write;"
        "heavy = ('matplotlib.pyplot', 'matplotlib.backends.backend_pdf', 'torch', 'hydra', 'wandb');"
        "print([name for name in heavy if name in sys.modules])"
    )
    root = Path(figures.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
