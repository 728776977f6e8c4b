"""The comparison of all methods: paired differences in the direction of the reader, evidence, training cost."""

import pandas as pd

from mind_animator.artefacts.tables import write_table
from workflow_scripts.make_report import _comparison


def score(method, metric, direction, mean):
    return {
        "method": method, "subject": "pooled", "clips": "all", "metric": metric, "label": metric.upper(),
        "direction": direction, "mean": mean, "group": "pixel",
    }  # fmt: skip


def paired(method, other, metric, statistic, p):
    return {
        "test": "paired", "clips": "all", "subject": "pooled", "method": method, "other": other, "metric": metric,
        "statistic": statistic, "p": p, "p_holm": p,
    }  # fmt: skip


SCORES = pd.DataFrame(
    score(method, metric, direction, mean)
    for metric, direction, means in (("ssim", "higher", (0.3, 0.4, 0.5)), ("epe", "lower", (2.0, 1.0, 0.5)))
    for method, mean in zip(("ours", "ridge", "rival"), means, strict=True)
)
TESTS = pd.DataFrame([
    paired("ours", "ridge", "ssim", -0.1, 0.0001), paired("ours", "rival", "ssim", -0.2, 0.0001),
    paired("ridge", "rival", "ssim", -0.1, 0.2), paired("ridge", "rival", "epe", 0.5, 0.0005),
    paired("ours", "rival", "epe", 1.5, 0.0001), paired("ours", "ridge", "epe", 1.0, 0.0001),
])  # fmt: skip


def test_every_method_is_compared_with_each_shown_method(tmp_path):
    for part, seconds in (("a", 20.0), ("b", 30.0)):
        write_table(
            tmp_path / f"benchmarks/train_part/rival/sub-1-{part}.tsv", pd.DataFrame({"s": [seconds]})
        )
    section = _comparison(SCORES, TESTS, ["ours", "ridge"], set(), tmp_path / "benchmarks", tmp_path)
    against_ours, against_ridge = section.tables
    assert against_ours.head == ["", "ours", "ridge", "rival"]
    rows = {row[0]: row[1:] for row in against_ridge.groups[0].rows}
    ssim, epe = rows["SSIM ↑"], rows["EPE ↓"]
    assert [cell.text for cell in ssim] == ["0.300", "0.400", "0.500"]
    assert [cell.note for cell in ssim] == ["-0.100, p = 0.0001", "reference", "+0.100, p = 0.2000"]
    assert [cell.strong for cell in ssim] == [False, False, False]
    # a lower error is better, whichever of the two the test names first
    assert epe[2].note == "-0.500, p = 0.0005" and epe[2].strong and not epe[0].strong
    assert rows["training of all parts and subjects, s"] == ["–", "–", "50"]
    assert section.figures[0].source.startswith("data:image/svg+xml")


def test_two_methods_need_no_comparison(tmp_path):
    assert _comparison(SCORES, TESTS, ["ours", "ridge"], {"rival"}, None, tmp_path) is None
