"""The cost model adds up, and follows the sizes that it says it follows."""

import dataclasses

import pytest
import yaml

from mind_animator.config import load_config
from mind_animator.config.base import merged
from mind_animator.cost import CONSTANTS, Scale, cost_table
from mind_animator.provenance import ROOT
from workflow_scripts.plan_run import scale_of

SCALE = Scale(
    subjects=3, clips=5520, test_clips=1200, frames=8, size=512, scored_size=256, pair_size=64,
    voxels=3 * 4500, vertices=59412, tokens=20, caption_copies=4, crops=4, num_inference_steps=50,
    num_inversion_steps=50, generators=1, vaes=1, methods=6, predicting=2,
    training_steps={"semantic": 3 * 67.5 * 30, "structure": 3 * 67.5 * 75, "motion": 3 * 67.5 * 70},
    weights=3 * 4 * 4500 * (512 + 19 * 768 + 8 * 4 * 64 * 64),
)  # fmt: skip


def hours(table, rule):
    return float(table.set_index("rule").loc[rule, "gpu_hours"])


def test_reconstruction_is_the_published_count_of_operations():
    """1,200 clips x 8 frames x (50 + 2 x 50) forwards, counted by hand, at a GPU that reaches its limit."""
    constants = CONSTANTS | {"efficiency": dataclasses.replace(CONSTANTS["efficiency"], value=1.0)}
    constants["load"] = dataclasses.replace(CONSTANTS["load"], value=0.0)
    table = cost_table({"invert_latents": 1, "reconstruct_clips": 1}, SCALE, constants)
    forwards = 3 * 1200 * 8 * 150 * (0.798 + 0.092)
    decodes = 3 * 1200 * 8 * 2.515
    assert hours(table, "total") == pytest.approx((forwards + decodes) / 788 / 3600, rel=1e-12)


def test_the_total_is_the_sum_and_start_up_counts_once_per_job():
    few = cost_table({"train_part": 9, "report": 1}, SCALE)
    many = cost_table({"train_part": 18, "report": 1}, SCALE)
    assert few["jobs"].iloc[-1] == 10 and hours(few, "total") == pytest.approx(few["gpu_hours"][:-1].sum())
    assert hours(many, "train_part") - hours(few, "train_part") == pytest.approx(9 * 60 / 3600)
    assert hours(few, "report") == 0


def test_every_constant_says_where_it_is_from():
    assert {constant.source for constant in CONSTANTS.values()} == {"measured", "computed", "yours"}
    assert all(constant.note and constant.unit for constant in CONSTANTS.values())


def test_what_is_fetched_is_kept():
    table = cost_table({"fetch_file": 2, "report": 1}, SCALE, fetched={"fetch_file": 10**9}).set_index("rule")
    assert table.loc["fetch_file", ["fetched_bytes", "kept_bytes"]].tolist() == [10**9, 10**9]
    assert table.loc["total", "kept_bytes"] == 10**9 and table.loc["report", "kept_bytes"] == 0
    fetched = {"encode_features": 10**9}
    made, both = (cost_table({"encode_features": 1}, SCALE, fetched=of) for of in ({}, fetched))
    assert both["kept_bytes"].iloc[-1] - made["kept_bytes"].iloc[-1] == 10**9 < both["kept_bytes"].iloc[-1]


def test_the_largest_files_are_counted():
    """Bytes of CC2017 at full size, counted by hand from the shapes of the arrays."""
    rules = (
        "encode_features",
        "train_part",
        "predict",
        "encode_ground_truth",
        "preprocess_subject",
    )
    table = cost_table(dict.fromkeys(rules, 1), SCALE).set_index("rule")["kept_bytes"]
    text, latent = 4 * (512 + 19 * 768), 4 * 4 * 64 * 64
    assert table["encode_features"] == 5520 * 5 * text + 5520 * (8 * latent + 5 * 4 * 512)
    assert table["train_part"] == 3 * 4500 * (text + 8 * latent)
    assert table["predict"] == 2 * 3 * 1200 * (text + 9 * latent)
    assert table["preprocess_subject"] == 3 * (4 * 4500 * (5520 + 2400) + 17 * 59412)
    assert table.drop("total").sum() == table["total"] and 25e9 < table["total"] < 50e9


@pytest.mark.parametrize(("size", "stored"), [(48, 42_170_870), (96, 104_220_271)])
def test_the_ground_truth_file_is_as_large_as_one_that_was_written(size: int, stored: int):
    """Of 40 clips of the demo, whose networks have 60 classes and 16 dimensions, fewer than the published networks."""
    networks = 40 * 4 * (8 * (940 + 2 * 496) + 340)
    scale = dataclasses.replace(SCALE, test_clips=40, scored_size=size, pair_size=min(size, 64))
    table = cost_table({"encode_ground_truth": 1}, scale)
    assert table["kept_bytes"].iloc[0] == pytest.approx(stored + networks, rel=0.04)


def test_the_plan_follows_the_config():
    """Epochs, voxels, methods and steps are the config's own."""
    config = load_config(yaml.safe_load((ROOT / "config/cc2017.yaml").read_text()))
    scale = scale_of(config)
    assert scale == dataclasses.replace(
        SCALE,
        weights=scale.weights,
        training_steps={name: pytest.approx(s) for name, s in SCALE.training_steps.items()},
    )
    ridge = 3 * 4 * 4500 * (512 + 19 * 768 + 8 * 4 * 64 * 64)
    assert scale.weights == ridge + 3 * 3 * 120_000_000
    changed = {
        "methods": {
            "mind_animator": {"kind": "mind_animator", "options": {"motion": {"optimisation": {"epochs": 7}}}}
        }
    }
    changed["fmri"] = {"voxels": {"count": None, "all": True}}
    small = scale_of(load_config(merged(config.model_dump(mode="json"), changed)))
    assert small.training_steps["motion"] == pytest.approx(3 * 67.5 * 7)
    assert small.voxels == 3 * 59412
