"""A study: scores of decoded features for every arm of `config.study` -> table, tests and figure."""


rule summarise_study:
    input:
        decoded=expand(
            f"{R}/scores/{{method}}/sub-{{subject}}.decoded.parquet",
            method=STUDY_ARMS,
            subject=SUBJECTS,
        ),
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=TRAIN_SEGMENTS),
    output:
        scores=f"{R}/studies/{{study}}.tsv",
        tests=f"{R}/studies/{{study}}_tests.tsv",
        figure=f"{R}/studies/{{study}}.png",
    log:
        f"{R}/logs/summarise_study/{{study}}.log",
    wildcard_constraints:
        study=CONFIG.study.name if CONFIG.study else "no_study",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(60),
    params:
        code=code_digest("workflow_scripts/summarise_study.py"),
        study=lambda wildcards: json_of(CONFIG.study),
        settings=CONFIG.scoring.model_dump_json(),
        seed=CONFIG.seed,
    message:
        "Summarising the study {wildcards.study}"
    shell:
        stage("summarise_study")


rule study:
    """Table, tests and figure of the configured study (config/studies/*.yaml)."""
    input:
        [f"{R}/studies/{CONFIG.study.name}.png"] if CONFIG.study else [],
