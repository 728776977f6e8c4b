# Tables, figures and videos -> one self-contained page.


rule draw_dag:
    output:
        svg=f"{R}/report/dag.svg",
    log:
        f"{R}/logs/draw_dag.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=per_attempt(1_000),
        runtime=per_attempt(10),
    params:
        code=code_digest("workflow_scripts/draw_dag.py"),
        config=lambda wildcards: json_of(CONFIG),  # as JSON, because the text may contain braces
        # not tracked (the function takes threads)
        snakefile=lambda wildcards, threads: workflow.main_snakefile,
    message:
        "Drawing the rule graph"
    shell:
        stage("draw_dag")


rule record_provenance:
    input:
        weights=[
            weights
            for name in type(CONFIG.models).model_fields
            for weights in local_model(name)
        ],
        summary=f"{R}/scores/summary.tsv",
    output:
        record=f"{R}/report/provenance.json",
    log:
        f"{R}/logs/record_provenance.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=per_attempt(1_000),
        runtime=per_attempt(10),
    params:
        code=code_digest("workflow_scripts/record_provenance.py", *ADAPTER_FILES),
        config=lambda wildcards: json_of(CONFIG),  # as JSON, because the text may contain braces
        dataset=lambda wildcards: DATASET_JSON,
    message:
        "Recording the provenance of the results"
    shell:
        stage("record_provenance")


rule draw_contact_sheet:
    input:
        ground_truth=expand(f"{R}/stimuli/{{segment}}.h5", segment=TEST_SEGMENTS),
        tables=TEST_TABLES,
        reconstructions=lambda wildcards: reconstructions_of(
            HEADLINE, wildcards.subject
        ),
    output:
        figure=f"{R}/report/contact_sheet/sub-{{subject}}.png",
    log:
        f"{R}/logs/draw_contact_sheet/sub-{{subject}}.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=per_attempt(2_000),
        runtime=per_attempt(10),
    params:
        code=code_digest("workflow_scripts/draw_contact_sheet.py"),
    message:
        "Drawing the contact sheet of subject {wildcards.subject}"
    shell:
        stage("draw_contact_sheet")


rule make_report:
    input:
        ground_truth=expand(f"{R}/stimuli/{{segment}}.h5", segment=TEST_SEGMENTS),
        videos=[entry.partition("=")[2] for entry in shown_videos()],
        captions=[
            f"{R}/captions/clips-{shard}.tsv"
            for shard in shards(CLIPS, CONFIG.shards.captions)
        ],
        summary=f"{R}/scores/summary.tsv",
        tests=f"{R}/scores/tests.tsv",
        retrieval=f"{R}/scores/retrieval.tsv",
        histories=list(histories().values()),
        lag=expand(f"{R}/fmri/sub-{{subject}}/lag.png", subject=SUBJECTS),
        quality=expand(f"{R}/fmri/sub-{{subject}}/quality.png", subject=SUBJECTS),
        maps=expand(
            f"{R}/explain/{{method}}/sub-{{subject}}.png",
            method=explained(),
            subject=SUBJECTS,
        ),
        dag=f"{R}/report/dag.svg",
        provenance=f"{R}/report/provenance.json",
        leaderboard=f"{R}/report/leaderboard.html",
        sheets=expand(f"{R}/report/contact_sheet/sub-{{subject}}.png", subject=SUBJECTS),
    output:
        page=report(f"{R}/report/index.html", category="Report"),
    log:
        f"{R}/logs/make_report.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(30),
    params:
        code=code_digest("workflow_scripts/make_report.py"),
        title=f"Mind-Animator on {CONFIG.dataset.name}",
        rate=CONFIG.stimuli.rate,
        oracles=ORACLE,
        baselines=[
            f"{name}={method.shows}"
            for name, method in METHODS.items()
            if method.is_baseline
        ],
        videos=shown_videos(),
        histories=[f"{key}={path}" for key, path in histories().items()],
        lag=labelled("{subject}", f"{R}/fmri/sub-{{subject}}/lag.png", subject=SUBJECTS),
        quality=labelled(
            "{subject}", f"{R}/fmri/sub-{{subject}}/quality.png", subject=SUBJECTS
        ),
        maps=labelled(
            "{method}/{subject}",
            f"{R}/explain/{{method}}/sub-{{subject}}.png",
            method=explained(),
            subject=SUBJECTS,
        ),
        benchmarks=f"{R}/benchmarks",
    message:
        "Making the report"
    shell:
        stage("make_report")


rule make_text_report:
    """The report of a study without movies and frames."""
    input:
        summary=f"{R}/scores/summary.tsv",
        tests=f"{R}/scores/tests.tsv",
        retrieval=f"{R}/scores/retrieval.tsv",
        features=expand(
            f"{R}/features/clips-{{shard}}.{{kind}}.h5",
            shard=FEATURE_SHARDS,
            kind=FEATURE_KINDS,
        ),
        clips=expand(f"{R}/stimuli/{{segment}}.tsv", segment=SEGMENTS),
        responses=expand(f"{R}/fmri/sub-{{subject}}/responses.h5", subject=SUBJECTS),
        histories=list(histories().values()),
        lag=expand(f"{R}/fmri/sub-{{subject}}/lag.png", subject=SUBJECTS),
        quality=expand(f"{R}/fmri/sub-{{subject}}/quality.png", subject=SUBJECTS),
        maps=expand(
            f"{R}/explain/{{method}}/sub-{{subject}}.png",
            method=explained(),
            subject=SUBJECTS,
        ),
        dag=f"{R}/report/dag.svg",
        provenance=f"{R}/report/provenance.json",
    output:
        page=report(f"{R}/report/retrieval.html", category="Report"),
    log:
        f"{R}/logs/make_text_report.log",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2_000),
        runtime=per_attempt(30),
    params:
        code=code_digest("workflow_scripts/make_text_report.py"),
        title=f"Decoding of embeddings: {CONFIG.dataset.name}",
        histories=[f"{key}={path}" for key, path in histories().items()],
        responses=labelled(
            "{subject}", f"{R}/fmri/sub-{{subject}}/responses.h5", subject=SUBJECTS
        ),
        lag=labelled(
            "{subject}",
            f"{R}/fmri/sub-{{subject}}/lag.png",
            subject=SUBJECTS,
        ),
        quality=labelled(
            "{subject}", f"{R}/fmri/sub-{{subject}}/quality.png", subject=SUBJECTS
        ),
        maps=labelled(
            "{method}/{subject}",
            f"{R}/explain/{{method}}/sub-{{subject}}.png",
            method=explained(),
            subject=SUBJECTS,
        ),
        benchmarks=f"{R}/benchmarks",
    message:
        "Making the report of a study without movies"
    shell:
        stage("make_text_report")


# Speed of your GPU, measured by `benchmark_gpu`; the plan uses the file if it exists.
GPU = Path("gpu/gpu.json")


rule benchmark_gpu:
    """Speed of every GPU stage, for the plan. Run it on the machine that runs the jobs (on a cluster: with
    the profile)."""
    output:
        gpu=str(GPU),
    log:
        f"{R}/logs/benchmark_gpu.log",
    conda:
        "../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(40_000),
        runtime=per_attempt(20),
    params:
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Measuring the GPU stages"
    shell:
        stage("benchmark_gpu")


rule plan:
    """Jobs, GPU-hours and bytes, before anything is started."""
    log:
        f"{R}/logs/plan.log",
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        config=lambda wildcards: json_of(CONFIG),  # as JSON, because the text may contain braces
        snakefile=workflow.main_snakefile,
        fetched=json.dumps(
            {
                "fetch_file": stated_bytes(DOWNLOADS.files),
                "fetch_archive": stated_bytes(DOWNLOADS.zips),
            }
        ),
        gpu=str(GPU) if GPU.exists() else "",
    message:
        "Computing the number of jobs, GPU-hours and bytes"
    shell:
        stage("plan_run", log="tee")
