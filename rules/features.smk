"""Frames and captions -> features; each kind is computed by one provider."""

READY = CONFIG.features.ready
HAS_CAPTIONS = bool(
    DATASET.has_stimuli or DATASET.has_captions or CONFIG.captions.ready
)
# Kinds of features that are computed here. If ready embeddings are given, only prompt embeddings and latents can be
# missing, and these are needed only for reconstruction.
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
# Further providers that methods need.
COMPUTED += [kind for kind in PROVIDERS if kind not in ("text", "image")]
FEATURE_KINDS = [
    *(["text"] if "text" in COMPUTED or READY.text or READY.prompt_embedding else []),
    *(["image"] if "image" in COMPUTED or READY.image or READY.latents else []),
    *(kind for kind in COMPUTED if kind not in ("text", "image")),
]
# Arrays that will be available; copies and crops exist only for computed embeddings.
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
    *(
        array
        for kind, provider in PROVIDERS.items()
        if kind not in ("text", "image")
        for array in provider.arrays()
    ),
}
# If ready features are given, computed features are stored separately and joined by read_ready_features.
COMPUTED_IN = f"{R}/features/computed" if READY.given else f"{R}/features"
FEATURE_SHARDS = shards(CLIPS, CONFIG.shards.features)
if READY.given:
    logger.info(
        f"Features computed elsewhere: {', '.join(READY.given)}; computed here: "
        f"{', '.join(f'of {kind}s' for kind in COMPUTED) or 'none'}."
        " The log of read_ready_features lists what is omitted."
    )


rule encode_features:
    input:
        clips=clips_of_features,
        networks=lambda wildcards: [
            weights
            for name in PROVIDERS[wildcards.kind].models
            for weights in local_model(name)
        ],
        others=lambda wildcards: PROVIDERS[wildcards.kind].files(),
    output:
        features=f"{COMPUTED_IN}/clips-{{shard}}.{{kind}}.h5",
    log:
        f"{R}/logs/encode_features/{{kind}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/encode_features/{{kind}}-{{shard}}.tsv"
    wildcard_constraints:
        kind=pattern_of(COMPUTED),
    conda:
        "../envs/gpu.yaml"
    threads: threads_of_features
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(8_000),
        runtime=per_attempt(120),
    params:
        code=lambda wildcards: code_digest(
            "workflow_scripts/encode_features.py",
            f"mind_animator/features/{wildcards.kind}.py",
        ),
        revisions=lambda wildcards: [
            pinned_model(name) for name in PROVIDERS[wildcards.kind].models
        ],
        settings=lambda wildcards: PROVIDERS[wildcards.kind].settings(),
        seed=lambda wildcards: CONFIG.seed if PROVIDERS[wildcards.kind].seeded else 0,
        skip=skipped_clips_of_features,
        n_clips=clips_in(CONFIG.shards.features),
        # not tracked: derived from resources
        models=lambda wildcards, resources: models_json(
            *PROVIDERS[wildcards.kind].models
        ),
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Computing features of shard {wildcards.shard}: {wildcards.kind}"
    shell:
        stage("encode_features")


if READY.given:

    rule read_ready_features:
        input:
            ready=[
                source.partition("::")[0].format(split=split)
                for source in READY.given.values()
                for split in (
                    dict.fromkeys(segment.split for segment in DATASET.segments)
                    if "{split}" in source
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
                if kind in ("text", "image")
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
        [
            features_file(kind, shard)
            for kind in FEATURE_KINDS
            for shard in FEATURE_SHARDS
        ],
