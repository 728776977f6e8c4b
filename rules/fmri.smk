"""Volumes -> one scaled response vector per clip, and the data quality."""

# Simulated runs are deleted as soon as they are averaged, so that few of them are on the disk at the same time.
AVERAGES = [
    f"{R}/fmri/sub-{{subject}}/{segment}.h5"
    for segment in SEGMENTS
    if DATASET.simulated
]
PREPROCESSING = {"detrend_order", "lag", "ddof"}


rule average_runs:
    input:
        runs=lambda wildcards: [
            str(path)
            for path in DATASET.response_files(wildcards.subject, wildcards.segment)
        ],
    output:
        average=temp(f"{R}/fmri/sub-{{subject}}/{{segment}}.h5"),
    log:
        f"{R}/logs/average_runs/sub-{{subject}}/{{segment}}.log",
    benchmark:
        f"{R}/benchmarks/average_runs/sub-{{subject}}/{{segment}}.tsv"
    # before the simulation of further runs
    priority: 10
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2_000),
        runtime=per_attempt(60),
    params:
        code=code_digest("workflow_scripts/average_runs.py", *ADAPTER_FILES),
        settings=CONFIG.fmri.model_dump_json(include=PREPROCESSING),
        # not tracked (the function takes threads): the output depends on the runs and the code
        dataset=lambda wildcards, threads: DATASET_JSON,
    message:
        "Averaging subject {wildcards.subject}, {wildcards.segment}"
    shell:
        stage("average_runs")


rule preprocess_subject:
    input:
        averages=AVERAGES,
        runs=lambda wildcards: [
            str(path)
            for segment in SEGMENTS
            if not AVERAGES
            for path in DATASET.response_files(wildcards.subject, segment)
        ],
        mask=CONFIG.fmri.voxels.mask or [],
    output:
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
        maps=f"{R}/fmri/sub-{{subject}}/maps.h5",
        voxels=f"{R}/fmri/sub-{{subject}}/voxels.tsv",
        quality=f"{R}/fmri/sub-{{subject}}/quality.tsv",
    log:
        f"{R}/logs/preprocess_subject/sub-{{subject}}.log",
    benchmark:
        f"{R}/benchmarks/preprocess_subject/sub-{{subject}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(DATASET.memory_mb(bool(CONFIG.fmri.voxels.all))),
        runtime=per_attempt(60),
    params:
        code=code_digest("workflow_scripts/preprocess_subject.py", *ADAPTER_FILES),
        settings=json_of(CONFIG.fmri),
        # not tracked (the function takes threads): the output depends on the runs and the code
        dataset=lambda wildcards, threads: DATASET_JSON,
    message:
        "Cleaning the runs of subject {wildcards.subject} and selecting voxels"
    # huge pages, which numpy requests, are disabled: allocating them costs more time than they save
    shell:
        stage("preprocess_subject", environment="NUMPY_MADVISE_HUGEPAGE=0")


rule measure_stimuli:
    input:
        frames=expand(f"{R}/stimuli/{{segment}}.h5", segment=SEGMENTS),
    output:
        features=f"{R}/stimuli/features.tsv",
    log:
        f"{R}/logs/measure_stimuli.log",
    benchmark:
        f"{R}/benchmarks/measure_stimuli.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2_000),
        runtime=per_attempt(120),
    params:
        code=code_digest("workflow_scripts/measure_stimuli.py"),
    message:
        "Measuring luminance, contrast and motion energy of all clips"
    shell:
        stage("measure_stimuli")


rule draw_lag:
    input:
        responses=rules.preprocess_subject.output.responses,
        features=rules.measure_stimuli.output.features if DATASET.has_stimuli else [],
        embeddings=lambda wildcards: [
            f"{R}/features/clips-{shard}.{FEATURE_KINDS[0]}.h5"
            for shard in FEATURE_SHARDS
            if not DATASET.has_stimuli
        ],
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=SEGMENTS),
        # read again where the data set gives whole runs
        volumes=lambda wildcards: [
            str(path)
            for segment in SEGMENTS
            if DATASET.has_volumes
            for path in DATASET.response_files(wildcards.subject, segment)
        ],
    output:
        table=f"{R}/fmri/sub-{{subject}}/lag.tsv",
        figure=f"{R}/fmri/sub-{{subject}}/lag.png",
    log:
        f"{R}/logs/draw_lag/sub-{{subject}}.log",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(max(2_000, DATASET.has_volumes and DATASET.memory_mb(False))),
        runtime=per_attempt(30),
    params:
        code=code_digest("workflow_scripts/draw_lag.py", *ADAPTER_FILES),
        settings=json_of(CONFIG.fmri),
        # not tracked (the function takes threads): the output depends on the runs and the code
        dataset=lambda wildcards, threads: DATASET_JSON,
    message:
        "Drawing the lag of subject {wildcards.subject}"
    shell:
        stage("draw_lag")


rule draw_quality:
    input:
        maps=rules.preprocess_subject.output.maps,
        voxels=rules.preprocess_subject.output.voxels,
        quality=rules.preprocess_subject.output.quality,
    output:
        figure=f"{R}/fmri/sub-{{subject}}/quality.png",
    log:
        f"{R}/logs/draw_quality/sub-{{subject}}.log",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(1_000),
        runtime=per_attempt(10),
    params:
        code=code_digest("workflow_scripts/draw_quality.py"),
    message:
        "Drawing the data quality of subject {wildcards.subject}"
    shell:
        stage("draw_quality")


rule fmri:
    """Responses of all subjects, their lag and their quality."""
    input:
        expand(
            f"{R}/fmri/sub-{{subject}}/{{product}}",
            subject=SUBJECTS,
            product=["responses.h5", "lag.tsv", "lag.png", "quality.png"],
        ),
