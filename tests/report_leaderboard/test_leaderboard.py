"""The leaderboard: one self-contained page, drawn by a real browser, wide and narrow."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
from browser import act, document, screenshot
from PIL import Image

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.errors import InputError
from mind_animator.metrics.registry import find_metric
from mind_animator.report.leaderboard import (
    ClipVideo,
    build_leaderboard,
    chance_of,
    read_published,
    side_by_side,
)
from workflow_scripts.build_leaderboard import main

METHODS = {"mind_animator": 0.31, "ridge": 0.42, "flat_mean": 0.39, "frozen": 0.2, "split_half_oracle": 0.9}


def summary(dataset="demo", subjects=("1", "pooled")):
    rows = []
    for subject in subjects:
        for method, value in METHODS.items():
            for name in ("vifi_score", "ssim", "psnr", "epe"):
                entry = find_metric(name)
                mean = np.nan if name == "vifi_score" else value * (10 if name == "psnr" else 1)
                rows.append(
                    {
                        "dataset": dataset,
                        "method": method,
                        "subject": subject,
                        "clips": "all",
                        "metric": name,
                        "label": entry.label,
                        "unit": entry.unit,
                        "direction": entry.direction,
                        "definition": "published" if entry.published else "ours",
                        "mean": mean,
                        "low": mean - 0.01,
                        "high": mean + 0.01,
                        "level": 0.95,
                        "n_clips": 0 if np.isnan(mean) else 239,
                        "n_expected": 240,
                        "n_blocks": 24,
                        "status": "1 clips: <b>broken</b>",
                    }
                )
    return pd.DataFrame(rows)


def video(rng):
    ground_truth, prediction = (rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8) for _ in range(2))
    return side_by_side(ground_truth, prediction, 4.0)


def embedded(page):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1)
    return json.loads(text)


def test_page_is_self_contained_and_its_data_whole(rng):
    page = build_leaderboard(
        summary(),
        baselines=["flat_mean", "frozen"],
        videos=[ClipVideo("demo", "ridge", "1", "c", video(rng))],
    )
    assert not re.findall(r"""(?:src|href)=["']?https?:|@import|url\(""", page)
    data = embedded(page)
    assert len(data["scores"]) == 2 * 5 * 4
    assert [row["mean"] for row in data["scores"] if row["metric"] == "vifi_score"] == [None] * 10
    assert data["videos"][0]["source"].startswith("data:video/mp4;base64,")
    assert "<b>broken" not in page  # a status cannot become markup


def test_published_values_are_as_printed_and_sourced():
    table = read_published().set_index(["method", "dataset", "metric"])
    assert table.loc[("Mind-Animator", "CC2017", "SSIM"), "value"] == ".321"
    assert table.loc[("NeuroClips", "CC2017", "SSIM"), "value"] == ".390"
    assert table.loc[("Wang et al.", "CC2017", "PSNR"), "value"] == "11.043"
    assert table["source"].str.len().min() > 0
    assert not table.index.duplicated().any()
    # what was read in a re-evaluation by others is marked
    assert set(table.loc["SemVideo"]["second_hand"]) == {"yes"}
    assert table.loc[("Mind-Animator (CC2017 and external videos)", "CC2017", "EPE"), "value"] == "5.520"
    assert set(table.loc["Wang et al."]["source"]) == {"rerun by Mind-Animator (project page)"}


def test_chance_of_published_accuracies():
    """By simulation for n-way accuracies with three targets; two published accuracies on CC2017 lie below it."""
    generator = np.random.default_rng(0)
    for n in (2, 50):
        draws = generator.random((20_000, n + 2))  # three targets, then n - 1 distractors
        hits = (draws[:, :3].max(axis=1) > draws[:, 3:].max(axis=1)).mean()
        assert abs(hits - chance_of(f"{n}-way-I")) < 4 * np.sqrt(0.25 / len(draws))
    assert chance_of("retrieval top-10, 1,200 candidates") == pytest.approx(100 / 120)
    assert np.isnan(chance_of("SSIM"))
    table = read_published()
    below = table[
        (table["value"].astype(float) < table["chance"])
        & (table["dataset"] == "CC2017") & (table["metric"] == "2-way-I")
    ]  # fmt: skip
    assert set(below["method"]) == {"Nishimoto et al.", "Wang et al."}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    videos = [ClipVideo("demo", "ridge", "1", f"test1-{n:05d}", video(rng)) for n in (0, 60)]
    table = pd.concat([summary(), summary("CC2017", ("2",))], ignore_index=True)
    text = build_leaderboard(
        table, baselines=["flat_mean", "frozen"], oracles=["split_half_oracle"], videos=videos
    )
    (folder / "leaderboard.html").write_text(text)
    return folder / "leaderboard.html"


def test_browser_draws_filters_baselines_and_videos(page):
    drawn = html.unescape(document(page, "#videos=ridge"))
    head = drawn[drawn.index('id="scores"') : drawn.index("</thead>")]
    assert head.replace("\u2011", "-").count("<th>") == 5
    body = drawn[drawn.index("<tbody>") : drawn.index("</tbody>")]
    assert re.findall(r'<tr class="(\w*)"', body) == ["", "", "baseline", "baseline", "oracle"]
    assert "; split_half_oracle .900; best baseline" in body
    # ridge's SSIM .42 lies clear of the best baseline .39, mind_animator's .31 below it
    assert "ahead by .030" in body
    assert "behind by .080" in body
    assert body.count('class="value above') >= 1
    assert "95 % interval .410 to .430" in body
    assert "239 of 240 clips" in body
    assert drawn.count("<video") == 2
    assert '<option value="CC2017">' in drawn
    published = drawn[drawn.index('id="quoted"') :]
    assert "NeuroClips, 2024" in published
    assert re.search(r"<td>Chance</td><td[^>]*>\.750</td>.*<td[^>]*>\.058</td>", published)
    assert published.count('class="below"') == 3  # 2-way-I of Nishimoto and Wang, and a retrieval rate
    assert ".834*" in published


def test_a_visitor_sorts_filters_points_and_plays(page):
    """By hand, as it were: headings, menus, a cell under the pointer, a video that really plays."""
    found = act(
        page,
        """
        const table = document.getElementById("scores");
        const methods = () => [...table.tBodies[0].rows].map(row => row.cells[0].firstChild.textContent
          .replaceAll("\\u200b", ""));
        const heading = name => [...table.tHead.querySelectorAll("button")].find(b => b.textContent.startsWith(name));
        const choose = (id, value) => { const menu = document.getElementById(id); menu.value = value;
          menu.dispatchEvent(new Event("change")); };
        const found = {before: methods()};
        found.columns = [...table.tHead.querySelectorAll("button")].map(b => b.firstChild.textContent);
        click(heading("SSIM"));
        found.best_first = methods();
        click(heading("SSIM"));
        found.best_last = methods();
        click(heading("EPE"));
        found.least_error_first = methods();
        const cell = table.tBodies[0].rows[0].cells[1];
        hover(cell);
        const detail = document.getElementById("detail");
        found.detail = [detail.textContent, getComputedStyle(detail).display];
        cell.dispatchEvent(new MouseEvent("mouseleave"));
        found.left = getComputedStyle(detail).display;
        choose("definition", "ours");
        found.ours = table.tHead.querySelectorAll("button").length;
        choose("definition", "");
        choose("dataset", "CC2017");
        found.subjects = [...document.getElementById("subject").options].map(option => option.value);
        found.links_elsewhere = document.querySelectorAll("button.method").length;
        choose("dataset", "demo");
        choose("subject", "1");
        click([...document.querySelectorAll("button.method")].find(b => b.textContent === "ridge"));
        const video = document.querySelector("#videos video");
        for (let i = 0; i < 600 && !(video.currentTime > 0.2); i++) await wait(50);
        found.video = [video.currentTime > 0.2, video.videoWidth > 0, video.paused];
        found.outside = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:"));
        return found;
        """,
    )
    falling = ["split_half_oracle", "ridge", "flat_mean", "mind_animator", "frozen"]
    assert found["before"] == list(METHODS)
    assert found["columns"] == ["SSIM", "PSNR", "EPE", "VIFI\u2011score"]  # what was not computed stands last
    assert found["best_first"] == falling
    assert found["best_last"] == falling[::-1]
    assert found["least_error_first"] == falling[::-1]
    text, display = found["detail"]
    assert text.startswith(
        "frozen, SSIM: .200, 95 % interval .190 to .210; 239 of 240 clips; higher is better"
    )
    assert display == "block" and found["left"] == "none"
    assert found["ours"] == 1  # epe
    assert found["subjects"] == ["2"]
    assert found["links_elsewhere"] == 0  # that data set has no videos here
    assert found["video"] == [True, True, False]
    assert found["outside"] == []


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_overflows(page, width, tmp_path):
    """At the phone's width only the tables scroll, each in its own box."""
    capture = tmp_path / f"leaderboard-{width}.png"
    screenshot(page, capture, width, fragment="#videos=ridge")
    with Image.open(capture) as image:
        pixels = np.asarray(image.convert("RGB"))[:, :width]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # something was drawn
    ground = np.array([245, 247, 251])
    assert np.abs(pixels[:, -3:].astype(int) - ground).max() <= 3  # the page's margin is free at the right


def test_script(tmp_path, rng):
    clips = [f"c{n}" for n in range(3)]
    for name in ("ground_truth", "made"):
        write_arrays(
            tmp_path / f"{name}.h5",
            {"frames": rng.integers(0, 256, (3, 4, 16, 16, 3), dtype=np.uint8)},
            clips,
            {"rate": 4.0},
        )
    write_table(tmp_path / "summary.tsv", summary())
    given = [
        "--summaries",
        str(tmp_path / "summary.tsv"),
        "--baselines",
        "frozen",
        "--page",
        str(tmp_path / "page.html"),
    ]
    videos = ["--videos", f"ridge/1={tmp_path / 'made.h5'}", "--clips", "2"]
    with pytest.raises(InputError, match="Expected --ground-truth and --dataset"):
        main([*given, *videos])
    main([*given, *videos, "--ground-truth", str(tmp_path / "ground_truth.h5"), "--dataset", "demo"])
    data = embedded((tmp_path / "page.html").read_text())
    assert [entry["clip"] for entry in data["videos"]] == ["c0", "c2"]


def test_empty_summary():
    with pytest.raises(ValueError, match="Expected at least one score"):
        build_leaderboard(summary()[:0], baselines=[])
