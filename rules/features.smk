"""Frames and captions -> what the decoders aim at, from frozen models."""

READY = CONFIG.features.ready
HAS_CAPTIONS = bool(
    DATASET.has_stimuli or DATASET.has_captions or CONFIG.captions.ready
)
# Kinds of features that are computed here. If embeddings are ready, only prompt embeddings and latents can be
# missing, and they are needed for reconstruction alone.
COMPUTED = [
    *(
        ["text"]
        if HAS_CAPTIONS
        and not (
            READY.embeddings and (READY.prompt_embedding or not DATASET.has_stimuli)
        )
        else []
    ),
    *(
        ["image"]
        if DATASET.has_stimuli and not (READY.embeddings and READY.latents)
        else []
    ),
]
FEATURE_KINDS = [
    *(["text"] if "text" in COMPUTED or READY.text or READY.prompt_embedding else []),
    *(["image"] if "image" in COMPUTED or READY.image or READY.latents else []),
]
# Arrays that there will be; copies and crops are made of computed embeddings alone.
AVAILABLE = {
    *(
        ["clip_embedding_text"]
        if READY.text or ("text" in COMPUTED and not READY.embeddings)
        else []
    ),
    *(
        ["clip_embedding_image"]
        if READY.image or ("image" in COMPUTED and not READY.embeddings)
        else []
    ),
    *(["prompt_embedding"] if READY.prompt_embedding or "text" in COMPUTED else []),
    *(["latents"] if READY.latents or "image" in COMPUTED else []),
    *(
        ["clip_embedding_text_copies", "prompt_embedding_copies"]
        if CONFIG.features.caption_copies
        and "text" in COMPUTED
        and not READY.embeddings
        else []
    ),
    *(
        ["clip_embedding_image_crops"]
        if CONFIG.features.crops and "image" in COMPUTED and not READY.embeddings
        else []
    ),
}
# With ready features, what is computed is kept apart and joined by read_ready_features.
COMPUTED_IN = f"{R}/features/computed" if READY.given else f"{R}/features"
FEATURE_SHARDS = shards(CLIPS, CONFIG.shards.features)
if READY.given:
    logger.info(
        f"Features computed elsewhere: {', '.join(READY.given)}; computed here: "
        f"{', '.join(f'of {kind}s' for kind in COMPUTED) or 'none'}."
        " The log of read_ready_features names what is left out."
    )


# What augmented captions are made with.
CAPTION_SYNONYMS = (
    [CONFIG.features.synonyms or in_package("mind_animator/features/synonyms.tsv")]
    if CONFIG.features.caption_copies
    else []
)


rule encode_text:
    input:
        captions=captions_of_features,
        clip=local_model("clip"),
        stable_diffusion=local_model("stable_diffusion"),
        synonyms=CAPTION_SYNONYMS,
    output:
        features=f"{COMPUTED_IN}/clips-{{shard}}.text.h5",
    log:
        f"{R}/logs/encode_text/{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/encode_text/{{shard}}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(30),
    params:
        code=code_digest("workflow_scripts/encode_text.py"),
        revisions=[pinned_model(name) for name in ("clip", "stable_diffusion")],
        settings=CONFIG.features.model_dump_json(
            include={"tokens", "batch", "caption_copies", "synonyms"}
        ),
        seed=CONFIG.seed if CONFIG.features.caption_copies else 0,
        skip=lambda wildcards: int(wildcards.shard) % CONFIG.shards.captions,
        n_clips=clips_in(CONFIG.shards.features),
        # not tracked: derived from resources
        models=lambda wildcards, resources: models_json("clip", "stable_diffusion"),
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Encoding the captions of shard {wildcards.shard}"
    shell:
        stage("encode_text")


rule encode_frames:
    input:
        frames=shard_frames(CONFIG.shards.features),
        clip=local_model("clip"),
        stable_diffusion=local_model("stable_diffusion"),
    output:
        features=f"{COMPUTED_IN}/clips-{{shard}}.image.h5",
    log:
        f"{R}/logs/encode_frames/{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/encode_frames/{{shard}}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: NETWORK_THREADS
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(8_000),
        runtime=per_attempt(120),
    params:
        code=code_digest("workflow_scripts/encode_frames.py"),
        revisions=[pinned_model(name) for name in ("clip", "stable_diffusion")],
        settings=CONFIG.features.model_dump_json(
            include={"latents", "image", "batch", "crops"}
        ),
        seed=(
            CONFIG.seed
            if CONFIG.features.latents == "sample" or CONFIG.features.crops
            else 0
        ),
        skip=clips_before(CONFIG.shards.features),
        n_clips=clips_in(CONFIG.shards.features),
        # not tracked: derived from resources
        models=lambda wildcards, resources: models_json("clip", "stable_diffusion"),
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Encoding the frames of shard {wildcards.shard}"
    shell:
        stage("encode_frames")


if READY.given:

    rule read_ready_features:
        input:
            ready=[
                place.partition("::")[0].format(split=split)
                for place in READY.given.values()
                for split in (
                    dict.fromkeys(segment.split for segment in DATASET.segments)
                    if "{split}" in place
                    else [""]
                )
            ],
            computed_text=(
                expand(f"{COMPUTED_IN}/clips-{{shard}}.text.h5", shard=FEATURE_SHARDS)
                if "text" in COMPUTED
                else []
            ),
            computed_image=(
                expand(f"{COMPUTED_IN}/clips-{{shard}}.image.h5", shard=FEATURE_SHARDS)
                if "image" in COMPUTED
                else []
            ),
        output:
            **{
                kind: expand(
                    f"{R}/features/clips-{{shard}}.{kind}.h5", shard=FEATURE_SHARDS
                )
                for kind in FEATURE_KINDS
            },
        log:
            f"{R}/logs/read_ready_features.log",
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(4_000),
            runtime=per_attempt(30),
        params:
            code=code_digest("workflow_scripts/read_ready_features.py", *ADAPTER_FILES),
            settings=lambda wildcards: json_of(CONFIG.features),
            frames=CONFIG.stimuli.frames,
            shard_size=CONFIG.shards.features,
            dataset=lambda wildcards: DATASET_JSON,
        message:
            "Reading features computed elsewhere"
        shell:
            stage("read_ready_features", without={"text", "image"} - {*FEATURE_KINDS})


rule features:
    """Every target that the stimuli, the captions and the ready features allow."""
    input:
        expand(
            f"{R}/features/clips-{{shard}}.{{kind}}.h5",
            shard=FEATURE_SHARDS,
            kind=FEATURE_KINDS,
        ),
