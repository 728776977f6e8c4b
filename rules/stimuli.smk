"""Movies -> clips of frames by presentation time; movies are decoded once and not encoded again."""


rule segment_movie:
    input:
        movies=lambda wildcards: [
            str(path) for path in DATASET.stimulus_files(wildcards.segment)
        ],
    output:
        frames=f"{R}/stimuli/{{segment}}.h5",
        table=f"{R}/stimuli/{{segment}}.tsv",
    log:
        f"{R}/logs/segment_movie/{{segment}}.log",
    benchmark:
        f"{R}/benchmarks/segment_movie/{{segment}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(120),
    params:
        code=code_digest("workflow_scripts/segment_movie.py", *ADAPTER_FILES),
        clips=clip_digest,
        settings=json_of(CONFIG.stimuli),
        # not tracked (the function takes threads): the output depends only on the clips above
        dataset=lambda wildcards, threads: DATASET_JSON,
    message:
        "Cutting segment {wildcards.segment} into clips"
    shell:
        stage("segment_movie")


rule stimuli:
    """All clips of frames and their tables."""
    input:
        expand(f"{R}/stimuli/{{segment}}.h5", segment=SEGMENTS),
