"""Mind-Animator: from fMRI to video. Read rules/ from top to bottom: it is the method."""

# A config file given on the command line replaces the demo's, it is not laid over it.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


# Made of envs/Containerfile (docs/cluster.md); used with --sdm apptainer only.
container: "envs/mind_animator.sif"


onstart:
    check_before_jobs()
    prepare_executor(workflow.executor_plugin.name)


include: "rules/common.smk"
include: "rules/synthetic.smk"
include: "rules/download.smk"
include: "rules/models.smk"
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
        everything(),
