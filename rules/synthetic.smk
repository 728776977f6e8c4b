"""The synthetic data set: movies and simulated subjects with known ground truth (data set `demo` only)."""

if CONFIG.dataset.name == "demo":
    SIGNALS = ["full", "no_motion", "none"]

    rule make_movie:
        output:
            movie=f"{DATASET.root}/video_fmri_dataset/stimuli/{{segment}}.mp4",
            ground_truth=f"{DATASET.root}/video_fmri_dataset/ground_truth/{{segment}}.json",
        log:
            f"{R}/logs/make_movie/{{segment}}.log",
        benchmark:
            f"{R}/benchmarks/make_movie/{{segment}}.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(1_500),
            runtime=per_attempt(30),
        params:
            code=code_digest("workflow_scripts/make_movie.py"),
            seed=DATASET.options.seed,
            seconds=2 * DATASET.options.clips,
        message:
            "Drawing movie {wildcards.segment}"
        shell:
            stage("make_movie")

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
            signal="|".join(SIGNALS),
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(1_500),
            runtime=per_attempt(30),
        params:
            code=code_digest("workflow_scripts/simulate_runs.py"),
            seed=DATASET.options.seed,
            clips=DATASET.options.clips,
            noise=DATASET.options.noise,
        message:
            "Simulating subject {wildcards.number} ({wildcards.signal}) watching {wildcards.segment}"
        shell:
            stage("simulate_runs")

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
            signal="|".join(SIGNALS),

    # Controls: subjects whose responses encode all signals, all except motion, or none, in one DAG with
    # shared movies and features.
    rule test_brain:
        input:
            scores=of_brain(f"{R}/scores/{{method}}/sub-{{subject}}.parquet"),
            pairs=of_brain(f"{R}/scores/{{method}}/sub-{{subject}}.pairs.h5"),
            decoded=of_brain(f"{R}/scores/{{method}}/sub-{{subject}}.decoded.parquet"),
            decoded_pairs=of_brain(
                f"{R}/scores/{{method}}/sub-{{subject}}.decoded.pairs.h5"
            ),
        output:
            tests=f"{R}/ground_truth/{{signal}}/tests.tsv",
            summary=f"{R}/ground_truth/{{signal}}/summary.tsv",
            retrieval=f"{R}/ground_truth/{{signal}}/retrieval.tsv",
        log:
            f"{R}/logs/test_brain/{{signal}}.log",
        wildcard_constraints:
            signal="|".join(SIGNALS),
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(4_000),
            runtime=per_attempt(60),
        params:
            code=scoring_digest("test_methods"),
            settings=test_settings(),
            seed=CONFIG.seed,
        message:
            "Testing the simulated subjects '{wildcards.signal}'"
        shell:
            stage("test_methods", without=["swaps", "clips", "clip_table", "metrics"])

    rule evaluate_maps:
        input:
            maps=of_brain(f"{R}/explain/{{method}}/sub-{{subject}}.h5", [HEADLINE]),
        output:
            table=f"{R}/ground_truth/{{signal}}/maps.tsv",
        log:
            f"{R}/logs/evaluate_maps/{{signal}}.log",
        wildcard_constraints:
            signal="|".join(SIGNALS),
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(2_000),
            runtime=per_attempt(10),
        params:
            code=code_digest("workflow_scripts/evaluate_maps.py"),
        message:
            "Comparing the maps of '{wildcards.signal}' with the simulated ROIs"
        shell:
            stage("evaluate_maps")

    rule calibrate_ridge:
        input:
            responses=f"{R}/fmri/sub-{SUBJECTS[0]}/responses.h5",
            features=[
                f"{R}/features/clips-{shard}.text.h5"
                for shard in shards(CLIPS, CONFIG.shards.features)
            ],
            clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=SEGMENTS),
        output:
            p_values=f"{R}/ground_truth/ridge_nulls.tsv",
        log:
            f"{R}/logs/calibrate_ridge.log",
        benchmark:
            f"{R}/benchmarks/calibrate_ridge.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(4_000),
            runtime=per_attempt(60),
        params:
            code=code_digest("workflow_scripts/calibrate_ridge.py"),
            block=CONFIG.scoring.block,
            seed=CONFIG.seed,
        message:
            "Fitting ridge regression on shuffled pairings"
        shell:
            stage("calibrate_ridge")

    rule draw_calibration:
        input:
            add=f"{R}/ground_truth/ridge_nulls.tsv",
        output:
            figure=f"{R}/ground_truth/calibration.png",
            p_values=f"{R}/ground_truth/calibration_p.tsv",
            table=f"{R}/ground_truth/calibration.tsv",
        log:
            f"{R}/logs/draw_calibration.log",
        benchmark:
            f"{R}/benchmarks/draw_calibration.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(2_000),
            runtime=per_attempt(60),
        params:
            code=code_digest("workflow_scripts/draw_calibration.py"),
            block=CONFIG.scoring.block,
            seed=CONFIG.seed,
        message:
            "Drawing the rejection rate of each test under the null hypothesis"
        shell:
            stage("draw_calibration")

    rule demo_controls:
        """The table of positive and negative controls; fails if a row fails."""
        input:
            tests=expand(f"{R}/ground_truth/{{signal}}/tests.tsv", signal=SIGNALS),
            maps=expand(f"{R}/ground_truth/{{signal}}/maps.tsv", signal=SIGNALS),
            calibration=f"{R}/ground_truth/calibration.tsv",
        log:
            f"{R}/logs/demo_controls.log",
        localrule: True
        conda:
            "../envs/cpu.yaml"
        params:
            tests=labelled(
                "{signal}", f"{R}/ground_truth/{{signal}}/tests.tsv", signal=SIGNALS
            ),
            maps=labelled(
                "{signal}", f"{R}/ground_truth/{{signal}}/maps.tsv", signal=SIGNALS
            ),
            table=f"{R}/ground_truth/table.tsv",
            method=HEADLINE,
            baseline=CONFIG.report.reference or "",
        message:
            "Checking the positive and negative controls"
        shell:
            stage("check_controls", log="tee")


DEMO_MODELS = "results/demo_models"


rule train_demo_model:
    """A small model of the synthetic data set, trained again."""
    input:
        begins_from=lambda wildcards: [
            f"{DEMO_MODELS}/{name}.done.json"
            for name in {
                "clip": ["vit"],
                "blip2": ["vit"],
                "videomae": ["vit"],
                "vificlip": ["clip"],
                "sd": ["vae", "clip"],
            }.get(wildcards.model, [])
        ],
    output:
        record=f"{DEMO_MODELS}/{{model}}.done.json",
    log:
        f"{DEMO_MODELS}/logs/{{model}}.log",
    wildcard_constraints:
        model="vae|vit|clip|blip2|videomae|vificlip|sd",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(180),
    params:
        code=code_digest("workflow_scripts/train_demo_model.py"),
        budget_seconds=CONFIG.demo_models_seconds or "",
        # not tracked: derived from the output
        output=lambda wildcards, output: str(
            Path(output.record).parent / wildcards.model
        ),
    message:
        "Training the small model {wildcards.model} of the synthetic data set"
    shell:
        stage("train_demo_model")


rule demo_models:
    """All small models of the synthetic data set, trained again; then point `models:` of the config at them."""
    input:
        expand(
            f"{DEMO_MODELS}/{{model}}.done.json",
            model=["vae", "vit", "clip", "blip2", "videomae", "vificlip", "sd"],
        ),
