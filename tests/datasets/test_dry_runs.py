"""The plan of every shipped config needs neither data nor credentials."""

import os
import subprocess
import sys

import pytest

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
    places = [f"{tmp_path}/fmri/sub-{subject}/responses.h5", f"{tmp_path}/stimuli/splits.tsv"]
    captions = [f"{tmp_path}/captions/clips-00000.tsv"]
    command = [sys.executable, "-m", "snakemake", "--configfile", f"config/{name}.yaml", "-n", "--nolock"]
    ran = subprocess.run(
        [*command, "--cores", "1", "--config", f"results={tmp_path}", "--", *places, *captions],
        cwd=ROOT, env=given | {"HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    table = (ran.stdout + ran.stderr).split("Job stats:")[1].splitlines()
    rows = [line.split() for line in table]
    counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    assert {job: counts.get(job) for job in jobs} == jobs
