"""The pages, first as files, then driven in headless Chromium as a reader would."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ortho_group
from synthetic_records import make_result

from arcmargin.errors import UserError
from arcmargin.metrics import geometry
from arcmargin.record import Embeddings, Snapshots, Unseen
from arcmargin.report import interactive
from arcmargin.report.panels import Run
from arcmargin.report.projection import plane
from arcmargin.report.templates import self_contained

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "b" <b>__DATA__</b>'


def make_run(
    dim: int,
    n: int = 600,
    *,
    classes: int = 5,
    seed: int = 0,
    moments: int = 4,
    sample: int | None = None,
    side: int = 0,
    class_names: list[str] | None = None,
    **given: Any,
) -> Run:
    """Noise around even directions, which the noise shrinks towards from epoch to epoch."""
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * np.arange(classes) / classes
    height = np.linspace(-0.9, 0.9, classes) if dim > 2 else np.zeros(classes)
    centres = np.zeros((classes, dim))
    centres[:, 0] = np.sqrt(1 - height**2) * np.cos(turn)
    centres[:, 1] = np.sqrt(1 - height**2) * np.sin(turn)
    if dim > 2:
        centres[:, 2] = height
    labels = rng.integers(0, classes, n)
    noise = rng.normal(size=(n, dim))
    rows = np.sort(rng.permutation(n)[: sample or n])
    spread = np.linspace(0.8, 0.1, moments)[:, None, None]
    moving = 3 * (centres[labels[rows]] + spread * noise[rows])
    measured = [geometry.measure(moment, labels[rows]) for moment in moving]
    thumbnails = rng.integers(0, 256, (len(rows), side, side)) if side else None
    result = make_result(
        embedding_dim=dim,
        epochs=2 * moments - 2,
        num_classes=classes,
        class_names=class_names or [f"c{i}" for i in range(classes)],
        metrics={"accuracy": 0.987, "gap_mean_deg": 21.0, "gap_predicted_deg": 17.2},
        **{"m2": 0.3} | given,
    )
    return Run(
        result,
        Embeddings(
            (3 * (centres[labels] + 0.1 * noise)).astype(np.float32),
            labels,
            centres.astype(np.float32),
        ),
        Snapshots(
            2 * np.arange(moments),
            moving.astype(np.float32),
            labels[rows],
            np.repeat(centres[None], moments, 0).astype(np.float32),
            rows,
            np.array(list(measured[0])),
            np.array([list(one.values()) for one in measured], float),
            None if thumbnails is None else thumbnails.astype(np.uint8),
        ),
    )


def with_mistakes(run: Run, seed: int = 0) -> Run:
    """A tenth is taken for the class after its own; and two classes that training has not seen."""
    rng = np.random.default_rng(seed)
    data = run.embeddings
    n, (classes, dim) = len(data.labels), data.centres.shape
    predicted = np.where(rng.random(n) < 0.1, (data.labels + 1) % classes, data.labels)
    unseen = Unseen(
        rng.normal(size=(40, dim)).astype(np.float32),
        rng.integers(0, 2, 40),
        np.array(["stranger", "other"]),
    )
    return run._replace(embeddings=data._replace(predicted=predicted), unseen=unseen)


def page_of(run: Run) -> str:
    return interactive.embedding_page(run.result, run.embeddings, run.snapshots, unseen=run.unseen)


def data_in(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def panels(page: str) -> list[dict[str, Any]]:
    return [run["panel"] for run in data_in(page)["runs"] if "panel" in run]


def vectors(packed: str, dim: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), "<i2").reshape(-1, dim) / 32767


def integers(packed: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed[1:]), {"s": "<i2", "l": "<i4"}[packed[0]])


def unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# ---- as files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 3])
def test_ten_thousand_points_with_a_long_replay_stay_under_8_mb(dim: int) -> None:
    run = make_run(dim, 10_000, classes=10, moments=15, sample=2000, side=28)
    assert len(page_of(run).encode()) < 8e6


def test_a_comparison_stays_under_8_mb() -> None:
    runs = [make_run(3, 10_000, moments=25, sample=2000, seed=seed) for seed in range(5)]
    files = interactive.comparison(runs)
    assert sum(len(text.encode()) for text in files.values()) < 8e6
    assert len(panels(files["compare.html"])) == 5


def test_packed_directions_are_those_of_the_embeddings() -> None:
    run = make_run(3)
    panel = data_in(page_of(run))["runs"][0]["panel"]
    whole = vectors(panel["final"]["moments"][0]["points"], 3)
    wrong = np.linalg.norm(whole - unit(run.embeddings.embeddings), axis=1)
    assert np.degrees(wrong.max()) < 0.003
    replay = np.stack([vectors(moment["points"], 3) for moment in panel["replay"]["moments"]])
    assert np.abs(replay - unit(run.snapshots.embeddings)).max() < 3e-5


def test_names_cannot_break_out_of_the_page() -> None:
    page = page_of(make_run(2, header=EVIL, class_names=[EVIL, "b", "", "d", "e"]))

    class Scripts(HTMLParser):
        count = 0

        def handle_starttag(self, tag: str, attrs: list) -> None:
            self.count += tag == "script"
            assert tag != "img"

    parser = Scripts()
    parser.feed(page)
    assert parser.count == 3  # data, plotly, ours
    assert data_in(page)["title"].removesuffix(" m2=0.3") == data_in(page)["classes"][0] == EVIL


def test_embeddings_without_a_direction_do_not_hurt() -> None:
    run = make_run(2)
    run.embeddings.embeddings[:3] = 0
    run.embeddings.embeddings[3] = np.nan
    run.snapshots.embeddings[0] = 0
    run.snapshots.metrics[0] = np.nan
    page = data_in(page_of(run))
    points = vectors(page["runs"][0]["panel"]["final"]["moments"][0]["points"], 2)
    assert not points[:4].any() and points[4:].any(axis=1).all()
    assert page["runs"][0]["panel"]["track"]["epochs"] == [2, 4, 6]  # nothing to measure before


def test_samples_have_their_thumbnails() -> None:
    run = make_run(3, 900, sample=300, side=4)
    images = integers(data_in(page_of(run))["runs"][0]["panel"]["final"]["images"])
    assert (images >= 0).sum() == 300
    for row, image in enumerate(images):
        assert image == (
            -1 if row not in run.snapshots.rows else list(run.snapshots.rows).index(row)
        )


@pytest.mark.parametrize("dim", [2, 3])
def test_each_moment_is_measured_on_all_of_its_embeddings(dim: int) -> None:
    run = make_run(dim, 21_000, sample=500)
    panel = data_in(page_of(run))["runs"][0]["panel"]
    assert len(integers(panel["final"]["labels"])) == interactive.MOST_POINTS
    taken = run.snapshots.labels
    cases = [(panel["final"]["moments"][0], run.embeddings.embeddings, run.embeddings.labels)]
    replayed = zip(panel["replay"]["moments"], run.snapshots.embeddings, strict=True)
    cases += [(moment, embeddings, taken) for moment, embeddings in replayed]
    for moment, embeddings, labels in cases:
        means = np.array([unit(unit(embeddings[labels == c]).mean(axis=0)) for c in range(5)])
        np.testing.assert_allclose(vectors(moment["means"], dim), means, atol=5e-5)
        if dim == 3:
            for c, radius in enumerate(moment["radius"]):
                off = np.degrees(np.arccos(unit(embeddings[labels == c]) @ means[c]))
                assert radius == pytest.approx(np.percentile(off, 90), abs=0.01)
            continue
        around = geometry.arcs(embeddings, labels)
        for name in ("centre", "low", "high", "gap"):
            wanted = getattr(around, name)[np.argsort(around.classes)]
            np.testing.assert_allclose(moment[name], wanted, atol=0.006)
        assert max(base64.b64decode(moment["heights"])) > 240


def test_contexts_are_bounded_and_the_rest_can_be_asked_for() -> None:
    runs = [make_run(3, 50, seed=i)._replace(picture=f"{i}.png") for i in range(16)]
    runs.insert(0, make_run(8, 50)._replace(picture="eight.png", page="eight.html"))  # takes two
    files = interactive.comparison(runs, plotly="plotly.min.js")
    about = data_in(files["compare.html"])["runs"]
    assert len(panels(files["compare.html"])) == 13
    assert [run["picture"] for run in about if "panel" not in run] == [
        f"{i}.png" for i in range(12, 16)
    ]
    assert {run["file"] for run in about if "file" in run} == files.keys() - {"compare.html"}
    assert files["compare.html"].count("plotly.min.js") == 1
    assert len(files["compare.html"]) < 1e6 < len(self_contained(files["compare.html"]))
    flat = interactive.comparison([make_run(2, 50, seed=i) for i in range(9)], shown=[8, *range(8)])
    about = data_in(flat["compare.html"])["runs"]
    assert [i for i, run in enumerate(about) if "file" in run] == [6, 7]


def test_bad_input_is_named() -> None:
    good = make_run(3)
    with pytest.raises(UserError, match="expected embeddings"):
        page_of(good._replace(embeddings=good.embeddings._replace(centres=np.eye(5))))
    with pytest.raises(UserError, match=r"labels must be in 0\.\.4, got 0\.\.9"):
        labels = np.where(good.embeddings.labels == 4, 9, good.embeddings.labels)
        page_of(good._replace(embeddings=good.embeddings._replace(labels=labels)))
    with pytest.raises(UserError, match="same classes"):
        interactive.comparison([good, make_run(3, classes=4)])
    with pytest.raises(UserError, match="at least one run"):
        interactive.comparison([])
    with pytest.raises(UserError, match="cannot write"):
        interactive.write_page(Path("/dev/null/x.html"), "")


def test_of_many_dimensions_the_page_has_places_and_true_angles() -> None:
    run = with_mistakes(make_run(16, 300, sample=100, side=4))
    panel = data_in(page_of(run))["runs"][0]["panel"]
    x, labels = unit(run.embeddings.embeddings), run.embeddings.labels
    axes = plane(run.embeddings).axes
    moment = panel["final"]["moments"][0]
    np.testing.assert_allclose(vectors(moment["points"], 2), x @ axes, atol=3e-5)
    strangers = vectors(panel["unseen"]["points"], 2)
    np.testing.assert_allclose(strangers, unit(run.unseen.embeddings) @ axes, atol=3e-5)
    to_centre, to_own, to_rival = (
        np.frombuffer(base64.b64decode(told), "<u2") / 100 for told in moment["told"]
    )
    rivals = integers(moment["rival"])
    means = np.array([unit(x[labels == c].mean(axis=0)) for c in range(5)])
    for row in range(0, 300, 17):
        angles = np.degrees(np.arccos(unit(run.embeddings.centres) @ x[row]))
        others = np.delete(np.arange(5), labels[row])
        assert to_centre[row] == pytest.approx(
            np.degrees(np.arccos(means[labels[row]] @ x[row])), abs=0.006
        )
        assert to_own[row] == pytest.approx(angles[labels[row]], abs=0.006)
        assert rivals[row] == others[angles[others].argmin()]
        assert to_rival[row] == pytest.approx(angles[others].min(), abs=0.006)
    replayed = vectors(panel["replay"]["moments"][1]["points"], 2)
    np.testing.assert_allclose(replayed, unit(run.snapshots.embeddings[1]) @ axes, atol=3e-5)


def test_maps_side_by_side_show_one_plane() -> None:
    """The same embeddings turned: the same picture."""
    run = make_run(16, 200)
    turned = ortho_group.rvs(16, random_state=0)
    other = run.embeddings._replace(
        embeddings=(run.embeddings.embeddings @ turned).astype(np.float32),
        centres=(run.embeddings.centres @ turned).astype(np.float32),
    )
    files = interactive.comparison([run, run._replace(embeddings=other, snapshots=None)])
    first, second = (
        vectors(panel["final"]["moments"][0]["points"], 2)
        for panel in panels(files["compare.html"])
    )
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_a_map_by_tsne_has_no_replay() -> None:
    runs = [make_run(16, 90, seed=seed) for seed in range(2)]
    page = interactive.comparison(runs, projection="tsne")["compare.html"]
    for panel in panels(page):
        assert "replay" not in panel and panel["projection"] == "16-D, t-SNE"
        assert np.abs(vectors(panel["final"]["moments"][0]["points"], 2)).max() > 0.5


# ---- in a browser --------------------------------------------------------------------------------

READY = "() => document.body.dataset.ready"


class Reader:
    """A page opened from a file, with everything that should not have happened on it."""

    def __init__(self, browser: Any, folder: Path, content: str, width: int = 1280) -> None:
        path = interactive.write_page(folder / "page.html", content)
        self.path = path
        self.errors: list[str] = []
        self.tab = browser.new_page(viewport={"width": width, "height": 800})
        self.tab.on("console", self._console)
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.errors.append("dialog"), dialog.dismiss()))
        self.tab.on("request", self._request)
        self.tab.goto(path.as_uri())
        self.tab.wait_for_function(READY)

    def _console(self, message: Any) -> None:
        if message.type == "error" or "WebGL contexts" in message.text:
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.errors.append(f"network: {request.url}")

    def ask(self, script: str) -> Any:
        return self.tab.evaluate(script)

    def trace(self, index: int, panel: int = 0) -> np.ndarray:
        """(n, dim) of what a plot shows now."""
        plot = f"document.querySelectorAll('.plot')[{panel}]"
        axes = self.ask(
            f"['x', 'y', 'z'].map(a => {plot}.data[{index}][a]).filter(v => v).map(v => [...v])"
        )
        return np.array(axes, float).T

    def camera(self, panel: int = 0) -> dict[str, float]:
        return self.ask(f"document.querySelectorAll('.plot')[{panel}].layout.scene.camera.eye")

    def spot(self, place: str) -> tuple[float, float]:
        """Where on the screen the first plot draws a place, an expression for its [x, y]."""
        return self.ask(
            f"""() => {{
                const plot = document.querySelector(".plot"), {{ xaxis, yaxis }} = plot.layout;
                const frame = plot.querySelector(".nsewdrag").getBoundingClientRect();
                const share = (value, [low, high]) => (value - low) / (high - low), [x, y] = {place};
                return [frame.left + share(x, xaxis.range) * frame.width,
                        frame.bottom - share(y, yaxis.range) * frame.height];
            }}"""
        )

    def picture(self) -> bytes:
        return self.tab.screenshot()

    def drag(self, panel: int = 0) -> None:
        box = self.tab.locator(".plot").nth(panel).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.tab.mouse.move(x, y)
        self.tab.mouse.down()
        self.tab.mouse.move(x + 90, y - 40, steps=3)
        self.tab.mouse.up()

    def slide_to(self, stop: int) -> None:
        self.tab.locator("#slider").fill(str(stop))
        self.tab.wait_for_function(f"() => position === {stop}")
        self.ask("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def close(self) -> None:
        self.tab.close()
        assert self.errors == []


def test_the_sphere_turns_toggles_replays_and_tells(browser: Any, tmp_path: Path) -> None:
    run = make_run(3, side=8)
    reader = Reader(browser, tmp_path, page_of(run))
    before, eye = reader.picture(), reader.camera()
    reader.drag()
    reader.tab.wait_for_timeout(300)
    turned = reader.picture()
    assert reader.camera() != eye
    assert turned != before

    reader.tab.locator("#reset").click()
    reader.tab.wait_for_timeout(300)
    assert reader.camera() == eye

    chip = reader.tab.locator(".class").nth(1)
    chip.click()
    reader.tab.wait_for_timeout(300)
    assert chip.get_attribute("aria-pressed") == "false"
    assert [len(reader.trace(label)) > 0 for label in range(3)] == [True, False, True]
    assert reader.picture() != before
    chip.dblclick()
    assert [c.get_attribute("aria-pressed") for c in reader.tab.locator(".class").all()] == [
        "true" if i == 1 else "false" for i in range(5)
    ]
    reader.tab.locator("#all").click()

    last = reader.trace(0)
    reader.slide_to(1)
    now = reader.trace(0)
    own = run.snapshots.labels == 0
    np.testing.assert_allclose(now, unit(run.snapshots.embeddings[1][own]), atol=1e-4)
    assert np.abs(now - last).max() > 0.1
    assert "epoch 2" in reader.tab.locator("#when").inner_text()

    # Look straight at class 2: the dot in the middle of the plot is one of its own.
    reader.slide_to(3)
    mean = unit(unit(run.embeddings.embeddings[run.embeddings.labels == 2]).mean(0))
    azimuth, elevation = np.degrees([np.arctan2(mean[1], mean[0]), np.arcsin(mean[2])])
    reader.ask(f"turn({azimuth}, {elevation})")
    reader.tab.wait_for_timeout(500)
    box = reader.tab.locator(".plot").bounding_box()
    tip = reader.tab.locator("#tip")
    for step in range(40):  # outwards until a dot is under the pointer
        x, y = 3 * step * np.cos(step), 3 * step * np.sin(step)
        reader.tab.mouse.move(box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 + y)
        reader.tab.wait_for_timeout(60)
        if tip.is_visible():
            break
    text = tip.inner_text()
    assert text.startswith("c2")
    told = float(re.search(r"to its class centre\s+([\d.]+)°", text)[1])
    angles = np.degrees(
        np.arccos(unit(run.embeddings.embeddings[run.embeddings.labels == 2]) @ mean)
    )
    assert np.abs(angles - told).min() < 0.06
    assert tip.locator("canvas").count() == 1
    reader.close()


def test_the_circle_shows_the_gaps_that_geometry_measures(browser: Any, tmp_path: Path) -> None:
    run = make_run(2, classes=6, side=8)
    reader = Reader(browser, tmp_path, page_of(run), width=800)
    assert reader.ask("document.documentElement.scrollWidth") <= 800
    assert reader.ask("document.querySelector('#spin').hidden")

    def told() -> list[str]:
        numbers = "document.querySelector('.plot').data.at(-2).text"
        return sorted(text.replace("−", "-") for text in reader.ask(numbers))

    for stop, embeddings in ((3, run.embeddings.embeddings), (2, run.snapshots.embeddings[2])):
        reader.slide_to(stop)
        gaps = geometry.arcs(embeddings, run.embeddings.labels).gap
        assert told() == sorted(f"{gap:.0f}°" for gap in gaps if gap > -30)
    radius = np.linalg.norm(reader.trace(0), axis=1)
    assert radius.min() > 1 and radius.max() < 1.5

    dot = reader.spot("[plot.data[3].x[0], plot.data[3].y[0]]")
    reader.tab.mouse.move(dot[0] - 3, dot[1])
    reader.tab.mouse.move(*dot)
    reader.tab.locator("#tip").wait_for()
    own = np.flatnonzero(run.embeddings.labels == 3)
    units = unit(run.snapshots.embeddings[2, own])
    told_angle = re.search(
        r"to its class centre\s+([\d.]+)°", reader.tab.locator("#tip").inner_text()
    )
    expected = np.degrees(np.arccos(units[0] @ unit(units.mean(0))))
    assert abs(float(told_angle[1]) - expected) < 0.06
    pixels = reader.ask(
        "[...document.querySelector('#tip canvas').getContext('2d').getImageData(0, 0, 8, 8).data]"
    )
    assert pixels[::4] == run.snapshots.thumbnails[own[0]].ravel().tolist()

    reader.tab.locator("#play").click()  # from epoch 4 on to the end
    reader.tab.wait_for_function("() => position === 3 && !playing")
    reader.close()


def test_a_comparison_turns_and_replays_together(browser: Any, tmp_path: Path) -> None:
    runs = [make_run(3, 200, moments=3 + i, seed=i) for i in range(3)]
    reader = Reader(browser, tmp_path, interactive.comparison(runs)["compare.html"])
    start = reader.camera(2)
    reader.drag(panel=1)
    reader.tab.wait_for_timeout(300)
    assert reader.camera(2) != start
    assert reader.camera(0) == reader.camera(1) == reader.camera(2)

    reader.slide_to(1)
    for panel, run in enumerate(runs[:3]):
        own = run.snapshots.labels == 0
        np.testing.assert_allclose(
            reader.trace(0, panel), unit(run.snapshots.embeddings[1][own]), atol=1e-4
        )
    reader.tab.locator(".class").first.click()
    reader.tab.wait_for_timeout(200)
    assert reader.ask("panels.map(panel => panel.plot.data[0].x.length)") == [0] * 3
    reader.close()


def test_a_comparison_shows_the_runs_that_are_asked_for(browser: Any, tmp_path: Path) -> None:
    runs = [make_run(2, 60, seed=i, m2=i / 10) for i in range(9)]
    for name, text in interactive.comparison(runs, shown=range(4)).items():
        interactive.write_page(tmp_path / name, text)
    reader = Reader(browser, tmp_path, (tmp_path / "compare.html").read_text())
    names = "[...document.querySelectorAll('.panel h2')].map(h => h.textContent)"
    assert reader.ask(names) == ["arcface"] + [f"arcface m2=0.{i}" for i in (1, 2, 3)]
    reader.tab.goto(f"{reader.path.as_uri()}#runs=8,1")
    reader.tab.wait_for_function(f"() => {names}.length === 2 && document.body.dataset.ready")
    assert reader.ask(names) == ["arcface m2=0.8", "arcface m2=0.1"]
    assert len(reader.trace(0)) == (runs[8].embeddings.labels == 0).sum()

    more = "head => head.append(Object.assign(document.createElement('p'), {textContent: 'more'}))"
    reader.tab.locator(".head").first.evaluate(more)
    first, second = reader.ask(
        "[...document.querySelectorAll('.plot')].map(plot => plot.getBoundingClientRect().top)"
    )
    assert first == second, "plots stand beside one another, however much is above one of them"
    reader.close()


CHOSEN = 6  # the trace after the five classes and the unseen ones


def test_a_map_finds_neighbours_and_mistakes(browser: Any, tmp_path: Path) -> None:
    run = with_mistakes(make_run(16, 400, side=8))
    reader = Reader(browser, tmp_path, page_of(run))
    x, labels = unit(run.embeddings.embeddings), run.embeddings.labels
    everyone = np.r_[x, unit(run.unseen.embeddings)]
    image = 11
    spot = reader.spot(f"panels[0].now.units[{image}]")
    reader.tab.mouse.move(spot[0] - 3, spot[1])
    reader.tab.mouse.move(*spot)
    reader.tab.locator("#tip").wait_for()
    reader.tab.mouse.click(*spot)
    tray = reader.tab.locator("#tray")
    tray.wait_for()
    told = [float(text.removesuffix("°")) for text in tray.locator("small").all_inner_texts()[1:]]
    asked = int(reader.ask("state.get('image')").split(",")[1])
    angles = np.degrees(np.arccos((everyone @ everyone[asked]).clip(-1, 1)))
    np.testing.assert_allclose(told, np.sort(np.delete(angles, asked))[:10], atol=0.06)
    assert len(reader.trace(CHOSEN)) == 11
    reader.tab.keyboard.press("Escape")
    tray.wait_for(state="hidden")
    assert len(reader.trace(CHOSEN)) == 0

    hollow = reader.ask("document.querySelector('.plot').data[5].marker.symbol")
    assert hollow == "circle-open" and len(reader.trace(5)) == 40
    reader.tab.locator("#only").click()
    wrong = run.embeddings.predicted != labels
    shown = [len(reader.trace(label)) for label in range(5)]
    assert shown == [int((wrong & (labels == label)).sum()) for label in range(5)]
    reader.tab.locator("#only").click()
    reader.close()


@pytest.mark.long
def test_the_keyboard_plays_and_the_address_remembers(browser: Any, tmp_path: Path) -> None:
    run = with_mistakes(make_run(16, 200, classes=8))
    reader = Reader(browser, tmp_path, page_of(run))
    reader.tab.locator(".class").nth(2).click()  # whose button space must not press
    reader.tab.keyboard.press("ArrowLeft")
    reader.tab.wait_for_function("() => position === 2")
    reader.tab.keyboard.press(" ")
    reader.tab.wait_for_function("() => playing")
    reader.tab.wait_for_function("() => position === 3 && !playing")
    reader.tab.keyboard.press("ArrowLeft")
    reader.tab.wait_for_function("() => position === 2")
    reader.tab.fill("#find", "c3")
    reader.tab.locator("#only").click()
    reader.tab.wait_for_function(
        "() => ['epoch=4', 'find=c3', 'only='].every(one => location.hash.includes(one))"
    )
    reader.tab.reload()
    reader.tab.wait_for_function(READY)
    assert reader.ask("position") == 2
    assert reader.ask("shown.map((on, label) => on ? label : -1).filter(label => label >= 0)") == [
        3
    ]
    assert reader.tab.locator("#only").get_attribute("aria-pressed") == "true"
    assert reader.tab.locator(".class:visible").count() == 2  # and the unseen
    with reader.tab.expect_download() as saved:
        reader.tab.locator(".modebar-btn[data-title='save as SVG']").click()
    assert saved.value.suggested_filename.endswith(".svg")
    reader.close()


@pytest.mark.long
@pytest.mark.parametrize("dim", [2, 16])
def test_a_lasso_chooses_the_same_images_under_every_head(
    browser: Any, tmp_path: Path, dim: int
) -> None:
    runs = [with_mistakes(make_run(dim, 200, side=4), seed) for seed in range(2)]
    reader = Reader(browser, tmp_path, interactive.comparison(runs)["compare.html"])
    reader.tab.locator(".plot").first.hover()
    reader.tab.locator(".modebar-btn[data-title='Lasso Select']").first.click()
    box = reader.tab.locator(".plot").first.bounding_box()
    middle, reach = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), 0.45
    corners = [(0, -1), (1, -1), (1, 1), (0, 1), (0, -1)]  # the right half
    for step, (x, y) in enumerate(corners):
        reader.tab.mouse.move(
            middle[0] + x * reach * box["width"], middle[1] + y * reach * box["height"], steps=4
        )
        if not step:
            reader.tab.mouse.down()
    reader.tab.mouse.up()
    reader.tab.locator("#tray").wait_for()
    chosen = reader.ask("[...chosen.ids]")
    assert 20 < len(chosen) < 240
    rows = np.array([one for one in chosen if one < 200])
    strangers = [one for one in chosen if one >= 200]
    for place, run in enumerate(runs):
        assert len(reader.trace(CHOSEN, place)) == len(rows) + len(strangers)
        wrong = (run.embeddings.predicted != run.embeddings.labels)[rows].sum()
        told = reader.tab.locator(".about").nth(place).inner_text()
        assert f"{wrong} of the {len(rows)} chosen misclassified" in told
    reader.close()


@pytest.mark.long
def test_a_lasso_on_a_sphere_chooses_what_faces_the_reader(browser: Any, tmp_path: Path) -> None:
    runs = [make_run(3, 200, side=4), make_run(3, 200, side=4, seed=1)]
    reader = Reader(browser, tmp_path, interactive.comparison(runs)["compare.html"])
    reader.tab.locator("#lasso").click()
    eye = unit(np.array([*reader.camera().values()]))
    plot = reader.tab.locator(".plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    middle = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    for step, (x, y) in enumerate([(0, -1), (1, -1), (1, 1), (0, 1), (0, -1)]):  # the right half
        reader.tab.mouse.move(*middle + 0.45 * np.array([x * box["width"], y * box["height"]]))
        if not step:
            reader.tab.mouse.down()
    assert reader.tab.locator("#outline polygon").get_attribute("points").count(",") == 5
    reader.tab.mouse.up()
    reader.tab.locator("#tray").wait_for()
    points = unit(runs[0].embeddings.embeddings)
    right = np.cross([0, 0, 1], eye)
    clear = np.minimum(np.abs(points @ eye), np.abs(points @ right)) > 0.01
    wanted = np.flatnonzero((points @ eye > 0) & (points @ right > 0) & clear)
    chosen = np.array(reader.ask("[...chosen.ids]"))
    assert set(chosen[clear[chosen]]) == set(wanted) and 20 < len(wanted) < 120
    assert len(reader.trace(CHOSEN, 0)) == len(reader.trace(CHOSEN, 1)) == len(chosen)
    assert np.allclose(unit(np.array([*reader.camera().values()])), eye)  # the sphere did not turn
    assert not reader.tab.locator("#outline polygon").get_attribute("points")

    reader.tab.keyboard.press("Escape")
    reader.tab.locator("#tray").wait_for(state="hidden")
    reader.tab.locator("#lasso").click()
    label = int(
        np.argmax([(points[runs[0].embeddings.labels == c] @ eye).mean() for c in range(5)])
    )
    mean = unit(points[runs[0].embeddings.labels == label].mean(0))
    azimuth, elevation = np.degrees([np.arctan2(mean[1], mean[0]), np.arcsin(mean[2])])
    reader.ask(f"turn({azimuth}, {elevation})")
    reader.tab.wait_for_timeout(500)
    for step in range(40):  # outwards until a dot is under the pointer
        reader.tab.mouse.move(*middle + 2 * step * np.array([np.cos(step), np.sin(step)]))
        reader.tab.wait_for_timeout(60)
        if reader.tab.locator("#tip").is_visible():
            break
    reader.tab.mouse.down()
    reader.tab.mouse.up()
    reader.tab.locator("#tray").wait_for()
    said = reader.tab.locator("#tray b").inner_text()
    assert re.match(rf"c{label} and its \d+ nearest by angle under arcface", said), said
    reader.close()


def test_hostile_names_and_no_snapshots(browser: Any, tmp_path: Path) -> None:
    run = make_run(2, header=EVIL, class_names=[EVIL, "b", "", "d", "e"])._replace(snapshots=None)
    labels = np.where(run.embeddings.labels == 4, 3, run.embeddings.labels)  # an empty class
    run.embeddings.embeddings[:2] = 0
    run = run._replace(embeddings=run.embeddings._replace(labels=labels))
    reader = Reader(browser, tmp_path, page_of(run))
    assert reader.tab.locator("h1").inner_text() == f"{EVIL} m2=0.3"
    assert reader.tab.locator(".class").first.inner_text().startswith(EVIL)
    assert not reader.tab.locator("#player").is_visible()
    reader.close()
