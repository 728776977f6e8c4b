"""Maps of decoders against where the synthetic data set planted their signals."""

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import write_arrays
from workflow_scripts.evaluate_maps import main

ROIS = ("L_V1", "R_V2", "L_V4", "L_MT", "R_MST", "R_LO1", "L_FFC")


def written(path, subject, rois, high, rng):
    """A file of maps in which every decoder reads the areas of ``high`` alone."""
    strong = np.isin(rois, high)
    arrays = {"roi": np.array(rois, dtype="S8")}
    for decoder in ("structure", "motion", "semantic"):
        arrays[decoder] = strong + 0.1 * rng.random(len(rois))
        arrays[f"{decoder}_permuted"] = rng.random((200, len(rois)))
    write_arrays(path, arrays, attrs={"subject": subject})
    return path


def test_own_rois_stand_out_and_their_voxels_are_counted(tmp_path, rng):
    rois = np.repeat(ROIS, 5)
    motion = written(tmp_path / "1.h5", "1", rois, ["L_V1", "L_MT", "R_MST"], rng)
    lost = written(tmp_path / "2.h5", "2", rois[~np.isin(rois, ["L_MT", "R_MST"])], ["R_V2", "L_V4"], rng)
    main(["--maps", str(motion), str(lost), "--table", str(tmp_path / "table.tsv")])
    table = pd.read_table(tmp_path / "table.tsv", dtype={"subject": str}).set_index(["subject", "decoder"])
    assert table.loc[("1", "motion"), "auc"] == 1
    assert table.loc[("2", "motion"), "auc"] <= 0.5  # V1 alone, below V2 and V4
    assert table.loc[("1", "semantic"), "auc"] < 0.6
    assert table["voxels_alone"].unstack().loc["1"].to_dict() == {
        "motion": 10,
        "semantic": 10,
        "structure": 10,
    }
    assert table["voxels_alone"].unstack().loc["2"].to_dict() == {
        "motion": 0,
        "semantic": 10,
        "structure": 10,
    }
    # chance for a handful of areas: wide, and about .5
    assert (table["low"] < 0.35).all() and (table["high"] > 0.65).all()
