"""Mind-Animator: from fMRI to video. Read rules/ from top to bottom: it is the method."""

# Without a config file on the command line: the working folder's config.yaml, or else the demo's.
if not workflow.config_settings.configfiles:
    DEMO = f"{workflow.basedir}/config.yaml"

    configfile: "config.yaml" if os.path.exists("config.yaml") else DEMO


# Made of envs/Containerfile (docs/cluster.md); used with --sdm apptainer only.
container: f"{workflow.basedir}/envs/mind_animator.sif"


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
