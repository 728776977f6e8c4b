"""Compare activation patterns with the ROIs that carry each signal in the synthetic data set: AUC over ROIs,
per decoder."""

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_attrs, read_whole
from mind_animator.artefacts.tables import write_table
from mind_animator.errors import run_command
from mind_animator.explain.patterns import roi_auc
from mind_animator.synthetic.subjects import PLANTED
from workflow_scripts.stages import Inputs, Output, command

# The decoder that should use each simulated signal.
READS = {"structure": "structure", "motion": "motion", "semantic": "semantics"}


def evaluate_maps(
    *,
    maps: Inputs,
    confidence: float = 0.99,
    table: Output,
) -> None:
    """
    Parameters
    ----------
    maps
        Activation patterns, one file per subject (HDF5).
    confidence
        Level of the permutation interval.
    table
        AUC of each decoder's pattern for the ROIs that carry its signal (TSV).
    """
    tail = 50 * (1 - confidence)
    rows = []
    for path in maps:
        subject = read_attrs(path)["subject"]
        for decoder, signal in READS.items():
            held = read_whole(path, [decoder, f"{decoder}_permuted", "roi"])
            of_voxel = np.asarray(held["roi"]).astype(str)
            rois, names = _mean_by_roi(of_voxel)
            planted = PLANTED[signal]
            foreign = {roi for other, group in PLANTED.items() if other != signal for roi in group}
            others = sorted(foreign - set(planted))
            auc = roi_auc(held[decoder] @ rois, names, planted, others)
            null = roi_auc(held[f"{decoder}_permuted"] @ rois, names, planted, others)
            low, high = np.percentile(null, [tail, 100 - tail])
            voxels = np.isin(np.strings.slice(of_voxel, 2, None), sorted(set(planted) - foreign)).sum()
            rows.append((subject, decoder, float(auc), low, high, voxels))
    columns = ["subject", "decoder", "auc", "low", "high", "voxels_alone"]
    write_table(table, pd.DataFrame(rows, columns=columns))


def _mean_by_roi(rois: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Matrix (voxel, area) that averages voxels, and the names of the ROIs (per hemisphere)."""
    names, inverse = np.unique(rois, return_inverse=True)
    member = (inverse[:, None] == np.arange(len(names))).astype(np.float64)
    return member / member.sum(axis=0), names.tolist()


main = command(evaluate_maps)

if __name__ == "__main__":
    run_command(main)
