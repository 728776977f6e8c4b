"""Whom the leaderboard compares with whom: a method with its own baselines, means over as many clips."""

import pandas as pd
import pytest
from browser import act

from mind_animator.metrics.registry import find_metric
from mind_animator.report.leaderboard import build_leaderboard

# mean of SSIM (and of EPE), clips scored of 10
METHODS = {
    "a": (0.30, 10), "a_frozen": (0.20, 10), "b": (0.50, 10), "b_frozen": (0.60, 10), "partial": (0.70, 3),
    "flat_mean": (0.10, 10),
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Class and tooltip of every method's cells, and the key."""
    rows = []
    for method, (mean, clips) in METHODS.items():
        for name in ("ssim", "epe"):
            entry = find_metric(name)
            rows.append(
                {
                    "dataset": "d", "method": method, "subject": "all", "clips": "all", "metric": name,
                    "label": entry.label, "unit": entry.unit, "direction": entry.direction,
                    "definition": "published", "mean": mean, "low": mean - 0.01, "high": mean + 0.01, "level": 0.95,
                    "n_clips": clips, "n_expected": 10, "n_blocks": clips, "status": "ok",
                }
            )  # fmt: skip
    page = tmp_path_factory.mktemp("page") / "leaderboard.html"
    page.write_text(
        build_leaderboard(
            pd.DataFrame(rows), baselines=["a_frozen", "b_frozen", "flat_mean"],
            baselines_of={"a_frozen": "a", "b_frozen": "b"},
        )
    )  # fmt: skip
    return act(
        page,
        """
        const rows = [...document.getElementById("scores").tBodies[0].rows];
        const name = row => row.cells[0].firstChild.textContent.replaceAll("\\u200b", "");
        const cells = Object.fromEntries(rows.map(row => [name(row),
          [...row.cells].slice(1).map(cell => [cell.className, cell.title])]));
        return {cells, key: document.querySelector(".key").innerText, text: rows.map(row => row.innerText)};
        """,
    )


def test_a_method_is_measured_from_its_own_baselines(drawn):
    cells = drawn["cells"]
    ssim = {method: cells[method][0] for method in ("a", "b", "partial")}
    assert "best baseline a_frozen .200: ahead by .100" in ssim["a"][1]
    assert "above" in ssim["a"][0] and "below" in ssim["b"][0]
    assert "best baseline b_frozen .600: behind by .100" in ssim["b"][1]
    assert "best baseline b_frozen .600: ahead" in ssim["partial"][1]  # no baselines of its own: all of them
    assert (
        "best baseline flat_mean .100: behind by .200" in cells["a"][1][1]
    )  # lower is better, nobody's frames


def test_fewer_clips_are_marked_and_never_the_best(drawn):
    best = [
        [method for method, found in drawn["cells"].items() if "best" in found[column][0]]
        for column in (0, 1)
    ]
    assert best == [["b"], ["a"]]
    partial = next(text for text in drawn["text"] if text.startswith("partial"))
    assert partial.count("\u2020") == 2
    assert "\u2020 some clips are not scored" in drawn["key"]
