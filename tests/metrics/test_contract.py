"""Every metric keeps the contract: docstring, reference, documentation; a new one is one file."""

import inspect
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from mind_animator.artefacts.tables import read_table
from mind_animator.cli import _main as command
from mind_animator.config.models import ModelsConfig
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.metrics import reference
from mind_animator.metrics.base import GROUPS, Network
from mind_animator.metrics.registry import check_models, find_metric, metric_file, open_metrics
from mind_animator.provenance import ROOT

METRICS = reference.documented(open_metrics(["all"]))
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests/metrics").glob("test_*.py"))
OF_FEATURES = {"Retrieval": "retrieval_ranks", "TargetFit": "target_scores"}  # functions that compute them


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_states_formula_range_and_source_and_has_a_reference(metric):
    text = inspect.cleandoc(type(metric).__doc__)
    assert re.search(r"::\n\n    \S", text), "a formula in a literal block"
    assert re.search(r"^Range: .*\d", text, re.MULTILINE)
    assert re.search(r"References\n-+\n\w", text)
    assert metric.group in GROUPS and metric.direction in ("higher", "lower")
    assert metric.low is None or metric.high is None or metric.low < metric.high
    kind = type(metric).__name__
    tests = TESTS + (ROOT / "tests/scoring/test_compare.py").read_text()
    assert OF_FEATURES.get(kind, kind) in tests, "a slow reference in tests/metrics"
    assert find_metric(metric.name).label == metric.label


def test_names_are_unique_and_every_file_defines_one_metric():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    files = {}
    for metric in open_metrics(["all"]):
        files.setdefault(metric_file(metric), set()).add(type(metric))
    assert all(len(kinds) == 1 for kinds in files.values())
    assert [m.name for m in open_metrics(["image_nway", "ssim", "standard"])] == [
        m.name for m in open_metrics(["standard"])
    ]
    assert [m.name for m in open_metrics(["image_7way", "epe"], (2,))] == ["image_7way", "epe"]
    assert find_metric("retrieval_text_large_top10").label == "top-10 (text, large)"
    with pytest.raises(InputError, match="Expected the name of a metric, got 'beauty'"):
        find_metric("beauty")
    with pytest.raises(
        InputError, match=r"config\.scoring\.metrics = 'beauty': must be 'standard', .*'ssim'"
    ):
        open_metrics(["beauty"])


def test_the_page_is_up_to_date():
    page = (ROOT / "docs/metrics.md").read_text()
    assert reference.fill(page, METRICS) == page, "run python -m mind_animator.metrics.reference"


def test_keys_of_models_are_those_of_networks():
    check_models(ModelsConfig(vit="folder"))
    with pytest.raises(InputError, match=r"config\.models\.vti: is not a known key, one of \[.*'vit'"):
        check_models(ModelsConfig.model_validate({"vti": "folder"}))


@pytest.fixture
def mae(tmp_path):
    """The example of the documentation, in a file of the user's own."""
    page = (ROOT / "docs/metrics.md").read_text()
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Mean" in code]
    path = tmp_path / "mae.py"
    path.write_text(code)
    return path


def test_a_metric_of_ones_own_is_one_file(tmp_path, mae, rng):
    """Mean absolute error: in score tables, tests and pages, and nothing of the project is changed."""
    clips = rng.integers(0, 256, (2, 6, 4, 24, 24, 3), dtype=np.uint8)
    for side, frames in zip(("truth", "made"), clips, strict=True):
        (tmp_path / side).mkdir()
        for number, clip in enumerate(frames):
            (tmp_path / side / str(number)).mkdir()
            for index, frame in enumerate(clip):
                Image.fromarray(frame).save(tmp_path / side / str(number) / f"{index}.png")
    out = tmp_path / "out"
    names = [metric.name for metric in open_metrics(["all"])]
    command(
        ["score", "--ground-truth", str(tmp_path / "truth"), "--pred", f"ours={tmp_path / 'made'}", "--no-models",
         "--metrics", "standard", str(mae), "--permutations", "99", "--videos", "0", "--block", "2", "--workers", "2",
         "--per-frame", "--out", str(out)]
    )  # fmt: skip
    assert [metric.name for metric in open_metrics(["all"])] == names  # chosen by its file alone
    expected = np.abs(clips[0].astype(int) - clips[1]).mean(axis=(1, 2, 3, 4))
    table = read_table(out / "clips.tsv")
    own = table[table["method"] == "ours"]
    np.testing.assert_allclose(own["mae"].astype(float), expected, rtol=1e-8)
    summary = read_table(out / "summary.tsv").set_index(["method", "metric"])
    row = summary.loc[("ours", "mae")]
    assert row["mean"] == pytest.approx(expected.mean()) and row["low"] < row["mean"] < row["high"]
    assert [row["label"], row["unit"], row["direction"], row["definition"]] == [
        "mean absolute error", "level", "lower", "ours",
    ]  # fmt: skip
    assert summary.loc[("flat_mean", "mae"), "mean"] < row["mean"]
    tests = read_table(out / "tests.tsv")
    of_mae = tests[(tests["metric"] == "mae") & (tests["method"] == "ours")].set_index("test")
    pairs = np.abs(clips[0][None].astype(int) - clips[1][:, None]).mean(axis=(2, 3, 4, 5))
    blocks = np.arange(6).reshape(3, 2)
    others = [
        pairs[blocks[b, o], blocks[c, o]] for b in range(3) for c in range(3) if b != c for o in range(2)
    ]
    assert of_mae.loc["above_chance", "alternative"] == "less"
    assert of_mae.loc["above_chance", "statistic"] == pytest.approx(expected.mean() - np.mean(others))
    assert set(of_mae.loc["paired", "other"]) == {
        "ours_frozen",
        "ours_shuffled_frames",
        "ours_mismatched",
        "flat_mean",
    }
    metrics = read_table(out / "metrics.tsv").set_index("metric")
    assert metrics.loc["mae", ["lowest", "highest"]].tolist() == [0, 255]
    frames = (out / "frames.csv").read_text()
    assert ",mae," in frames
    assert "mean absolute error" in (out / "index.html").read_text()
    page = tmp_path / "page.md"
    page.write_text("<!-- metric table -->\n<!-- end -->\n<!-- metric reference -->\n<!-- end -->\n")
    arguments = ["--page", str(page), "--metrics", "standard", str(mae)]
    assert reference.main([*arguments, "--check"]) == 1
    reference.main(arguments)
    assert (
        "| `mae` (mean absolute error) | Mean absolute difference of grey levels | 0 to 255 level | lower |"
        in page.read_text()
    )
    assert "mean |t - p|" in page.read_text() and reference.main([*arguments, "--check"]) == 0


def test_faults_of_a_file_of_ones_own_are_one_line(tmp_path, mae):
    source = mae.read_text()
    cases = {
        "absent.py": (None, "expected a Python file at"),
        "broken.py": (
            "import nothing_of_this_name",
            "got ModuleNotFoundError: No module named 'nothing_of_this_name'",
        ),
        "empty.py": ("x = 1", "expected a subclass of Metric in"),
        "nameless.py": (source.replace('"mae"', '""'), "expected class MeanAbsoluteError to define 'name'"),
        "taken.py": (
            source.replace('"mae"', '"ssim"'),
            "expected a new name of a metric, got 'ssim', which is taken",
        ),
    }
    for name, (text, message) in cases.items():
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=re.escape(message)):
            open_metrics([str(tmp_path / name)])


def test_settings_name_metrics():
    assert ScoringConfig().metrics == ("standard",)
    networks = {network.model: network for metric in METRICS for network in metric.networks}
    assert set(type(ModelsConfig()).model_fields) >= {"vit", "videomae", "clip", "vificlip"} <= set(networks)
    for network in networks.values():
        assert isinstance(network, Network) and re.fullmatch(r"([\w.-]+/)?[\w.-]+|", network.model_id)
    assert cv2.__version__  # the metrics of frames need OpenCV and numpy alone
