"""index.html: its data against the records, then driven in headless Chromium as a reader would."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from synthetic_records import make_result, write_sweep

from arcmargin.metrics.table import PREDICTED
from arcmargin.record import Result
from arcmargin.report.configurations import configurations
from arcmargin.report.margin_axes import contexts
from arcmargin.report.page import MOST_MOMENTS, STEPS, sparkline
from arcmargin.report.tables import read_csv
from arcmargin.report.write import write_report

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "b" <b>__DATA__</b>'


def data_of(report: Path) -> dict[str, Any]:
    page = (report / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 runs: 20 finished, one failed with a traceback; one unfinished and one damaged beside."""
    folder = tmp_path_factory.mktemp("sweeps") / "gaps <b>&amp;"
    records = write_sweep(
        folder, ("linear", "normface", "arcface", "cosface", "sphereface"), failed=1
    )
    for record in records[:4]:
        assert record.folder
        (record.folder / "embedding.html").write_text(f"<title>{record.settings.name}</title>view")
        pixels = b"\x89PNG\r\n\x1a\n"
        (record.folder / "embedding.png").write_bytes(pixels)
    assert records[-1].folder
    (records[-1].folder / "traceback.txt").write_text("Traceback ...")
    records[-1].error = f"Traceback\nValueError: {EVIL}"
    records[-1].write(records[-1].folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text("{")
    (folder / "cut off #1" / ".hydra").mkdir(parents=True)
    write_report([folder], formats=["png"])
    return folder / "report"


# ---- as a file -----------------------------------------------------------------------------------


def test_the_page_holds_what_the_records_say(sweep: Path) -> None:
    data = data_of(sweep)
    assert data["title"] == "gaps <b>&amp;"
    assert len(data["runs"]) == 33 and len(data["configurations"]) == 11
    names = [metric["name"] for metric in data["metrics"]]
    for run in data["runs"]:
        record = Result.read(sweep / Path(run["folder"]))
        assert run["metrics"] == [record.metrics.get(name) for name in names]
        one = data["configurations"][run["of"]]
        assert one["header"] == record.settings.header
    accuracy = names.index("accuracy")
    for index, one in enumerate(data["configurations"]):
        values = [
            run["metrics"][accuracy]
            for run in data["runs"]
            if run["of"] == index and run["error"] is None
        ]
        mean, half = one["metrics"][accuracy]
        assert mean == pytest.approx(np.mean(values))
        t = {2: 12.706205, 3: 4.302653}[len(values)]
        assert half == pytest.approx(t * np.std(values, ddof=1) / len(values) ** 0.5)


def test_what_went_wrong_is_named(sweep: Path) -> None:
    data = data_of(sweep)
    (failed,) = [run for run in data["runs"] if run["error"] is not None]
    assert failed["error"] == f"ValueError: {EVIL}"
    assert (sweep / failed["traceback"]).read_text() == "Traceback ..."
    assert len(data["damaged"]) == 1 and "is not valid JSON" in data["damaged"][0]
    (unfinished,) = data["unfinished"]
    assert unfinished["href"] == "../cut%20off%20%231"
    assert unfinished["text"].endswith("cut off #1")


def test_no_network_and_no_escape_from_the_data(sweep: Path) -> None:
    page = (sweep / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", page)
    assert page.count("<script") == page.count("</script>") == 2
    assert "<title>gaps &lt;b&gt;&amp;amp;" in page


def test_sparklines() -> None:
    line = sparkline([0.0, 0.5, None, 1.0])
    assert line is not None
    assert (line["heights"], line["low"], line["high"]) == ([0, 50, -1, STEPS], 0.0, 1.0)
    long = sparkline(np.linspace(3, 1, 1000).tolist())
    assert long is not None
    assert len(long["heights"]) == MOST_MOMENTS and long["heights"][0] == STEPS
    assert (long["heights"][-1], long["last"], long["epochs"]) == (0, 1.0, 1000)
    assert [sparkline(odd) for odd in (None, [], [0.5], [None, None])] == [None] * 4
    flat = sparkline([2.0, 2.0])
    assert flat is not None and flat["heights"] == [0, 0]


def test_lines_are_heads_and_points_their_margins() -> None:
    records = [make_result("linear"), make_result("normface")]
    records += [make_result("arcface", m2=m2, s=s) for m2 in (0.5, 0.2) for s in (30.0, 64.0)]
    records += [make_result("cosface", m3=0.35)]
    found = configurations(records)
    (one,) = contexts(found)
    assert [found[i].settings["header"] for i in one["baselines"]] == ["linear", "normface"]
    m2, scale = one["axes"]
    assert (m2["key"], m2["unit"], scale["key"]) == ("m2", "rad", "s")
    lines = {line["label"]: line for line in m2["lines"]}
    assert set(lines) == {"arcface, s = 30", "arcface, s = 64", "cosface, m3 = 0.35, s = 30"}
    assert lines["arcface, s = 30"]["at"] == [0.2, 0.5]
    assert [found[i].settings["m2"] for i in lines["arcface, s = 30"]["members"]] == [0.2, 0.5]
    assert {line["label"] for line in scale["lines"]} >= {"normface", "arcface, m2 = 0.5"}


def test_matched_margins_lie_at_their_predicted_gap() -> None:
    records = [make_result("normface", metrics={PREDICTED: 0.0, "accuracy": 0.9})]
    for gap in (10, 20):
        for header, own in (("arcface", {"m2": gap / 57}), ("cosface", {"m3": gap / 200})):
            metrics = {PREDICTED: gap + 0.1, "accuracy": 0.9}
            records.append(make_result(header, gap_deg=float(gap), metrics=metrics, **own))
    records += [
        make_result("arcface", dataset="mnist", m2=0.1),
        make_result("linear", dataset="mnist"),
    ]
    digits, mnist = contexts(configurations(records))
    assert [axis["key"] for axis in digits["axes"]] == [PREDICTED, "m2", "m3"]
    assert [line["at"] for line in digits["axes"][0]["lines"]] == [[10.1, 20.1], [10.1, 20.1]]
    assert (digits["title"], mnist["title"], mnist["axes"]) == ("digits", "mnist", [])


# ---- in a browser --------------------------------------------------------------------------------


class Reader:
    """The page opened from its file, with everything that should not have happened on it."""

    def __init__(self, browser: Any, report: Path, width: int = 1400, **options: Any) -> None:
        self.wrong: list[str] = []
        self.tab = browser.new_page(viewport={"width": width, "height": 900}, **options)
        self.tab.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        self.tab.on("request", self._request)
        self.tab.goto((report / "index.html").as_uri())
        self.tab.wait_for_function("() => document.body.dataset.ready")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.wrong.append(f"network: {request.url}")

    def column(self, title: str) -> list[str]:
        """What the table of runs shows in a column now, from top to bottom."""
        return self.tab.evaluate(
            """title => {
                const heads = [...document.querySelectorAll("#runs thead th")];
                const at = heads.findIndex(head => head.textContent.trim() === title);
                return [...document.querySelectorAll("#runs tbody tr:not([hidden])")]
                    .map(row => row.children[at].textContent.trim());
            }""",
            title,
        )

    def close(self) -> None:
        self.tab.close()
        assert self.wrong == []


@pytest.fixture
def reader(browser: Any, sweep: Path) -> Iterator[Reader]:
    opened = Reader(browser, sweep)
    yield opened
    opened.close()


def test_sorting_by_click_and_by_keyboard(reader: Reader) -> None:
    head = reader.tab.locator("#runs thead th", has_text="accuracy %")
    button = head.locator("button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = reader.column("accuracy %")
    assert len(up) == 33 and up[-1] == "–"  # the failed run: missing values come last
    numbers = [float(text) for text in up[:-1]]
    assert numbers == sorted(numbers)
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    down = reader.column("accuracy %")
    assert down[-1] == "–" and [float(text) for text in down[:-1]] == sorted(numbers, reverse=True)
    other = reader.tab.locator("#runs thead th", has_text="run").first
    other.locator("button").press("Space")
    assert head.get_attribute("aria-sort") == "none"
    assert reader.column("run") == sorted(reader.column("run"), key=natural)


def natural(name: str) -> list[Any]:
    words = re.split(r"(\d+)", name.lower())
    return [int(word) if word.isdigit() else word for word in words]


def test_filtering_by_words_by_choice_and_on_an_axis(reader: Reader) -> None:
    shown = reader.tab.locator("#runs output")
    assert shown.text_content() == "33 runs"
    reader.tab.fill("#search", "FACE seed=1")
    assert shown.text_content() == "10 of 33 runs"
    assert set(reader.column("seed")) == {"1"} and "linear" not in reader.column("header")
    reader.tab.locator("#runs select[data-key=header]").select_option("cosface")
    assert reader.column("header") == ["cosface"] * 3
    assert reader.tab.locator("#parallel .run:not(.out)").count() == 3
    reader.tab.fill("#search", "nothing like it")
    assert reader.tab.locator("#runs .nothing").is_visible()
    reader.tab.locator("#clear").click()
    assert shown.text_content() == "33 runs"

    reader.tab.locator("#runs select[data-key=status]").select_option("failed")
    assert len(reader.column("run")) == 1
    reader.tab.locator("#clear").click()
    reader.tab.locator("#parallel").scroll_into_view_if_needed()
    grip = reader.tab.locator("#parallel .grip").first  # the axis of the headers, linear on top
    box = grip.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"]
    reader.tab.mouse.move(x, y + 2)
    reader.tab.mouse.down()
    reader.tab.mouse.move(x, y + box["height"] * 0.35, steps=4)
    reader.tab.mouse.up()
    assert set(reader.column("header")) == {"linear", "normface"}
    assert shown.text_content() == "6 of 33 runs"
    reader.tab.locator("#letgo").click()
    assert shown.text_content() == "33 runs"


def test_a_thumbnail_opens_the_interactive_view(reader: Reader) -> None:
    first = reader.tab.locator("#runs tbody tr").first.locator(".name a")
    assert first.get_attribute("href").endswith("/embedding.html")
    first.click()
    viewer = reader.tab.locator("#viewer")
    assert viewer.is_visible() and "linear" in viewer.locator("h2").text_content()
    assert "view" in reader.tab.frames[1].locator("body").text_content()
    reader.tab.keyboard.press("ArrowRight")
    assert "seed 1" in viewer.locator("p.soft").text_content()
    reader.tab.keyboard.press("Escape")
    assert not viewer.is_visible()
    viewer.locator("iframe").wait_for(state="detached")  # the event comes a moment later


def test_every_link_leads_to_a_file(reader: Reader, sweep: Path) -> None:
    links = reader.tab.evaluate("[...document.links].map(a => a.getAttribute('href'))")
    assert len(links) > 20
    for link in links:
        target = sweep / unquote(link) if not link.startswith("#") else None
        assert target is None or target.exists(), link
    anchors = [link[1:] for link in links if link.startswith("#")]
    assert all(reader.tab.locator(f"[id='{anchor}']").count() == 1 for anchor in anchors)


def test_failures_are_shown_as_text(reader: Reader) -> None:
    told = reader.tab.locator("#problems").text_content()
    assert EVIL in told and "cut off #1" in told and "is not valid JSON" in told
    assert reader.tab.locator("#problems a", has_text="traceback").count() == 1
    assert reader.tab.locator("h1").text_content() == "gaps <b>&amp;"


def test_plots_show_the_means_and_the_baselines(reader: Reader, sweep: Path) -> None:
    plots = reader.tab.locator("#margins .plots figure")
    names = [m["name"] for m in data_of(sweep)["metrics"] if m["name"] != PREDICTED]
    assert plots.count() == len(names)
    accuracy = plots.first
    titles = accuracy.locator("svg .mark title").all_text_contents()
    assert len(titles) == 9 and titles[0].startswith("arcface, m2 = 0.175: ")
    first = next(c for c in data_of(sweep)["configurations"] if c["label"] == "arcface, m2 = 0.175")
    mean, half = (100 * value for value in first["metrics"][0])
    assert titles[0] == f"arcface, m2 = 0.175: {mean:.2f} ± {half:.2f} % (3 runs)"
    assert accuracy.locator("line.base").count() == 2 and accuracy.locator("rect.band").count() == 2
    reader.tab.locator("#against").select_option(label="each configuration")
    assert accuracy.locator(".mark").count() == 11
    reader.tab.locator("#against").select_option(label="m3, additive cosine margin")
    assert {t.split(",")[0] for t in accuracy.locator(".mark title").all_text_contents()} >= {
        "cosface"
    }


def test_differences_are_those_of_the_csv(reader: Reader, sweep: Path) -> None:
    rows = [row for row in read_csv(sweep / "differences.csv") if row["metric"] == "accuracy"]
    table = reader.tab.locator("#differences tbody tr")
    for kind in ("against the baseline", "every pair"):
        reader.tab.locator("#compared").select_option(label=kind)
        wanted = [row for row in rows if row["compared"] == kind]
        assert table.count() == len(wanted)
        cells = table.first.locator("> *").all_text_contents()
        assert (cells[0].strip(), cells[1].strip()) == (wanted[0]["first"], wanted[0]["second"])
        assert f"{100 * float(wanted[0]['difference']):.2f}".replace("-", "−") in cells[3]
    reader.tab.locator("#compared-metric").select_option(label="mean gap")
    assert "compar" in reader.tab.locator("#differences .body p").first.text_content()


def test_metrics_can_be_chosen(reader: Reader) -> None:
    head = reader.tab.locator("#runs thead th", has_text="mean to centre °")
    assert not head.is_visible()
    reader.tab.locator("details.columns summary").click()
    reader.tab.get_by_label("mean to centre", exact=True).check()
    assert head.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_width(browser: Any, sweep: Path, scheme: str) -> None:
    reader = Reader(browser, sweep, width=700, color_scheme=scheme)
    assert reader.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    colours = reader.tab.evaluate(
        """() => {
            const style = getComputedStyle(document.documentElement);
            const names = ["ink", "soft", "paper", "tint", "accent", "good", "bad"];
            return Object.fromEntries(names.map(n => [n, style.getPropertyValue(`--${n}`).trim()]));
        }"""
    )

    def luminance(colour: str) -> float:
        digits = colour.lstrip("#")
        digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
        rgb = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for front in ("ink", "soft", "accent", "good", "bad"):
        for back in ("paper", "tint"):
            low, high = sorted((luminance(colours[front]), luminance(colours[back])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)  # WCAG AA
    reader.close()


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thousand")
    gaps = [0.5 * step for step in range(1, 67)]
    write_sweep(folder, gaps_deg=gaps, seeds=5, samples=100, arrays=False)
    write_report([folder], formats=["png"])
    return folder / "report"


def test_a_thousand_runs_are_all_there(thousand: Path) -> None:
    """Time and memory are the benchmark's."""
    assert len(read_csv(thousand / "runs.csv")) == 1000
    assert len(read_csv(thousand / "summary.csv")) == 2 + 3 * 66
    assert (thousand / "index.html").stat().st_size < 3e6
    assert len(list(thousand.glob("grid*.png"))) == 2  # 50 pictures, evenly spaced


def test_a_thousand_runs_sort_and_filter(browser: Any, thousand: Path) -> None:
    reader = Reader(browser, thousand)
    assert reader.tab.locator("#runs output").text_content() == "1,000 runs"
    reader.tab.locator("#runs thead th", has_text="mean gap").locator("button").click()
    numbers = [float(text.replace("−", "-")) for text in reader.column("mean gap °")]
    assert len(numbers) == 1000 and numbers == sorted(numbers)
    reader.tab.fill("#search", "sphereface seed=4")
    assert reader.tab.locator("#runs output").text_content() == "66 of 1,000 runs"
    told = reader.tab.locator("#differences").text_content()
    assert "up to 20 configurations; here are 200" in told
    reader.close()


def test_one_run_alone(browser: Any, tmp_path: Path) -> None:
    make_result("arcface", m2=0.5, metrics={"accuracy": 0.9}).write(tmp_path / "a")
    write_report([tmp_path / "a"], formats=["png"])
    reader = Reader(browser, tmp_path / "a" / "report")
    assert "Nothing to compare" in reader.tab.locator("#differences").text_content()
    assert not reader.tab.locator("#parallel").is_visible()
    assert not reader.tab.locator("#problems").is_visible()
    assert reader.column("accuracy %") == ["90.00"]
    reader.close()
