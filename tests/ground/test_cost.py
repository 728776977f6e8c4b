"""The cost model adds up, and follows the sizes that it says it follows."""

import dataclasses

import pytest

from mind_animator.cost import CONSTANTS, Scale, cost_table

SCALE = Scale(
    subjects=3, clips=5520, train_clips=4320, test_clips=1200, frames=8, size=512, voxels=4500, vertices=59412,
    steps=50, inversion_steps=50, generators=1, vaes=1, methods=6,
    epochs={"semantic": 30, "structure": 75, "motion": 70},
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


def test_the_total_is_the_sum_and_start_up_counts_once_a_job():
    few = cost_table({"train_decoder": 9, "report": 1}, SCALE)
    many = cost_table({"train_decoder": 18, "report": 1}, SCALE)
    assert few["jobs"].iloc[-1] == 10 and hours(few, "total") == pytest.approx(few["gpu_hours"][:-1].sum())
    assert hours(many, "train_decoder") - hours(few, "train_decoder") == pytest.approx(9 * 60 / 3600)
    assert hours(few, "report") == 0


def test_every_constant_says_where_it_is_from():
    assert {constant.source for constant in CONSTANTS.values()} == {"measured", "computed", "yours"}
    assert all(constant.note and constant.unit for constant in CONSTANTS.values())


def test_what_is_fetched_is_kept():
    table = cost_table({"fetch_file": 2, "report": 1}, SCALE, fetched={"fetch_file": 10**9}).set_index("rule")
    assert table.loc["fetch_file", ["fetched_bytes", "kept_bytes"]].tolist() == [10**9, 10**9]
    assert table.loc["total", "kept_bytes"] == 10**9 and table.loc["report", "kept_bytes"] == 0
    fetched = {"encode_frames": 10**9}
    made, both = (cost_table({"encode_frames": 1}, SCALE, fetched=of) for of in ({}, fetched))
    assert both["kept_bytes"].iloc[-1] - made["kept_bytes"].iloc[-1] == 10**9 < both["kept_bytes"].iloc[-1]
