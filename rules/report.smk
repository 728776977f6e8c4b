# Tables, figures and videos become one self-contained page.


rule draw_dag:
    output:
        svg=f"{R}/report/dag.svg",
    log:
        f"{R}/logs/draw_dag.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code_digest("workflow_scripts/draw_dag.py"),
        config=lambda wildcards: json_of(CONFIG),  # not as it is: it may hold braces
    message:
        "Drawing the rule graph"
    shell:
        "python -m workflow_scripts.draw_dag --config {params.config:q} --svg {output.svg}"
        " > {log} 2>&1"


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
        mem_mb=1_000,
        runtime=10,
    params:
        code=code_digest("workflow_scripts/record_provenance.py"),
        config=lambda wildcards: json_of(CONFIG),  # not as it is: it may hold braces
    message:
        "Recording what made the results"
    shell:
        "python -m workflow_scripts.record_provenance --config {params.config:q}"
        " --weights {input.weights} --output {output.record}"
        " > {log} 2>&1"


REPORTED = [
    name
    for name, method in METHODS.items()
    if method.frames_from not in ("training", "method")
]


def labelled(pattern, **wildcards):
    """Pairs ``label=file`` for a script; the label is the wildcards' values joined by ``/``."""
    values = expand("/".join(f"{{{name}}}" for name in wildcards), **wildcards)
    return [
        f"{label}={file}"
        for label, file in zip(values, expand(pattern, **wildcards), strict=True)
    ]


def histories():
    """Records of every decoder that some method trains."""
    return {
        f"{name}/{subject}/{decoder}": f"{R}/decoders/{name}/sub-{subject}/{decoder}.json"
        for name, method in METHODS.items()
        for subject in ([POOLED] if method.pooled else SUBJECTS)
        for decoder in method.trains
    }


def explained():
    """Methods whose decoders are drawn on the cortex, where the voxels have a place on it."""
    return [
        name
        for name in REPORTED
        if METHODS[name].kind == "mind_animator" and DATASET.areas_of == "fs_LR_32k"
    ]


SHOWN_METHOD = next(iter(METHODS))


rule draw_contact_sheet:
    input:
        truth=expand(f"{R}/stimuli/{{segment}}.h5", segment=TEST_SEGMENTS),
        tables=TEST_TABLES,
        reconstructions=lambda wildcards: reconstructions_of(
            SHOWN_METHOD, wildcards.subject
        ),
    output:
        figure=f"{R}/report/contact_sheet/sub-{{subject}}.png",
    log:
        f"{R}/logs/draw_contact_sheet/sub-{{subject}}.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code_digest("workflow_scripts/draw_contact_sheet.py"),
    message:
        "Drawing the contact sheet of subject {wildcards.subject}"
    shell:
        "python -m workflow_scripts.draw_contact_sheet"
        " --truth {input.truth}"
        " --tables {input.tables}"
        " --reconstructions {input.reconstructions}"
        " --figure {output.figure}"
        " > {log} 2>&1"


REPORT_VIDEOS = [
    f"{method}/{subject}={shard}"
    for method in REPORTED
    for subject in SUBJECTS
    for shard in reconstructions_of(method, subject)
]


rule make_report:
    input:
        truth=expand(f"{R}/stimuli/{{segment}}.h5", segment=TEST_SEGMENTS),
        videos=[entry.partition("=")[2] for entry in REPORT_VIDEOS],
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
        mem_mb=4_000,
        runtime=30,
    params:
        code=code_digest("workflow_scripts/make_report.py"),
        title=f"Mind-Animator on {CONFIG.dataset.name}",
        rate=CONFIG.stimuli.rate,
        videos=REPORT_VIDEOS,
        histories=[f"{key}={path}" for key, path in histories().items()],
        lag=labelled(f"{R}/fmri/sub-{{subject}}/lag.png", subject=SUBJECTS),
        quality=labelled(f"{R}/fmri/sub-{{subject}}/quality.png", subject=SUBJECTS),
        maps=labelled(
            f"{R}/explain/{{method}}/sub-{{subject}}.png",
            method=explained(),
            subject=SUBJECTS,
        ),
        benchmarks=f"{R}/benchmarks",
    message:
        "Making the report"
    shell:
        "python -m workflow_scripts.make_report"
        " --title {params.title:q}"
        " --truth {input.truth}"
        " --captions {input.captions}"
        " --rate {params.rate}"
        " --videos {params.videos}"
        " --summary {input.summary}"
        " --tests {input.tests}"
        " --retrieval {input.retrieval}"
        " --histories {params.histories}"
        " --lag {params.lag}"
        " --quality {params.quality}"
        " --maps {params.maps}"
        " --dag {input.dag}"
        " --provenance {input.provenance}"
        " --benchmarks {params.benchmarks}"
        " --page {output.page}"
        " > {log} 2>&1"


def scale_of_plan():
    """Sizes that the cost model follows."""
    trained = {"semantic": 30, "structure": 75, "motion": 70}
    return json.dumps(
        {
            "subjects": len(SUBJECTS),
            "clips": len(CLIPS),
            "train_clips": len(CLIPS) - len(TEST_CLIPS),
            "test_clips": len(TEST_CLIPS),
            "frames": CONFIG.stimuli.frames,
            "size": CONFIG.stimuli.size,
            "voxels": CONFIG.fmri.voxels.count or 5_000,
            "vertices": 59_412,
            "steps": CONFIG.reconstruction.steps,
            "inversion_steps": CONFIG.reconstruction.inversion_steps,
            "generators": sum(
                m.reconstruction == "generator" for m in METHODS.values()
            ),
            "epochs": trained,
        }
    )


rule plan:
    """Jobs, GPU-hours and bytes, before anything is started."""
    log:
        f"{R}/logs/plan.log",
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        config=lambda wildcards: json_of(CONFIG),  # not as it is: it may hold braces
        scale=scale_of_plan(),
    message:
        "Planning"
    shell:
        "python -m workflow_scripts.plan_run --config {params.config:q} --scale {params.scale:q}"
        " 2>&1 | tee {log}"
