"""Padded batches cover a shard once, at places that no sharding changes; finished ones are kept."""

import numpy as np
import pytest

from mind_animator.diffusion.shards import FinishedBatches, array_digest, plan_batches, process_shard


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("shard", [1, 5, 8, 100])
def test_every_clip_has_one_position_for_any_sharding(size, shard):
    total, position_of = 29, {}
    for first in range(0, total, shard):
        count = min(shard, total - first)
        for batch in plan_batches(first, count, size):
            assert len(batch.rows) == size
            assert all(0 <= row < count for row in batch.rows)
            for position in batch.kept:
                clip = first + batch.rows[position]
                assert clip not in position_of
                position_of[clip] = (batch.index, position)
    assert position_of == {clip: divmod(clip, size) for clip in range(total)}


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match=r"Expected first >= 0, count >= 1 and size >= 1, got 0, 0, 8\."):
        plan_batches(0, 0, 8)


def test_a_killed_shard_goes_on_where_it_was(tmp_path):
    clips = [f"seg1-{index:05d}" for index in range(10, 31)]
    values = np.arange(21.0)[:, None] * np.ones((21, 2))
    worked = []

    def work(rows, limit=None):
        if limit is not None and len(worked) == limit:
            raise KeyboardInterrupt
        worked.append(tuple(rows))
        return {"double": 2 * values[list(rows)], "row": np.array(rows)}

    state = tmp_path / "out.state"
    with pytest.raises(KeyboardInterrupt):
        process_shard(clips, 10, 4, lambda rows: work(rows, 3), FinishedBatches(state, "a"), title="Test")
    assert len(worked) == 3
    finished = FinishedBatches(state, "a")
    results = process_shard(clips, 10, 4, work, finished, title="Test")
    assert len(worked) == len(set(worked)) == len(plan_batches(10, 21, 4)) == 6
    np.testing.assert_array_equal(results["double"], 2 * values)
    np.testing.assert_array_equal(results["row"], np.arange(21))
    finished.remove()
    assert not state.exists()


def test_state_of_another_run_is_thrown_away(tmp_path):
    clips, worked = ["a-00000", "a-00001"], []

    def work(rows):
        worked.append(rows)
        return {"x": np.zeros((len(rows), 1))}

    state = tmp_path / "out.state"
    for stamp, runs in (("a", 1), ("a", 1), ("b", 2), ("a", 3)):
        process_shard(clips, 0, 2, work, FinishedBatches(state, stamp), title="Test")
        assert len(worked) == runs
    (state / "stamp.json").write_text("{")  # half a file
    process_shard(clips, 0, 2, work, FinishedBatches(state, "a"), title="Test")
    assert len(worked) == 4


def test_digest_sees_values_names_shapes_and_types():
    x = np.arange(6.0)
    variants = [{"x": x}, {"y": x}, {"x": x.reshape(2, 3)}, {"x": x.astype(np.float32)}, {"x": x + 1e-12}]
    assert len({array_digest(arrays) for arrays in variants}) == len(variants)
    assert array_digest({"x": x[::2]}) == array_digest({"x": x[::2].copy()})
