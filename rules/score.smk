"""Videos -> scores next to those of baselines, with intervals and tests."""


rule derive_baseline:
    input:
        files=frames_derived_from,
        tables=TEST_TABLES,
    output:
        # all shards in one job: each takes seconds
        frames=expand(
            f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.h5",
            shard=shards(TEST_CLIPS, CONFIG.shards.reconstruction),
            allow_missing=True,
        ),
        videos=expand(
            f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.mp4",
            shard=shards(TEST_CLIPS, CONFIG.shards.reconstruction),
            allow_missing=True,
        ),
    log:
        f"{R}/logs/derive_baseline/{{method}}/sub-{{subject}}.log",
    wildcard_constraints:
        method=methods_by("frames"),
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2_000),
        runtime=per_attempt(60),
    params:
        code=lambda wildcards: code_digest(
            "workflow_scripts/derive_baseline.py", METHODS[wildcards.method].module
        ),
        kind=lambda wildcards: METHODS[wildcards.method].kind,
        settings=lambda wildcards: METHODS[wildcards.method].reconstruction_settings(),
        shard_size=CONFIG.shards.reconstruction,
        seed=CONFIG.seed,
        rate=CONFIG.stimuli.rate,
    message:
        "Deriving {wildcards.method}, subject {wildcards.subject}"
    shell:
        stage("derive_baseline")


rule encode_ground_truth:
    input:
        **SCORING_MODELS,
        stimuli=expand(f"{R}/stimuli/{{segment}}.h5", segment=TEST_SEGMENTS),
        tables=TEST_TABLES,
    output:
        ground_truth=f"{R}/scores/ground_truth.h5",
    log:
        f"{R}/logs/encode_ground_truth.log",
    benchmark:
        f"{R}/benchmarks/encode_ground_truth.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(6_000),
        runtime=per_attempt(120),
    params:
        code=scoring_digest("encode_ground_truth"),
        revisions=scoring_revisions(),
        settings=CONFIG.scoring.model_dump_json(
            include={"size", "n_ways", "pair_size", "batch", "metrics"}
        ),
        frames=SCORED_FRAMES,
        rate=SCORED_FRAMES * CONFIG.stimuli.rate / CONFIG.stimuli.frames,
        # not tracked: derived from resources
        models=lambda wildcards, resources: models_json(*SCORING_NETWORKS),
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Encoding the ground truth for all scores"
    shell:
        stage("encode_ground_truth")


rule score_method:
    input:
        ground_truth=f"{R}/scores/ground_truth.h5",
        tables=TEST_TABLES,
        reconstructions=lambda wildcards: reconstructions_of(
            wildcards.method, wildcards.subject
        ),
    output:
        scores=f"{R}/scores/{{method}}/sub-{{subject}}.parquet",
        table=f"{R}/scores/{{method}}/sub-{{subject}}.tsv",
        pairs=f"{R}/scores/{{method}}/sub-{{subject}}.pairs.h5",
    log:
        f"{R}/logs/score_method/{{method}}/sub-{{subject}}.log",
    benchmark:
        f"{R}/benchmarks/score_method/{{method}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        method=pattern_of(METHODS),
    conda:
        "../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(6_000),
        runtime=per_attempt(240),
    params:
        code=scoring_digest("score_method"),
        settings=lambda wildcards: scoring_settings(
            CONFIG.scoring, METHODS[wildcards.method]
        ),
        frames=SCORED_FRAMES,
        seed=CONFIG.seed,
        dataset=CONFIG.dataset.name,
        # not tracked: derived from resources
        models=lambda wildcards, resources: models_json(*SCORING_NETWORKS),
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Scoring {wildcards.method}, subject {wildcards.subject}"
    shell:
        stage("score_method")


rule average_features:
    input:
        features=[
            f"{R}/features/clips-{shard}.{kind}.h5"
            for shard in shards(TRAIN_CLIPS, CONFIG.shards.features)
            for kind in FEATURE_KINDS
        ],
        tables=expand(f"{R}/stimuli/{{segment}}.tsv", segment=TRAIN_SEGMENTS),
    output:
        means=f"{R}/features/training_means.h5",
    log:
        f"{R}/logs/average_features.log",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2_000),
        runtime=per_attempt(60),
    params:
        code=code_digest("workflow_scripts/average_features.py"),
    message:
        "Averaging the features of the training clips"
    shell:
        stage("average_features")


rule score_retrieval:
    input:
        training_means=f"{R}/features/training_means.h5" if TRAIN_CLIPS else [],
        predictions=f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
        text=test_features("text"),
        image=test_features("image"),
        extra_text=further_candidates("text"),
        extra_image=further_candidates("image"),
        tables=TEST_TABLES,
    output:
        scores=f"{R}/scores/{{method}}/sub-{{subject}}.decoded.parquet",
        pairs=f"{R}/scores/{{method}}/sub-{{subject}}.decoded.pairs.h5",
    log:
        f"{R}/logs/score_retrieval/{{method}}/sub-{{subject}}.log",
    wildcard_constraints:
        method=pattern_of(METHODS),
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8_000),
        runtime=per_attempt(60),
    params:
        code=code_digest("workflow_scripts/score_retrieval.py"),
        block=CONFIG.scoring.block,
        dataset=CONFIG.dataset.name,
    message:
        "Scoring the decoded features of {wildcards.method}, subject {wildcards.subject}"
    shell:
        stage("score_retrieval")


rule score_split_half_oracle:
    input:
        ground_truth=f"{R}/scores/ground_truth.h5",
        tables=TEST_TABLES,
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
        text=test_features("text"),
        image=test_features("image"),
        extra_text=further_candidates("text"),
        extra_image=further_candidates("image"),
    output:
        scores=f"{R}/scores/{ORACLE}/sub-{{subject}}.parquet",
        table=f"{R}/scores/{ORACLE}/sub-{{subject}}.tsv",
        pairs=f"{R}/scores/{ORACLE}/sub-{{subject}}.pairs.h5",
        decoded=f"{R}/scores/{ORACLE}/sub-{{subject}}.decoded.parquet",
        decoded_pairs=f"{R}/scores/{ORACLE}/sub-{{subject}}.decoded.pairs.h5",
    log:
        f"{R}/logs/score_split_half_oracle/sub-{{subject}}.log",
    benchmark:
        f"{R}/benchmarks/score_split_half_oracle/sub-{{subject}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8_000),
        runtime=per_attempt(240),
    params:
        code=scoring_digest("score_split_half_oracle"),
        settings=scoring_settings(CONFIG.scoring),
        frames=SCORED_FRAMES,
        seed=CONFIG.seed,
        dataset=CONFIG.dataset.name,
    message:
        "Scoring the split-half oracle of subject {wildcards.subject}"
    shell:
        stage("score_split_half_oracle")


rule test_methods:
    input:
        scores=scores_of(VIDEO_SCORED, ".parquet"),
        pairs=scores_of(VIDEO_SCORED, ".pairs.h5"),
        decoded=scores_of(FEATURE_SCORED, ".decoded.parquet"),
        decoded_pairs=scores_of(FEATURE_SCORED, ".decoded.pairs.h5"),
    output:
        tests=f"{R}/scores/tests.tsv",
        summary=[f"{R}/scores/summary.tsv", f"{R}/scores/summary.parquet"],
        clips=f"{R}/scores/clips.parquet",
        clip_table=f"{R}/scores/clips.tsv",
        metrics=f"{R}/scores/metrics.tsv",
        retrieval=f"{R}/scores/retrieval.tsv",
    log:
        f"{R}/logs/test_methods.log",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(60),
    params:
        code=scoring_digest("test_methods"),
        settings=test_settings(),
        swaps=swaps(),
        seed=CONFIG.seed,
    message:
        "Testing all methods against each other and against chance"
    shell:
        stage("test_methods")


rule score:
    """All scores, tests and summaries."""
    input:
        f"{R}/scores/summary.tsv",


rule build_leaderboard:
    input:
        summaries=[f"{R}/scores/summary.tsv", *CONFIG.scoring.compare_with],
        ground_truth=f"{R}/scores/ground_truth.h5",
        videos=lambda wildcards: [
            shard
            for method in METHODS
            for subject in SUBJECTS
            for shard in reconstructions_of(method, subject)
        ],
    output:
        page=f"{R}/report/leaderboard.html",
    log:
        f"{R}/logs/build_leaderboard.log",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(30),
    params:
        code=code_digest("workflow_scripts/build_leaderboard.py"),
        dataset=CONFIG.dataset.name,
        oracles=ORACLE,
        baselines=[
            f"{name}={method.source}" if method.source else name
            for name, method in METHODS.items()
            if method.is_baseline
        ],
        videos=[
            f"{method}/{subject}={shard}"
            for method in METHODS
            for subject in SUBJECTS
            for shard in reconstructions_of(method, subject)
        ],
    message:
        "Building the leaderboard"
    shell:
        stage("build_leaderboard")
