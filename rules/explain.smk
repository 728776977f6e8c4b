"""Outputs of the methods -> activation patterns."""


rule explain_decoder:
    input:
        weights=weights_of_prediction,
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=TRAIN_SEGMENTS),
        networks=lambda wildcards: networks_of_needs(METHODS[wildcards.method].needs),
    output:
        maps=f"{R}/explain/{{method}}/sub-{{subject}}.h5",
    log:
        f"{R}/logs/explain_decoder/{{method}}/sub-{{subject}}.log",
    benchmark:
        f"{R}/benchmarks/explain_decoder/{{method}}/sub-{{subject}}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(training_memory),
        runtime=per_attempt(60),
    params:
        code=lambda wildcards: code_digest(
            "workflow_scripts/explain_decoder.py", METHODS[wildcards.method].module
        ),
        kind=lambda wildcards: METHODS[wildcards.method].kind,
        settings=lambda wildcards: METHODS[wildcards.method].prediction_settings(),
        needs=lambda wildcards: json_of(METHODS[wildcards.method].needs),
        t_r=lambda wildcards: volume_seconds(METHODS[wildcards.method].needs),
        block=CONFIG.scoring.block,
        seed=CONFIG.seed,
        # not tracked: derived from resources or input
        models=lambda wildcards, resources: models_json(
            *METHODS[wildcards.method].needs.models
        ),
        device=lambda wildcards, resources: CONFIG.device,
        weights=weights_by_part,
    message:
        "Computing activation patterns of {wildcards.method}, subject {wildcards.subject}"
    shell:
        stage("explain_decoder")


rule draw_maps:
    input:
        maps=rules.explain_decoder.output.maps,
    output:
        figure=f"{R}/explain/{{method}}/sub-{{subject}}.png",
    log:
        f"{R}/logs/draw_maps/{{method}}/sub-{{subject}}.log",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(1_500),
        runtime=per_attempt(10),
    params:
        code=code_digest("workflow_scripts/draw_maps.py"),
        cortex=DATASET.rois_of == "fs_LR_32k",
    message:
        "Drawing activation patterns of {wildcards.method}, subject {wildcards.subject}"
    shell:
        stage("draw_maps")


rule explain:
    """Activation patterns of every method with trained parts of its own, for all subjects."""
    input:
        expand(
            f"{R}/explain/{{method}}/sub-{{subject}}.png",
            method=[n for n, m in METHODS.items() if m.explains and m.parts],
            subject=SUBJECTS,
        ),
