"""Decoders -> maps of what they read."""


rule explain_decoder:
    input:
        unpack(decoders_of_prediction),
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=TRAIN_SEGMENTS),
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
        block=CONFIG.scoring.block,
        seed=CONFIG.seed,
        # not tracked: derived from resources
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Explaining the decoders of {wildcards.method}, subject {wildcards.subject}"
    shell:
        "OMP_NUM_THREADS={threads} python -m workflow_scripts.explain_decoder"
        " --kind {params.kind}"
        " --settings {params.settings:q}"
        " --semantic {input.semantic}"
        " --structure {input.structure}"
        " --motion {input.motion}"
        " --subject {wildcards.subject}"
        " --responses {input.responses}"
        " --clips {input.clips}"
        " --block {params.block}"
        " --seed {params.seed}"
        " --device {params.device}"
        " --maps {output.maps}"
        " > {log} 2>&1"


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
        cortex="--cortex" if DATASET.rois_of == "fs_LR_32k" else "",
    message:
        "Drawing what the decoders of {wildcards.method} read, subject {wildcards.subject}"
    shell:
        "OMP_NUM_THREADS={threads} python -m workflow_scripts.draw_maps"
        " --maps {input.maps}"
        " --subject {wildcards.subject}"
        " --method {wildcards.method}"
        " {params.cortex}"
        " --figure {output.figure}"
        " > {log} 2>&1"


rule explain:
    """Maps of every method that trains decoders of its own, for all subjects."""
    input:
        expand(
            f"{R}/explain/{{method}}/sub-{{subject}}.png",
            method=[name for name, method in METHODS.items() if method.trains],
            subject=SUBJECTS,
        ),
