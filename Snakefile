"""Mind-Animator: from fMRI to video. Read rules/ from top to bottom: it is the method."""


configfile: "config.yaml"


container: "docker://python:3.11-slim"


include: "rules/common.smk"
include: "rules/world.smk"
include: "rules/download.smk"
include: "rules/stimuli.smk"
include: "rules/caption.smk"
include: "rules/fmri.smk"
include: "rules/features.smk"
include: "rules/decode.smk"
include: "rules/reconstruct.smk"
include: "rules/score.smk"
include: "rules/explain.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        f"{R}/report/index.html",
