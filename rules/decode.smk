"""Responses and targets -> trained parts of the methods, and their predictions for the test clips."""


rule train_decoder:
    input:
        responses=responses_of_training,
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=TRAIN_SEGMENTS),
        features=features_of_training,
        earlier=weights_before_training,
        # nothing is trained before the splits are known to be clean
        splits=ancient(f"{R}/stimuli/splits.tsv"),
    output:
        weights=f"{R}/decoders/{{method}}/sub-{{subject}}/{{part}}.safetensors",
        record=f"{R}/decoders/{{method}}/sub-{{subject}}/{{part}}.json",
    log:
        f"{R}/logs/train_decoder/{{method}}/sub-{{subject}}-{{part}}.log",
    benchmark:
        f"{R}/benchmarks/train_decoder/{{method}}/sub-{{subject}}-{{part}}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(training_memory),
        runtime=per_attempt(240),
    params:
        code=lambda wildcards: code_digest(
            "workflow_scripts/train_decoder.py", METHODS[wildcards.method].module
        ),
        kind=lambda wildcards: METHODS[wildcards.method].kind,
        subjects=subjects_of_training,
        held_out=held_out_of_training,
        targets=lambda wildcards: json.dumps(targets_of_training(wildcards)),
        settings=lambda wildcards: METHODS[wildcards.method].training_settings(
            wildcards.part
        ),
        seed=CONFIG.seed,
        # not tracked: derived from input, resources or output
        earlier=lambda wildcards, input: [
            f"{Path(path).stem}={path}" for path in input.earlier
        ],
        device=lambda wildcards, resources: CONFIG.device,
        checkpoint=subpath(output.weights, with_suffix=".checkpoint"),
        logs=subpath(output.weights, with_suffix=".logs"),
    message:
        "Training {wildcards.part} of {wildcards.method}, subject {wildcards.subject}"
    # exec: signals to the job reach the training itself, which stores its checkpoint before it ends
    shell:
        "OMP_NUM_THREADS={threads} exec python -m workflow_scripts.train_decoder"
        " --kind {params.kind}"
        " --part {wildcards.part}"
        " --settings {params.settings:q}"
        " --subjects {params.subjects}"
        " {params.held_out}"
        " --responses {input.responses}"
        " --clips {input.clips}"
        " --targets {params.targets:q}"
        " --features {input.features}"
        " --weights-of {params.earlier}"
        " --seed {params.seed}"
        " --device {params.device}"
        " --checkpoint {params.checkpoint}"
        " --logs {params.logs}"
        " --weights {output.weights}"
        " --record {output.record}"
        " > {log} 2>&1"


rule predict:
    input:
        weights=weights_of_prediction,
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=TEST_SEGMENTS),
    output:
        predictions=f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
    log:
        f"{R}/logs/predict/{{method}}/sub-{{subject}}.log",
    benchmark:
        f"{R}/benchmarks/predict/{{method}}/sub-{{subject}}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(training_memory),
        runtime=per_attempt(60),
    params:
        code=lambda wildcards: code_digest(
            "workflow_scripts/predict.py", METHODS[wildcards.method].module
        ),
        kind=lambda wildcards: METHODS[wildcards.method].kind,
        settings=lambda wildcards: METHODS[wildcards.method].prediction_settings(),
        seed=CONFIG.seed,
        # not tracked: derived from resources or input
        device=lambda wildcards, resources: CONFIG.device,
        weights=lambda wildcards, input: [
            f"{Path(path).stem}={path}" for path in input.weights
        ],
    message:
        "Predicting the test clips of subject {wildcards.subject} by {wildcards.method}"
    shell:
        "OMP_NUM_THREADS={threads} python -m workflow_scripts.predict"
        " --kind {params.kind}"
        " --settings {params.settings:q}"
        " --weights {params.weights}"
        " --subject {wildcards.subject}"
        " --responses {input.responses}"
        " --clips {input.clips}"
        " --seed {params.seed}"
        " --device {params.device}"
        " --predictions {output.predictions}"
        " > {log} 2>&1"


rule decode:
    """Predictions of all methods and subjects."""
    input:
        expand(
            f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
            method=[name for name, method in METHODS.items() if method.predicts],
            subject=SUBJECTS,
        ),
