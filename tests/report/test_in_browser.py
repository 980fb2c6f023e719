"""Pages as a reader meets them: headless Chromium at the width of a phone and of a desk, light and dark."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit import jobs
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.report import chart, page, picture
from sslkit.types import Panel, Published

PHONE_PX, DESK_PX = 390, 1280
RUNS = ("run, arrow of time", "run, rotation", "run, correspondence")
EVALUATIONS = ("browse", "probe", "finetune", "compare", "duplicates", "audit", "bench")
KINDS = ("crowded", *RUNS, "arrow", "retrieve", "localize-sound", *EVALUATIONS)
TINY = ["train.steps=4", "train.epoch_steps=2", "train.batch=4"]
SMALL = ["train.steps=2", "train.warmup_epochs=0", "train.batch=4", "clips=1"]

FAULTS = Path(__file__).with_name("faults.js").read_text(encoding="utf-8")
"""An expression that lists what a reader would stumble over in the page that is open."""


def _crowded() -> page.Page:
    """Everything that a page can hold, and more of it than is comfortable."""
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(24)]
    rows = [{"step": s, "loss": 2 / (1 + s / 300), "accuracy": 99 - 60 / (1 + s / 200)} for s in range(0, 12000, 10)]
    inits = ("runs/with/a/rather/long/path", "random", "supervised")
    layers = [(init, n, seed) for init in inits for n in range(7) for seed in (0, 1)]
    bars = [{"init": init, "layer": f"conv{n}", "value": 30.0 + n, "seed": seed} for init, n, seed in layers]
    names = [f"class_with_a_long_name_{n}" for n in range(40)]
    sheets = picture.contact_sheet(np.stack([np.stack(pictures[:8])] * 4))
    long = "anUnbrokenWordThatIsMuchLongerThanAPhoneIsWide" * 3
    return page.Page(
        title=f"arrow_of_time: {long}",
        lead="What was asked, what was answered, and how it was made.",
        headline=[
            page.Figure("pretext accuracy", 83.42, chance=50.0, paper=Published(81.0, "table 2"), spread=1.2),
            page.Figure("error", 1.8, unit="frames", chance=10.3, note="Lower is better."),
        ],
        notes=[f"Prepared in {long}."],
        panels=[
            Panel("Asked", pictures, [f"forwards: {n} % sure" for n in range(24)], [True, False, None] * 8, "Look."),
            Panel("Neighbours", pictures[:16], [long] * 16, leads=True),
            Panel("Sheets", sheets, ["a", "b", "c", "d"], columns=2),
            Panel("Filters", [picture.filters(random.normal(size=(32, 3, 11, 11)))], columns=1),
        ],
        charts=[
            page.Chart("Curves", chart.curves(rows, {"training": "accuracy"}, "percent", chance=50, paper=81), "Note."),
            page.Chart("Two classes", chart.confusion([[40, 9], [12, 37]], ["backwards", "forwards"])),
            page.Chart("Many classes", chart.confusion(random.integers(0, 9999, (40, 40)), names)),
            page.Chart("Large counts", chart.confusion(random.integers(0, 9999, (9, 9)), names)),
            page.Chart("Bars", chart.bars(bars, "init", "layer", x_label="percent", chance=8.3)),
        ],
        tables=[page.Table("Rows", bars), page.Table("More rows", bars, folded=True)],
        recipe_yaml=f"task: arrow_of_time\nwhere: {long} {long}\n",
        facts={"device": "cpu", "data": f"/{long}/{long}", "plan": {"lr": 0.0125, "milestone_steps": (1, 2)}},
        command=f"sslkit pretrain --task aot --data {long} --out {long}",
    )  # fmt: skip


@pytest.fixture(scope="session")
def pages(toybox: Path, clip_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, with real content but for the crowded one."""
    at = tmp_path_factory.mktemp("pages")
    crowded = at / "crowded.html"
    page.write(crowded, _crowded())
    jobs.pretrain("aot", data=[toybox], out=at / "aot", tiny=True, overrides=TINY, device="cpu", workers=0)
    (judged,) = jobs.arrow([clip_file], at / "aot", at / "arrow", device="cpu")
    assert "error" not in judged.fields
    run, on = [at / "rotation"], [at / "stills"]
    prepare("toybox", "", on[0], PrepareSettings(short_side_px=64, clips=0, stills=60))
    jobs.pretrain("rotation", data=on, out=run[0], tiny=True, overrides=TINY, device="cpu", workers=0)
    jobs.browse("aot", data=[toybox], out=at, tiny=True, overrides=TINY, samples=4)
    probe = ["clips=1", "pool_dims=100", "weight_decays=[0.1]"]
    jobs.probe(run, on, ["random"], "linear", overrides=probe, out=at / "probe", device="cpu", workers=0)
    jobs.finetune(run, on, ["random"], overrides=SMALL, out=at / "finetune", device="cpu", workers=0)
    jobs.compare([at / "probe", at / "probe"], at / "compare")
    jobs.duplicates(on, at / "duplicates")
    jobs.audit("aot", [toybox], out=at / "audit", steps=2, overrides=TINY, device="cpu", workers=0)
    jobs.bench(["roofline"], out=at / "bench", device="cpu")
    jobs.pretrain("avol", data=[toybox], out=at / "avol", tiny=True, overrides=TINY, device="cpu", workers=0)
    for demo in (
        jobs.retrieve([clip_file], [toybox], "sight", at / "avol", out=at / "retrieve", device="cpu"),
        jobs.localize_sound([clip_file], at / "avol", out=at / "localised", device="cpu"),
    ):
        assert not [result.fields for result in demo if "error" in result.fields]
    return {
        "crowded": crowded,
        "run, correspondence": at / "avol" / "report.html",
        "retrieve": at / "retrieve" / "retrieve.html",
        "localize-sound": at / "localised" / "localize-sound.html",
        "compare": at / "compare" / "compare.html",
        "duplicates": at / "duplicates" / "duplicates.html",
        "audit": at / "audit" / "audit.html",
        "bench": at / "bench" / "bench.html",
        "run, arrow of time": at / "aot" / "report.html",
        "run, rotation": at / "rotation" / "report.html",
        "arrow": at / "arrow" / "arrow.html",
        "browse": at / "browse.html",
        "probe": at / "probe" / "probe.html",
        "finetune": at / "finetune" / "finetune.html",
    }


def _complaints(seen: list[dict[str, Any]]) -> list[str]:
    """Errors of the console, and everything that was fetched besides the page itself."""
    found = [str(e["params"]) for e in seen if e["method"] == "Runtime.exceptionThrown"]
    found += [e["params"]["entry"]["text"] for e in seen if e["method"] == "Log.entryAdded"]
    found += [str(e["params"]["args"]) for e in seen if e["method"] == "Runtime.consoleAPICalled"]
    fetched = [e["params"]["request"]["url"] for e in seen if e["method"] == "Network.requestWillBeSent"]
    return found + [url for url in fetched[1:] if not url.startswith("data:")]


@pytest.mark.parametrize("kind", KINDS)
def test_pages_read_well_at_every_width_and_in_both_schemes(kind: str, pages: dict[str, Path], browser: Any) -> None:
    for width in (PHONE_PX, DESK_PX):
        for scheme in ("light", "dark"):
            browser.show(pages[kind], width, scheme)
            faults = browser.ask(FAULTS)
            where = f"{kind}, {width} px, {scheme}"
            assert not faults, f"{where}:\n" + "\n".join(faults[:20])
            assert not _complaints(browser.seen), where
            dark = browser.ask("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c < 60)")
            assert dark == (scheme == "dark"), where


def test_the_checks_find_what_they_look_for(browser: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><body style="background:#fff"><p style="font-size:9px">small</p><p style="color:#aaa">pale</p>'
        '<img src="data:image/png;base64,AAAA" alt="broken"><div style="width:3000px">wide</div>'
        '<svg width="50" height="50" viewBox="0 0 100 100"><text y="50" font-size="16">tiny</text></svg>'
        '<script>console.error("oh"); nothing.at.all; </script><img src="http://127.0.0.1:9/x.png">'
    )
    browser.show(bad, PHONE_PX, "light")
    faults = "\n".join(browser.ask(FAULTS))
    for fault in ("9.0 px: P small", "contrast 2.32: P pale", "not loaded: IMG broken", "px wide", "8.0 px: text tiny"):
        assert fault in faults, faults
    complaints = "\n".join(_complaints(browser.seen))
    assert "oh" in complaints and "nothing is not defined" in complaints and "http://127.0.0.1:9/x.png" in complaints
