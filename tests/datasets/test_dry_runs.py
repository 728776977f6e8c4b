"""The plan of every shipped config needs neither data nor credentials."""

import os
import subprocess
import sys

import pytest
import yaml

from mind_animator.provenance import ROOT

# config -> (subject, a few jobs that must be in the plan)
PLANS = {
    "cc2017": ("1", {"fetch_archive": 2, "unpack_stimuli": 1, "unpack_subject1": 1, "segment_movie": 23}),
    "hcp": ("100610", {"fetch_file": 4, "request_files": 1, "preprocess_subject": 1}),
    "algonauts2021": ("01", {"fetch_archive": 1, "unpack_participants_data": 1, "segment_movie": 10}),
    "bids": ("01", {"request_files": 1, "preprocess_subject": 1}),
    "arrays": ("01", {"request_files": 1, "read_captions": 1}),
}


@pytest.mark.parametrize("name", PLANS)
def test_dry_run(name, tmp_path):
    subject, jobs = PLANS[name]
    given = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    files = [f"{tmp_path}/fmri/sub-{subject}/responses.h5", f"{tmp_path}/stimuli/splits.tsv"]
    captions = [f"{tmp_path}/captions/clips-00000.tsv"]
    command = [sys.executable, "-m", "snakemake", "--configfile", f"config/{name}.yaml", "-n", "--nolock"]
    ran = subprocess.run(
        [*command, "--cores", "1", "--config", f"results={tmp_path}", "--", *files, *captions],
        cwd=ROOT, env=given | {"HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    table = (ran.stdout + ran.stderr).split("Job stats:")[1].splitlines()
    rows = [line.split() for line in table]
    counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    assert {job: counts.get(job) for job in jobs} == jobs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["dataset={name: arrays, data_root: data, options: {preset: mind_animator, clips: null}}", "fmri={}"],
         "Expected methods that need no training on a data set without training clips, got '"),
        (["dataset={name: hcp, data_root: data, options: {variant: 59k}}", "fmri={voxels: {rois: [V1]}}"],
         "Expected a data set whose voxels have named areas (fmri.voxels.rois), got hcp"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_reported_before_any_work(change, message, tmp_path):
    shipped = yaml.safe_load((ROOT / "config/cc2017.yaml").read_text()) | {"results": str(tmp_path)}
    for text in change:
        key, _, value = text.partition("=")
        shipped[key] = yaml.safe_load(value)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(shipped))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        str(tmp_path / "config.yaml"),
        "-n",
        "--nolock",
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode != 0 and message in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hcp", "Expected AWS credentials to fetch"),
        ("algonauts2021", "(https://forms.gle/qq9uqqu6SwN8ytxQ9)"),
        ("bids", "Expected docs/examples/bids/stimuli/beach.mp4, found none: nothing can fetch it"),
    ],
)
def test_a_real_run_asks_for_terms_credentials_and_files_before_any_work(name, message, tmp_path):
    given = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        f"config/{name}.yaml",
        "--nolock",
        "--cores",
        "2",
    ]
    ran = subprocess.run(
        [*command, "--config", f"results={tmp_path}/results"],
        cwd=ROOT, env=given | {"HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode != 0 and message in ran.stdout + ran.stderr, (ran.stdout + ran.stderr)[-1500:]
    assert not (tmp_path / "results").exists()


def test_a_clone_without_content_stops_before_the_dag_with_one_line(tmp_path):
    """Links of git-annex that lead nowhere: `download` too names the command, and `check_data` lists them."""
    run = (
        tmp_path
        / "HCP_1200/100610/MNINonLinear/Results/tfMRI_MOVIE1_7T_AP/tfMRI_MOVIE1_7T_AP_Atlas.dtseries.nii"
    )
    run.parent.mkdir(parents=True)
    os.symlink("../../.git/annex/objects/Aa/Bb/MD5E-s1--0.nii/MD5E-s1--0.nii", run)
    data = f"dataset={{name: hcp, data_root: {tmp_path}, subjects: ['100610']}}"
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        "config/hcp.yaml",
        "--nolock",
        "--cores",
        "1",
        "-n",
    ]
    command += ["--config", data, f"results={tmp_path}/results", "--"]
    output = {}
    for target in ("download", "check_data"):
        ran = subprocess.run([*command, target], cwd=ROOT, capture_output=True, text=True)
        output[target] = ran.returncode, ran.stdout + ran.stderr
    assert output["download"][0] == 1
    assert f"Expected {run}, but its content is not here: run `datalad get '{run}'`" in output["download"][1]
    assert output["check_data"][0] == 0, output["check_data"][1]
