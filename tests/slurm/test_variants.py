"""What docs/cluster.md offers beside the profile as shipped, on a real SLURM."""

import re
import shutil

import pytest
import yaml
from login_node import LoginNode
from test_whole_dag import gpu_rules

RIDGE = "results/small/decoders/ridge/sub-1"
TARGETS = [f"{RIDGE}/{decoder}.safetensors" for decoder in ("semantic", "structure")]


@pytest.fixture
def without_ridge(login: LoginNode) -> LoginNode:
    """A working copy where nothing but the (quick) ridge trainings is left to do."""
    shutil.rmtree(login.path / RIDGE)
    return login


def test_clusters_that_want_gres_and_a_kind_of_gpu(without_ridge, undisturbed):
    """The profile's commented lines, uncommented: every GPU rule is there, and jobs get a GPU where such GPUs are."""
    profile = without_ridge.path / "slurm" / "profile.yaml"
    head, separator, block = profile.read_text().partition("# set-resources:\n")
    block = re.sub("^# ", "", block, flags=re.MULTILINE)
    assert "# constraint: \"'a100'\"" in head
    head = head.replace("# constraint: \"'a100'\"", "constraint: \"'large_gpu'\"")
    profile.write_text(head.replace("  gpu: 4\n", "  GPUs: 4\n") + "set-resources:\n" + block)
    assert separator and set(yaml.safe_load(profile.read_text())["set-resources"]) == gpu_rules()
    run = without_ridge.start(*TARGETS).wait()
    for job in run.jobs("train_part"):
        assert "gres/gpu=1" in job["AllocTRES"].split(",") and job["Partition"] == "gpu", job
        assert job["NodeList"] == "n2", job  # whose feature large_gpu is (tests/slurm/local_cluster.py)
    assert len(run.jobs()) == 2


def test_job_arrays(without_ridge, undisturbed):
    run = without_ridge.start(*TARGETS, "--slurm-array-jobs", "all").wait()
    (array,) = re.findall(r"SLURM job ID (\d+)\. The individual task IDs are 1-2", run.text)
    rows = without_ridge.accounting("-j", array)
    assert [(row["JobID"], row["State"]) for row in rows] == [(f"{array}_{k}", "COMPLETED") for k in (1, 2)]
    assert all((without_ridge.path / target).exists() for target in TARGETS)
