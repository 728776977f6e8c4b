"""The embedded world: movies and brains of known content (data set `demo` only)."""

if CONFIG.dataset.name == "demo":

    rule make_movie:
        output:
            movie=f"{DATASET.root}/video_fmri_dataset/stimuli/{{segment}}.mp4",
            truth=f"{DATASET.root}/video_fmri_dataset/truth/{{segment}}.json",
        log:
            f"{R}/logs/make_movie/{{segment}}.log",
        benchmark:
            f"{R}/benchmarks/make_movie/{{segment}}.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=1_500,
            runtime=30,
        params:
            code=code_digest("workflow_scripts/make_movie.py"),
            seed=DATASET.options.seed,
        message:
            "Drawing movie {wildcards.segment}"
        shell:
            "python -m workflow_scripts.make_movie"
            " --name {wildcards.segment}"
            " --seed {params.seed}"
            " --movie {output.movie}"
            " --truth {output.truth}"
            " > {log} 2>&1"

    rule simulate_training_runs:
        output:
            runs=temp(
                [
                    DATASET.run_pattern(repeat + 1)
                    for repeat in range(DATASET.options.repeats_train)
                ]
            ),
        log:
            f"{R}/logs/simulate_runs/sub-{{number}}-{{signal}}/{{segment}}.log",
        benchmark:
            f"{R}/benchmarks/simulate_runs/sub-{{number}}-{{signal}}/{{segment}}.tsv"
        wildcard_constraints:
            segment="|".join(TRAIN_SEGMENTS),
            number=r"\d",
            signal="full|no_motion|none",
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=1_500,
            runtime=30,
        params:
            code=code_digest("workflow_scripts/simulate_runs.py"),
            seed=DATASET.options.seed,
            noise=DATASET.options.noise,
        message:
            "Simulating subject {wildcards.number} ({wildcards.signal}) watching {wildcards.segment}"
        shell:
            "OMP_NUM_THREADS={threads} python -m workflow_scripts.simulate_runs"
            " --subject {wildcards.number}"
            " --movie {wildcards.segment}"
            " --seed {params.seed}"
            " --signal {wildcards.signal}"
            " --noise {params.noise}"
            " --runs {output.runs}"
            " > {log} 2>&1"

    use rule simulate_training_runs as simulate_test_runs with:
        output:
            runs=temp(
                [
                    DATASET.run_pattern(repeat + 1)
                    for repeat in range(DATASET.options.repeats_test)
                ]
            ),
        wildcard_constraints:
            segment="|".join(TEST_SEGMENTS),
            number=r"\d",
            signal="full|no_motion|none",
