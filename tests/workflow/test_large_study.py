"""Planning three data sets with all their subjects is quick, small, and few jobs per subject."""

import json
import re
import subprocess
import sys

import yaml

from mind_animator.provenance import ROOT

# data set -> subjects, most jobs per subject (what all subjects share is divided among them, too)
STUDY = {
    "cc2017": (["1", "2", "3"], 85),
    "hcp": ([str(100_000 + 137 * index) for index in range(176)], 55),
    "algonauts2021": ([f"{index:02d}" for index in range(1, 11)], 35),
}

# Run a command and say what it took. In a process of its own, for a child inherits its parent's peak memory.
MEASURED = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss}))
sys.exit(code)
"""


def test_the_dry_run_of_three_data_sets(tmp_path):
    """At most 60 s of computing and 2 GB in all; measured in CPU time, so that a busy machine does not matter."""
    per_subject, seconds, memory = {}, 0.0, 0
    for name, (subjects, _) in STUDY.items():
        config = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
        config["dataset"]["subjects"] = subjects
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config | {"results": str(tmp_path / name)}))
        command = ["-n", "--quiet", "rules", "--nolock", "--config", "device=cuda", "--", "all"]
        run = subprocess.run(
            [sys.executable, "-c", MEASURED, sys.executable, "-m", "snakemake", "--configfile", str(file), *command],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        text = run.stdout + run.stderr
        assert run.returncode == 0, text[-2000:]
        used = json.loads(run.stdout.splitlines()[-1])
        total = next(line for line in text.splitlines() if line.startswith("total "))
        per_subject[name] = int(total.split()[1]) / len(subjects)
        seconds += used["seconds"]
        memory = max(memory, used["memory"])
    print(per_subject, seconds, "s", memory, "KB")
    assert seconds < 60
    assert memory < 2 * 2**20
    assert all(per_subject[name] <= most for name, (_, most) in STUDY.items())


def test_every_rule_requests_more_at_each_attempt():
    """Memory and minutes that were too little are not asked for again."""
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for asked in re.findall(r"(?:mem_mb|runtime)=\S+", file.read_text()):
            assert "=per_attempt(" in asked, f"{file.name}: {asked}"
