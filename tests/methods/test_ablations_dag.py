"""The shipped ablations in the DAG: what is trained and inverted again, and nothing else."""

import re
import subprocess
import sys
from collections import Counter

from mind_animator.provenance import ROOT


def test_ablations_share_weights_and_inversions(tmp_path):
    command = [
        sys.executable, "-m", "snakemake", "-n", "-p", "--cores", "1", "--nolock", "--forceall",
        "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml", "config/ablations.yaml",
        "--config", f"results={tmp_path}", "--", "score",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    trained = re.findall(r"--record \S+/decoders/(\w+)/sub-(\w+)/(\w+)\.json", run.stdout + run.stderr)
    assert len(trained) == len(set(trained))
    both, one = ["1", "2"], ["pooled"]
    every, motion = ["semantic", "structure", "motion"], ["motion"]
    expected = {
        ("mind_animator", "ridge"): (both, every),
        ("stacked_ridge", "clips_480", "clips_960"): (both, ["decoders"]),
        ("without_motion", "mask_0", "mask_20", "mask_40", "mask_60", "mask_80"): (both, motion),
        ("pooled",): (one, every),
    }
    assert set(trained) == {
        (method, subject, decoder)
        for methods, (subjects, decoders) in expected.items()
        for method in methods
        for subject in subjects
        for decoder in decoders
    }
    inverted = Counter(re.findall(r"--noise \S+/inversions/(\w+)/sub-\w+/clips-", run.stdout + run.stderr))
    own = {
        "without_semantic",
        "without_structure",
        "swapped_motion",
    }  # the first pass depends on the prompt embedding
    assert set(inverted) == {method for methods in expected for method in methods} - {"ridge"} | own
    assert set(inverted.values()) == {4}  # two shards of two subjects
