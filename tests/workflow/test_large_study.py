"""Planning three data sets with all their subjects is quick, small, and few jobs a subject."""

import os
import re
import subprocess
import sys

import yaml

from mind_animator.provenance import ROOT

# data set -> subjects, most jobs a subject (what all subjects share is divided among them, too)
STUDY = {
    "cc2017": (["1", "2", "3"], 85),
    "hcp": ([str(100_000 + 137 * index) for index in range(176)], 55),
    "algonauts2021": ([f"{index:02d}" for index in range(1, 11)], 35),
}


def test_the_dry_run_of_three_data_sets(tmp_path):
    """At most 60 s of computing and 2 GB in all; measured in CPU time, so that a busy machine does not matter."""
    per_subject, seconds, memory = {}, 0.0, 0
    for name, (subjects, _) in STUDY.items():
        config = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
        config["dataset"]["subjects"] = subjects
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config | {"results": str(tmp_path / name)}))
        command = ["-n", "--quiet", "rules", "--nolock", "--config", "device=cuda", "--", "all"]
        with open(tmp_path / f"{name}.log", "w+") as log:
            run = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--configfile", str(file), *command],
                cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            # what this process and its own children took: the tests before it do not count
            _, status, usage = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            text = log.read()
        assert run.returncode == 0, text[-2000:]
        total = next(line for line in text.splitlines() if line.startswith("total "))
        per_subject[name] = int(total.split()[1]) / len(subjects)
        seconds += usage.ru_utime + usage.ru_stime
        memory = max(memory, usage.ru_maxrss)  # KB
    print(per_subject, seconds, "s", memory, "KB")
    assert seconds < 60
    assert memory < 2 * 2**20
    assert all(per_subject[name] <= most for name, (_, most) in STUDY.items())


def test_every_rule_asks_for_more_at_each_attempt():
    """Memory and minutes that were too little are not asked for again."""
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for asked in re.findall(r"(?:mem_mb|runtime)=\S+", file.read_text()):
            assert "=per_attempt(" in asked, f"{file.name}: {asked}"
