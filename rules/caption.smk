"""Captions of the clips, generated from frames or read from existing files."""

if CONFIG.captions.ready or DATASET.has_captions:

    rule read_captions:
        input:
            ready=list(CONFIG.captions.ready),
            own=[] if CONFIG.captions.ready else list(map(str, DATASET.caption_files())),
        output:
            captions=f"{R}/captions/clips-{{shard}}.tsv",
        log:
            f"{R}/logs/read_captions/{{shard}}.log",
        conda:
            "../envs/cpu.yaml"
        resources:
            mem_mb=per_attempt(1_000),
            runtime=per_attempt(10),
        params:
            code=code_digest("workflow_scripts/read_captions.py", *ADAPTER_FILES),
            n_clips=clips_in(CONFIG.shards.captions),
            # not tracked (the function takes threads): the clips follow from the code
            dataset=lambda wildcards, threads: DATASET_JSON,
        message:
            "Reading ready captions of shard {wildcards.shard}"
        shell:
            stage("read_captions")

else:

    rule caption_clips:
        input:
            frames=shard_frames(CONFIG.shards.captions),
            blip2=local_model("blip2"),
            clip=local_model("clip"),
        output:
            captions=f"{R}/captions/clips-{{shard}}.tsv",
        log:
            f"{R}/logs/caption_clips/{{shard}}.log",
        benchmark:
            f"{R}/benchmarks/caption_clips/{{shard}}.tsv"
        conda:
            "../envs/gpu.yaml"
        threads: NETWORK_THREADS
        resources:
            gpu=gpu_count,
            mem_mb=per_attempt(64_000 if CONFIG.device == "cuda" else 4_000),
            runtime=per_attempt(240),
        params:
            code=code_digest("workflow_scripts/caption_clips.py"),
            revisions=[pinned_model(name) for name in ("blip2", "clip")],
            settings=CONFIG.captions.model_dump_json(exclude={"ready"}),
            seed=CONFIG.seed,
            skip=clips_before(CONFIG.shards.captions),
            n_clips=clips_in(CONFIG.shards.captions),
            # not tracked: derived from resources or output
            models=lambda wildcards, resources: models_json("blip2", "clip"),
            device=lambda wildcards, resources: CONFIG.device,
            state=lambda wildcards, output: f"{output.captions}.state",
        message:
            "Captioning the clips of shard {wildcards.shard}"
        shell:
            stage("caption_clips")


rule captions:
    """Captions of all clips."""
    input:
        expand(
            f"{R}/captions/clips-{{shard}}.tsv",
            shard=shards(CLIPS, CONFIG.shards.captions),
        ),
