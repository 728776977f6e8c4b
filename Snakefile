"""Mind-Animator: from fMRI to video. The files in rules/ describe the method in the order in which they are
included."""

# If no configuration file is given on the command line, config.yaml of the working folder is used, otherwise
# that of the demo.
if not workflow.config_settings.configfiles:
    DEMO = f"{workflow.basedir}/config.yaml"

    configfile: "config.yaml" if os.path.exists("config.yaml") else DEMO


# Built from envs/Containerfile (docs/cluster.md); used only with --sdm apptainer.
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
include: "rules/study.smk"
include: "rules/explain.smk"
include: "rules/report.smk"


if not DATASET.has_stimuli:
    for name in NEED_FRAMES:
        if workflow.is_rule(name):  # captions may be ready
            workflow.get_rule(name).set_input(frames_exist=stop_without_frames(name))


rule all:
    default_target: True
    input:
        everything(),
