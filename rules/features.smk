"""Frames and captions -> what the decoders aim at, from frozen models."""

# What augmented captions are made with.
CAPTION_SYNONYMS = (
    [CONFIG.features.synonyms or "mind_animator/features/synonyms.tsv"]
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
        features=f"{R}/features/clips-{{shard}}.text.h5",
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
        clip=pinned_model("clip"),
        stable_diffusion=pinned_model("stable_diffusion"),
        settings=CONFIG.features.model_dump_json(
            include={"tokens", "batch", "caption_copies", "synonyms"}
        ),
        seed=CONFIG.seed if CONFIG.features.caption_copies else 0,
        skip=lambda wildcards: int(wildcards.shard) % CONFIG.shards.captions,
        n_clips=clips_in(CONFIG.shards.features),
        # not tracked: derived from resources
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Encoding the captions of shard {wildcards.shard}"
    shell:
        "OMP_NUM_THREADS={threads} python -m workflow_scripts.encode_text"
        " --captions {input.captions}"
        " --skip {params.skip}"
        " --count {params.n_clips}"
        f" --clip {CONFIG.models.clip}"
        f" --stable-diffusion {CONFIG.models.stable_diffusion}"
        f" --lock {CONFIG.models.lock}"
        " --settings {params.settings:q}"
        " --seed {params.seed}"
        " --device {params.device}"
        " --features {output.features}"
        " > {log} 2>&1"


rule encode_frames:
    input:
        frames=shard_frames(CONFIG.shards.features),
        clip=local_model("clip"),
        stable_diffusion=local_model("stable_diffusion"),
    output:
        features=f"{R}/features/clips-{{shard}}.image.h5",
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
        clip=pinned_model("clip"),
        stable_diffusion=pinned_model("stable_diffusion"),
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
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Encoding the frames of shard {wildcards.shard}"
    shell:
        "OMP_NUM_THREADS={threads} python -m workflow_scripts.encode_frames"
        " --frames {input.frames}"
        " --skip {params.skip}"
        " --count {params.n_clips}"
        f" --clip {CONFIG.models.clip}"
        f" --stable-diffusion {CONFIG.models.stable_diffusion}"
        f" --lock {CONFIG.models.lock}"
        " --settings {params.settings:q}"
        " --seed {params.seed}"
        " --device {params.device}"
        " --features {output.features}"
        " > {log} 2>&1"


rule features:
    """Every target that the data set's stimuli and captions allow."""
    input:
        expand(
            f"{R}/features/clips-{{shard}}.{{kind}}.h5",
            shard=shards(CLIPS, CONFIG.shards.features),
            kind=[
                *(
                    ["text"]
                    if DATASET.has_stimuli
                    or DATASET.has_captions
                    or CONFIG.captions.ready
                    else []
                ),
                *(["image"] if DATASET.has_stimuli else []),
            ],
        ),
