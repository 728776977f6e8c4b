"""The page: one file with nothing fetched from outside, read and played by a real browser, wide and narrow."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import document, screenshot
from PIL import Image

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.metrics.registry import find_metric
from mind_animator.report.page import Section, Table, build_page, data_uri, enlarge, side_by_side
from workflow_scripts.make_report import main

METHODS = ("mind_animator", "ridge", "frozen")
DOT_SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9"/></svg>'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that the script made of small inputs: two subjects, two methods and a baseline."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(7)
    clips = [f"test-{index:05d}" for index in range(5)]
    for name in ("ground_truth", "mind_animator", "ridge"):
        frames = rng.integers(0, 256, (5, 8, 32, 32, 3), dtype=np.uint8)
        write_arrays(folder / f"{name}.h5", {"frames": frames}, clips, {"rate": 4.0})
    write_table(folder / "captions.tsv", pd.DataFrame({"clip": clips, "caption": "a <fish> & a car"}))
    write_table(folder / "summary.tsv", summary())
    write_table(folder / "tests.tsv", table_of_tests())
    write_table(folder / "retrieval.tsv", retrieval())
    row = {"epoch": 0, "train_loss": None, "validation_loss": 1.0}
    history = {"history": [row, row | {"epoch": 1, "train_loss": 0.8, "validation_loss": 0.9}]}
    (folder / "semantic.json").write_text(json.dumps(history))
    idle = {"history": [row, row | {"epoch": 1, "validation_loss": 1.1}], "settings": {"linear": {}}}
    (folder / "motion.json").write_text(json.dumps(idle))
    stack = {"text": {"ridge": 0.2, "joint": 0.8}, "flow": {"ridge": 1.0, "joint": 0.0}}
    r2 = {"text": {"ridge": 0.5, "stack": 0.6}, "flow": {"ridge": 0.25, "stack": 0.25}}
    (folder / "decoders.json").write_text(json.dumps({"stack": stack, "out_of_fold_r2": r2, "history": []}))
    (folder / "dag.svg").write_text(DOT_SVG)
    Image.fromarray(frames[0, 0]).save(folder / "figure.png")
    record = {
        "mind_animator": "1", "commit": "abc", "code": {}, "packages": {"torch": "2"}, "python": "3.11", "models": {},
        "machine": {"system": "Linux"}, "config": {
            "seed": 5, "device": "cpu", "reconstruction": {"motion": "warped"}, "stimuli": {"frames": 8},
        }, "data": {"summary": "5 test clips"},
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(record))
    videos = [f"{m}/{s}={folder / m}.h5" for s in (1, 2) for m in METHODS[:2]]
    main([
        "--title", "A page", "--ground-truth", f"{folder}/ground_truth.h5", "--captions", f"{folder}/captions.tsv",
        "--rate", "4",
        "--oracles", "split_half_oracle", "--videos", *videos,
        "--summary", f"{folder}/summary.tsv", "--tests", f"{folder}/tests.tsv",
        "--retrieval", f"{folder}/retrieval.tsv", "--histories", f"mind_animator/1/semantic={folder}/semantic.json",
        f"mind_animator/2/motion={folder}/motion.json", f"closed/1/decoders={folder}/decoders.json",
        "--lag", f"1={folder}/figure.png", "--maps", f"mind_animator/1={folder}/figure.png", "--dag",
        f"{folder}/dag.svg", "--provenance", f"{folder}/provenance.json", "--page", f"{folder}/index.html",
    ])  # fmt: skip
    return folder / "index.html"


def described(name: str) -> dict[str, str]:
    metric = find_metric(name)
    return {
        "label": metric.label, "group": metric.group, "unit": metric.unit, "direction": metric.direction,
        "definition": "published" if metric.published else "ours",
    }  # fmt: skip


def summary() -> pd.DataFrame:
    means = {
        ("ssim", "mind_animator"): 0.5, ("ssim", "ridge"): 0.4, ("ssim", "frozen"): 0.3,
        ("ssim", "split_half_oracle"): 0.9,
        ("epe", "mind_animator"): 2.0, ("epe", "ridge"): 1.0, ("epe", "frozen"): float("nan"),
    }  # fmt: skip
    rows = [
        {"method": method, "subject": subject, "clips": "all", "metric": name, "mean": mean, "low": mean - 0.01,
         "high": mean + 0.01, "level": 0.95, "n_clips": 5, "status": "ok" if mean == mean else "no flow",
         **described(name)}
        for subject in ("1", "2", "pooled") for (name, method), mean in means.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def table_of_tests() -> pd.DataFrame:
    rows = [("above_chance", "ssim", "", 0.2, 0.0001), ("motion_pairing", "flow_cosine", "", 0.6, 0.25)]
    every = [
        {"test": test, "method": method, "other": other, "subject": subject, "metric": name, "statistic": statistic,
         "score": 0.5, "p": p}
        for subject in ("1", "2") for method in METHODS for test, name, other, statistic, p in rows
    ]  # fmt: skip
    paired = {"test": "paired", "method": "mind_animator", "other": "ridge", "subject": "1", "score": np.nan,
              "metric": "target_change_corr", "statistic": -0.004, "p": 0.43}  # fmt: skip
    oracle = paired | {"other": "split_half_oracle", "statistic": -0.321}
    return pd.DataFrame([*every, paired, oracle]).assign(clips="all")


def retrieval() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": "ridge", "subject": "1", "embedding": "text", "candidates_set": "small", "n_candidates": 5,
             "metric": f"top_{k}", "value": k / 5, "low": k / 6, "high": 1.0, "chance": k / 50}
            for k in (1, 4)
        ]
    )  # fmt: skip


def fetched(text: str) -> list[str]:
    """Everything that a page loads or links to."""
    return re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', text) + re.findall(
        r"url\(([^)]*)\)", text
    )


def test_nothing_comes_from_outside(page: Path):
    text = page.read_text()
    links = fetched(text)
    assert len(links) > 20
    assert all(link.startswith(("data:", "#")) for link in links)
    anchors = [link[1:] for link in links if link.startswith("#")]
    assert all(f'<section id="{anchor}">' in text for anchor in anchors)
    assert "@import" not in text and "<link" not in text


def test_every_part_is_there(page: Path):
    ids = re.findall(r'<section id="([^"]+)">', page.read_text())
    assert ids == ["glance", "parts", "subject-1", "subject-2", "scores", "retrieval", "tests", "maps", "training",
    "lag",
                   "workflow", "provenance"]  # fmt: skip


def test_the_page_states_which_parts_were_idle(page: Path):
    """A decoder whose best epoch is 0, and the inflated network where it draws one frame."""
    text = page.read_text()
    parts = text[text.index('id="parts"') : text.index('id="subject-1"')]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in parts.split("<tr>")[2:]]
    cells_of = {row[0].split("<")[0]: row[1:] for row in rows if row}
    assert cells_of["semantic decoder"] == ["at work<small>epoch 1 of 1 kept</small>", ""]
    assert cells_of["motion decoder"] == ["", "idle<small>epoch 0 of 1 kept: linear baseline alone</small>"]
    assert cells_of["inflated generator"] == ["idle<small>one frame per clip: an image network</small>"] * 2
    assert cells_of["second stage, text"] == ["at work<small>R2 out of fold 0.600; ridge 0.500</small>", ""]
    assert cells_of["second stage, flow"] == ["idle<small>ridge regression alone</small>", ""]
    assert "6 of 8 trained or sampled parts were idle" in parts


def test_scores_are_next_to_their_baselines_and_the_best_is_bold(page: Path):
    text = page.read_text()
    scores = text[text.index('id="scores"') : text.index('id="retrieval"')]
    first = scores[: scores.index("</table>")]
    row = next(row for row in first.split("<tr>") if "SSIM ↑" in row)
    assert re.findall(r"<td[^>]*>(.*?)</td>", row)[1:5] == [
        "<b>0.500</b><small>0.490 – 0.510</small>",
        "0.400<small>0.390 – 0.410</small>",
        "0.300<small>0.290 – 0.310</small>",
        "0.900<small>0.890 – 0.910</small>",  # the oracle is never the best
    ]
    row = next(row for row in first.split("<tr>") if "EPE ↓" in row)
    assert "<b>1.000</b>" in row and "not computed: no flow" in row
    assert '<th class="faint">frozen</th>' in first and "<th>ridge</th>" in first
    assert scores.count("<details>") == 2  # one per subject, below the table of all


def test_tests_state_their_p_and_baselines_are_controls(page: Path):
    text = page.read_text()
    part = text[text.index('id="tests"') : text.index('id="maps"')]
    assert part.count("<b>+0.200</b><small>p = 0.0001</small>") == 6
    assert "+0.600<small>p = 0.25</small>" in part and "-0.004<small>p = 0.43</small>" in part
    assert "split_half_oracle" not in part and "-0.321" not in part  # nothing has to beat the oracle
    controls = part[part.index("<details>") :]
    assert "frozen, subject 1" in controls and "ridge, subject 1" not in controls


def test_captions_are_escaped(page: Path):
    assert "a &lt;fish&gt; &amp; a car" in page.read_text()


def test_a_browser_plays_every_video_without_a_network(page: Path):
    probe = page.with_name("probe.html")
    script = (
        "<script>setInterval(() => {document.body.dataset.state = [...document.querySelectorAll('video')]"
        ".map(v => `${v.readyState >= 3 && !v.error && v.videoWidth}x${v.videoHeight}`).join(' ')}, 200)</script>"
    )
    probe.write_text(page.read_text().replace("</body>", script + "</body>"))
    drawn = document(probe)
    assert re.search(r'data-state="([^"]*)"', drawn)[1].split() == [f"{3 * 192 + 2 * 6}x192"] * 10
    assert drawn.count(">Pause</button>") == 2


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_overflows(page: Path, width: int, tmp_path: Path):
    """Only tables and the drawing scroll, each in its own box."""
    capture = tmp_path / "page.png"
    screenshot(page, capture, width)
    with Image.open(capture) as image:
        pixels = np.asarray(image.convert("RGB"))[:, :width]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # something was drawn
    assert (
        np.abs(pixels[300:, -3:].astype(int) - (244, 246, 251)).max() <= 3
    )  # the margin at the right is free


def test_videos_side_by_side_keep_their_pixels():
    rng = np.random.default_rng(1)
    videos = [rng.integers(0, 255, (3, 4, 4, 3), dtype=np.uint8) for _ in range(2)]
    joined = side_by_side([enlarge(video, 8) for video in videos], gap=2)
    assert joined.shape == (3, 8, 18, 3)
    np.testing.assert_array_equal(joined[:, ::2, 0:8:2], videos[0])
    np.testing.assert_array_equal(joined[:, ::2, 10::2], videos[1])
    assert (joined[:, :, 8:10] == 255).all()


def test_a_data_uri_is_the_file(tmp_path: Path):
    (tmp_path / "a.svg").write_text("<svg/>")
    head, _, body = data_uri(tmp_path / "a.svg").partition(",")
    assert head == "data:image/svg+xml;base64" and base64.b64decode(body) == b"<svg/>"
    with pytest.raises(ValueError, match=r"^Expected one of \['\.mp4', '\.png', '\.svg'\], got a\.gif\.$"):
        data_uri(tmp_path / "a.gif")


def test_an_empty_section_is_refused():
    with pytest.raises(ValueError, match=r"^Expected content in section 'x', got none\.$"):
        build_page("t", "s", [Section("x", "X")])
    assert "<table" in build_page("t", "s", [Section("x", "X", tables=[Table(["a"], [])])])
