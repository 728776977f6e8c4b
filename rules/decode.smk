"""Responses and targets -> trained parts of the methods, and their predictions for the test clips."""


rule extract_repeats:
    input:
        runs=lambda wildcards: [
            str(path)
            for segment in TRAIN_SEGMENTS
            for path in DATASET.response_files(wildcards.subject, segment)
        ],
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
    output:
        repeats=f"{R}/fmri/sub-{{subject}}/repeats.h5",
    log:
        f"{R}/logs/extract_repeats/sub-{{subject}}.log",
    benchmark:
        f"{R}/benchmarks/extract_repeats/sub-{{subject}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(lambda wildcards: DATASET.memory_mb(False)),
        runtime=per_attempt(60),
    params:
        code=code_digest("workflow_scripts/extract_repeats.py", *ADAPTER_FILES),
        settings=CONFIG.fmri.model_dump_json(include=PREPROCESSING),
        # not tracked (the function takes threads): the output depends on the runs and the code
        dataset=lambda wildcards, threads: DATASET_JSON,
    message:
        "Reading single repeats of subject {wildcards.subject}"
    shell:
        stage("extract_repeats")


rule train_part:
    input:
        responses=responses_of_training,
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=TRAIN_SEGMENTS),
        features=features_of_training,
        earlier=weights_before_training,
        repeats=repeats_of_training,
        frames=frames_of_training,
        movies=movies_of_training,
        videos=lambda wildcards: unpaired_videos(needs_of_training(wildcards)),
        networks=lambda wildcards: networks_of_needs(needs_of_training(wildcards)),
        # training starts only after the splits have been checked
        splits=ancient(f"{R}/stimuli/splits.tsv"),
    output:
        weights=f"{R}/decoders/{{method}}/sub-{{subject}}/{{part}}.safetensors",
        record=f"{R}/decoders/{{method}}/sub-{{subject}}/{{part}}.json",
    log:
        f"{R}/logs/train_part/{{method}}/sub-{{subject}}-{{part}}.log",
    benchmark:
        f"{R}/benchmarks/train_part/{{method}}/sub-{{subject}}-{{part}}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(training_memory),
        runtime=per_attempt(240),
    params:
        code=lambda wildcards: code_digest(
            "workflow_scripts/train_part.py", METHODS[wildcards.method].module
        ),
        kind=lambda wildcards: METHODS[wildcards.method].kind,
        settings=lambda wildcards: METHODS[wildcards.method].training_settings(
            wildcards.part
        ),
        needs=lambda wildcards: json_of(needs_of_training(wildcards)),
        subjects=subjects_of_training,
        held_out=held_out_of_training,
        training=lambda wildcards: json_of(CONFIG.methods[wildcards.method].training),
        revisions=lambda wildcards: [
            pinned_model(name) for name in needs_of_training(wildcards).models
        ],
        t_r=lambda wildcards: volume_seconds(needs_of_training(wildcards)),
        crop=lambda wildcards: (
            CONFIG.stimuli.crop if needs_of_training(wildcards).movies else 1.0
        ),
        seed=CONFIG.seed,
        # not tracked: derived from input, resources or output
        earlier=lambda wildcards, input: [
            f"{Path(path).stem}={path}" for path in input.earlier
        ],
        models=lambda wildcards, resources: models_json(
            *needs_of_training(wildcards).models
        ),
        device=lambda wildcards, resources: CONFIG.device,
        checkpoint=subpath(output.weights, with_suffix=".checkpoint"),
        logs=subpath(output.weights, with_suffix=".logs"),
    message:
        "Training {wildcards.part} of {wildcards.method}, subject {wildcards.subject}"
    shell:
        stage("train_part")


rule predict:
    input:
        weights=weights_of_prediction,
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
        clips=TEST_TABLES,
        networks=lambda wildcards: networks_of_needs(METHODS[wildcards.method].needs),
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
        needs=lambda wildcards: json_of(METHODS[wildcards.method].needs),
        revisions=lambda wildcards: [
            pinned_model(name) for name in METHODS[wildcards.method].needs.models
        ],
        t_r=lambda wildcards: volume_seconds(METHODS[wildcards.method].needs),
        seed=CONFIG.seed,
        # not tracked: derived from resources or input
        models=lambda wildcards, resources: models_json(
            *METHODS[wildcards.method].needs.models
        ),
        device=lambda wildcards, resources: CONFIG.device,
        weights=weights_by_part,
    message:
        "Predicting the test clips of subject {wildcards.subject} by {wildcards.method}"
    shell:
        stage("predict")


rule decode:
    """Predictions of all methods and subjects."""
    input:
        expand(
            f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
            method=[name for name, method in METHODS.items() if method.predicts],
            subject=SUBJECTS,
        ),
