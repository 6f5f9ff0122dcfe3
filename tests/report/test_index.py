"""index.html: its data against the runs, then driven in headless Chromium as a reader would."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from synthetic_records import make_result, write_sweep

from arcmargin.metrics.table import PREDICTED, metric
from arcmargin.record import Result
from arcmargin.report.index import MOST_MOMENTS, curve_cell
from arcmargin.report.tables import read_csv
from arcmargin.report.write import write_report

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "b" <b>{{ data }}</b>'


def data_of(report: Path) -> dict[str, Any]:
    page = (report / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def rows_of(data: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """What each row sorts by, by the column's name."""
    columns = [column["name"] for column in data["tables"][table]["columns"]]
    return [
        dict(zip(columns, (cell[0] for cell in row["cells"]), strict=True)) | {"row": row}
        for row in data["tables"][table]["rows"]
    ]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33 runs: 32 finished, one failed with a traceback; one unfinished and one damaged beside."""
    folder = tmp_path_factory.mktemp("sweeps") / "gaps <b>&amp;"
    results = write_sweep(folder, failed=1)
    for result in results[:4]:
        assert result.folder
        (result.folder / "embedding.html").write_text(f"<title>{result.settings.name}</title>view")
        (result.folder / "embedding.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert results[-1].folder
    (results[-1].folder / "traceback.txt").write_text("Traceback ...")
    results[-1].error = f"Traceback\nValueError: {EVIL}"
    results[-1].write(results[-1].folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text("{")
    (folder / "cut off #1" / ".hydra").mkdir(parents=True)
    write_report([folder], formats=["png"])
    return folder / "report"


# ---- as a file -----------------------------------------------------------------------------------


def test_the_page_holds_what_the_records_say(sweep: Path) -> None:
    data = data_of(sweep)
    runs, grouped = rows_of(data, "runs"), rows_of(data, "configurations")
    assert len(runs) == 33 and len(grouped) == 11
    names = [one["name"] for one in data["metrics"]]
    for run in runs:
        record = Result.read(sweep / Path(unquote(run["row"]["folder"])))
        assert {name: run[name] for name in names} == {
            name: record.metrics.get(name) for name in names
        }
        assert run["seed"] == record.settings.seed
    for one in grouped:
        values = [
            record.metrics["accuracy"]
            for record in (Result.read(sweep / unquote(r["row"]["folder"])) for r in runs)
            if record.finished
            and one["configuration"].startswith(record.settings.header)
            and all(part in one["configuration"] for part in _margin(record))
        ]
        assert one["accuracy"] == pytest.approx(np.mean(values))
        if len(values) == 3:
            half = 4.302653 * np.std(values, ddof=1) / 3**0.5
            cell = one["row"]["cells"][1][1]
            assert cell.endswith(f"± {100 * half:.2f}</span>")


def _margin(record: Result) -> list[str]:
    settings = record.settings
    acting = {"m1": 1.0, "m2": 0.0, "m3": 0.0}
    return [
        f"{key} = {getattr(settings, key):.3g}"
        for key, neutral in acting.items()
        if getattr(settings, key) not in (None, neutral)
    ]


def test_two_seeds_are_points_without_an_interval(sweep: Path) -> None:
    last = rows_of(data_of(sweep), "configurations")[-1]
    assert last["runs"] == 2 and "±" not in last["row"]["cells"][1][1]


def test_the_answer_comes_first(sweep: Path) -> None:
    page = (sweep / "index.html").read_text(encoding="utf-8")
    verdict = page[page.index('id="verdict"') : page.index('id="facts"')]
    assert "Best accuracy: " in verdict and "noise of 3 seeds" in verdict
    assert page.index('id="verdict"') < page.index('id="configurations"') < page.index('"pictures"')


def test_no_network_and_no_escape_from_the_data(sweep: Path) -> None:
    page = (sweep / "index.html").read_text(encoding="utf-8")
    body = page[: page.index('id="datatables"')]
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", body)
    assert page.count("</script>") == 4 and "<!--" not in page
    assert "<title>gaps &lt;b&gt;&amp;amp;" in page
    assert page.count('<script src="plotly.min.js">') == 1


def test_curves_are_at_most_forty_points() -> None:
    last, corners, words = curve_cell([0.0, 0.5, None, 1.0])
    assert (last, corners) == (1.0, "0,24.0 33,13.0 100,2.0")
    assert words == "4 epochs: from 0 to 1, last 1"
    _, corners, _ = curve_cell(np.linspace(3, 1, 1000).tolist())
    assert len(corners.split()) == MOST_MOMENTS
    for odd in (None, [], [0.5], [None, None]):
        assert curve_cell(odd) == [None, "–"]


# ---- in a browser --------------------------------------------------------------------------------


COLUMN = """([table, title]) => {
    const heads = [...document.querySelectorAll(`#${table} .dt-scroll-head th`)];
    const at = heads.findIndex(head => head.textContent.trim() === title);
    return [...document.querySelectorAll(`#${table} .dt-scroll-body tbody tr`)]
        .filter(row => row.children[at]).map(row => row.children[at].textContent.trim());
}"""


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
        self.tab.wait_for_function("() => document.body.dataset.ready", timeout=60_000)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.wrong.append(f"network: {request.url}")

    def column(self, title: str, table: str = "runs") -> list[str]:
        """What a table shows in a column now, from top to bottom."""
        return self.tab.evaluate(COLUMN, [table, title])

    def wait_for_column(self, title: str, wanted: list[str], table: str = "runs") -> None:
        """DataTables sorts a moment after the click."""
        self.tab.wait_for_function(
            f"([table, title, wanted]) => String(({COLUMN})([table, title])) === String(wanted)",
            arg=[table, title, wanted],
        )

    def head(self, title: str, table: str = "runs") -> Any:
        return self.tab.locator(f"#{table} .dt-scroll-head th", has_text=title).first

    @property
    def count(self) -> str:
        return self.tab.locator("#runs output").text_content()

    def close(self) -> None:
        self.tab.close()
        assert self.wrong == []


@pytest.fixture
def reader(browser: Any, sweep: Path) -> Iterator[Reader]:
    opened = Reader(browser, sweep)
    yield opened
    opened.close()


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split("±")[0].replace("−", "-")) for text in texts]


def test_a_click_puts_the_best_first_and_what_is_missing_last(reader: Reader) -> None:
    for title, descending in (("accuracy %", True), ("median to centre °", False)):
        shown = reader.column(title)
        assert len(shown) == 33 and shown.count("–") == 1  # the failed run
        shown.remove("–")
        shown.sort(key=lambda text: numbers([text]), reverse=descending)
        reader.head(title).locator("[role=button]").press("Enter")
        reader.wait_for_column(title, [*shown, "–"])
    means = reader.column("accuracy %", "configurations")
    assert len(means) == 11 and numbers(means) != sorted(numbers(means), reverse=True)
    reader.head("accuracy %", "configurations").click()
    means.sort(key=lambda text: numbers([text]), reverse=True)
    reader.wait_for_column("accuracy %", means, "configurations")


def test_filtering_by_words_and_conditions(reader: Reader) -> None:
    assert reader.count == "33 runs"
    reader.tab.fill("#filter", "FACE seed=1")
    assert reader.count == "10 of 33 runs"
    assert set(reader.column("seed")) == {"1"} and "linear" not in reader.column("header")
    every = data_of_column(reader, "accuracy")
    middle = 100 * float(np.median([value for value in every if value is not None]))
    reader.tab.fill("#filter", f"accuracy>{middle:.2f} header!=linear")
    shown = numbers(reader.column("accuracy %"))
    assert shown and min(shown) > middle - 0.005 and "linear" not in reader.column("header")
    reader.tab.fill("#filter", "gap_mean_deg<=10 mean_gap>-5")
    assert all(-5 < value <= 10 for value in numbers(reader.column("mean gap °")))
    reader.tab.fill("#filter", "colour=3")
    assert reader.count == "no column colour"
    reader.tab.fill("#filter", "nothing like it")
    assert reader.tab.locator("#runs .dt-empty").is_visible()
    reader.tab.locator("#clear").click()
    assert reader.count == "33 runs"
    reader.tab.locator("#runs .bar label", has_text="status").locator("select").select_option(
        "failed"
    )
    assert len(reader.column("run")) == 1
    reader.tab.locator("#clear").click()
    assert reader.count == "33 runs"


def data_of_column(reader: Reader, name: str) -> list[float | None]:
    return reader.tab.evaluate(
        """name => {
            const { tables } = JSON.parse(document.getElementById("data").textContent);
            const { columns, rows } = tables.runs;
            const at = columns.findIndex(column => column.name === name);
            return rows.map(row => row.cells[at][0]);
        }""",
        name,
    )


def test_a_part_of_an_axis_filters_the_runs(reader: Reader) -> None:
    plot = reader.tab.locator("#parallel .plot")
    plot.scroll_into_view_if_needed()
    reader.tab.evaluate(
        """() => Plotly.restyle(document.querySelector("#parallel .plot"),
            "dimensions[0].constraintrange", [[-0.2, 1.2]])"""
    )
    reader.tab.wait_for_function(
        "() => document.querySelector('#runs output').textContent[0] === '6'"
    )
    assert set(reader.column("header")) == {"linear", "normface"}
    reader.tab.locator("#clear").click()
    assert reader.count == "33 runs"


def test_configurations_are_chosen_to_stand_side_by_side(reader: Reader, sweep: Path) -> None:
    boxes = reader.tab.locator("#configurations .dt-scroll-body tbody input[type=checkbox]")
    assert boxes.count() == 11
    for place in (0, 3, 4):
        boxes.nth(place).click()
    link = reader.tab.locator("#compare")
    assert link.get_attribute("href") == "compare.html#runs=0,3,4"
    link.click()
    reader.tab.wait_for_function("() => document.body.dataset.ready")
    names = reader.tab.locator(".panel h2").all_text_contents()
    assert [name.split()[0] for name in names] == ["linear", "arcface", "arcface"]
    # the runs of this sweep have no pictures to show beside
    reader.wrong = [text for text in reader.wrong if "ERR_FILE_NOT_FOUND" not in text]


def test_a_name_opens_the_interactive_view(reader: Reader) -> None:
    reader.tab.locator("#runs button.open").first.click()
    viewer = reader.tab.locator("#viewer")
    assert viewer.is_visible() and viewer.locator("h2").text_content() == "linear"
    assert "view" in reader.tab.frames[1].locator("body").text_content()
    reader.tab.keyboard.press("ArrowRight")
    assert "seed 1" in viewer.locator("p.soft").text_content()
    reader.tab.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    viewer.locator("iframe").wait_for(state="detached")  # the event comes a moment later
    reader.tab.locator("#configurations button.open").nth(2).click()
    assert viewer.locator("h2").text_content() == "arcface m2=0.1745"
    assert "mean to centre" in viewer.locator("dl").text_content()


def test_every_link_leads_to_a_file(reader: Reader, sweep: Path) -> None:
    links = reader.tab.evaluate("[...document.links].map(a => a.getAttribute('href'))")
    assert len(links) > 20
    for link in links:
        target = sweep / unquote(link) if not link.startswith("#") else None
        assert target is None or target.exists(), link
    anchors = [link[1:] for link in links if link.startswith("#")]
    assert all(reader.tab.locator(f"[id='{anchor}']").count() == 1 for anchor in anchors)


def test_failures_are_shown_as_text(reader: Reader) -> None:
    shown = reader.tab.locator("#problems").text_content()
    assert EVIL in shown and "cut off #1" in shown and "is not valid JSON" in shown
    assert reader.tab.locator("#problems a", has_text="traceback").count() == 1
    assert reader.tab.locator("h1").text_content() == "gaps <b>&amp;"


def test_plots_show_the_means_and_the_baselines(reader: Reader, sweep: Path) -> None:
    plots = reader.tab.locator("#margins figure")
    charts = data_of(sweep)["charts"][0]["axes"]
    assert [axis["title"] for axis in charts][:1] == [metric(PREDICTED).title]
    assert plots.count() == len(charts[0]["figures"]) > 3
    assert (
        plots.first.locator("figcaption").get_attribute("title") == metric("accuracy").explanation
    )
    drawn = reader.tab.evaluate(
        """() => document.querySelector("#margins .plot").data
            .map(trace => [trace.name, trace.y, trace.error_y?.array])"""
    )
    row = rows_of(data_of(sweep), "configurations")[2]
    assert drawn[0][0] == "arcface" and drawn[0][1][0] == pytest.approx(100 * row["accuracy"])
    assert f"± {drawn[0][2][0]:.2f}" in row["row"]["cells"][1][1]
    assert [line[0] for line in drawn[-2:]] == ["linear", "normface"]
    legend = reader.tab.locator("#margins .legend li")
    assert "normface (m = 0)" in legend.all_text_contents()
    reader.tab.locator("#margins .bar select").last.select_option(label="each configuration")
    count = "() => document.querySelector('#margins .plot').data.length"
    assert reader.tab.evaluate(count) == 11


def test_differences_are_those_of_the_csv(reader: Reader, sweep: Path) -> None:
    every = read_csv(sweep / "differences.csv")
    kind = reader.tab.locator("#differences .bar select").first
    for compared in ("with the baseline", "every pair"):
        kind.select_option(label=compared)
        wanted = every[(every["metric"] == "accuracy") & (every["compared"] == compared)]
        first = wanted.iloc[0]
        assert reader.column("this", "differences")[0] == first["first"]
        assert len(reader.column("this", "differences")) == min(len(wanted), 10)
        shown = numbers(reader.column("mean difference points", "differences"))
        assert shown[0] == pytest.approx(100 * first["difference"], abs=0.005)
    reader.tab.locator("#differences .bar select").last.select_option(label="mean gap")
    assert "compar" in reader.tab.locator("#caveat").text_content()


def test_metrics_can_be_chosen(reader: Reader) -> None:
    head = reader.head("mean to centre °")
    assert not head.is_visible()
    reader.tab.locator("#runs .buttons-colvis").click()
    reader.tab.locator(".dt-button-collection button", has_text="mean to centre").click()
    head.wait_for(state="visible")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_width(browser: Any, sweep: Path, scheme: str) -> None:
    reader = Reader(browser, sweep, width=400, color_scheme=scheme)
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
    cell = reader.tab.locator("#configurations .dt-scroll-body td").nth(3)
    seen = cell.evaluate(
        "cell => [getComputedStyle(cell).color, getComputedStyle(cell).backgroundColor]"
    )
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in seen)
    assert abs(ink - paper) > 400 and (paper > ink) == (scheme == "light")
    reader.close()


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thousand")
    gaps = [0.5 * step for step in range(1, 67)]
    write_sweep(folder, gaps_deg=gaps, seeds=5, samples=100, arrays=False)
    write_report([folder], formats=["png"])
    return folder / "report"


@pytest.mark.long
def test_a_thousand_runs_are_all_there(browser: Any, thousand: Path) -> None:
    """Time and memory are the benchmark's."""
    assert len(read_csv(thousand / "runs.csv")) == 1000
    assert len(read_csv(thousand / "summary.csv")) == 2 + 3 * 66
    assert (thousand / "index.html").stat().st_size < 4e6
    assert len(list(thousand.glob("grid*.png"))) == 2  # 50 pictures, evenly spaced
    reader = Reader(browser, thousand)
    assert reader.count == "1,000 runs"
    gaps = sorted((row["gap_mean_deg"] for row in rows_of(data_of(thousand), "runs")), reverse=True)
    best = [metric("gap_mean_deg").shown(gap) for gap in gaps[:50]]
    reader.head("mean gap").click()
    reader.wait_for_column("mean gap °", best)
    reader.tab.fill("#filter", "sphereface seed=4")
    assert reader.count == "66 of 1,000 runs"
    words = reader.tab.locator("#differences").text_content()
    assert "up to 20 configurations; here are 200" in words
    reader.close()


def test_one_run_alone(browser: Any, tmp_path: Path) -> None:
    make_result("arcface", m2=0.5, metrics={"accuracy": 0.9}).write(tmp_path / "a")
    write_report([tmp_path / "a"], formats=["png"])
    reader = Reader(browser, tmp_path / "a" / "report")
    assert "Nothing to compare" in reader.tab.locator("#differences").text_content()
    assert not reader.tab.locator("#parallel").is_visible()
    assert reader.tab.locator("#problems").count() == 0
    assert reader.column("accuracy %") == ["90.00"]
    reader.close()
