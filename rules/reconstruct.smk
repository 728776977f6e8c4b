"""Predictions -> videos, by inversion and sampling with the generator, or by the VAE's decoder alone."""


rule draw_first_pass:
    input:
        predictions=f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
        stable_diffusion=local_model("stable_diffusion"),
    output:
        latents=f"{R}/first_pass/{{method}}/sub-{{subject}}/clips-{{shard}}.h5",
    log:
        f"{R}/logs/draw_first_pass/{{method}}/sub-{{subject}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/draw_first_pass/{{method}}/sub-{{subject}}-{{shard}}.tsv"
    wildcard_constraints:
        method=methods_by("generator"),
    conda:
        "../envs/gpu.yaml"
    threads: CONFIG.reconstruction.cpu_threads
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(16_000),
        runtime=per_attempt(120),
    params:
        code=code_digest("workflow_scripts/draw_first_pass.py"),
        model=lambda wildcards: CONFIG.models.stable_diffusion,
        lock=CONFIG.models.lock,
        revision=pinned_model("stable_diffusion"),
        settings=lambda wildcards: json_of(CONFIG.reconstruction.image_pass()),
        tokens=CONFIG.features.tokens,
        shard_size=CONFIG.shards.reconstruction,
        seed=CONFIG.seed,
        # not tracked: derived from resources or output
        device=lambda wildcards, resources: CONFIG.device,
        state=subpath(output.latents, with_suffix=".state"),
    message:
        "Drawing the first pass of {wildcards.method}, subject {wildcards.subject}, from clip {wildcards.shard}"
    shell:
        stage("draw_first_pass")


rule invert_latents:
    input:
        predictions=f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
        first_pass=first_pass_latents,
        stable_diffusion=local_model("stable_diffusion"),
    output:
        noise=f"{R}/inversions/{{method}}/sub-{{subject}}/clips-{{shard}}.h5",
    log:
        f"{R}/logs/invert_latents/{{method}}/sub-{{subject}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/invert_latents/{{method}}/sub-{{subject}}-{{shard}}.tsv"
    wildcard_constraints:
        method=methods_by("generator"),
    conda:
        "../envs/gpu.yaml"
    threads: CONFIG.reconstruction.cpu_threads
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(16_000),
        runtime=per_attempt(240),
    params:
        code=code_digest("workflow_scripts/invert_latents.py"),
        model=lambda wildcards: CONFIG.models.stable_diffusion,
        lock=CONFIG.models.lock,
        revision=pinned_model("stable_diffusion"),
        settings=lambda wildcards: json_of(
            CONFIG.reconstruction.final_pass().inversion()
        ),
        tokens=CONFIG.features.tokens,
        shard_size=CONFIG.shards.reconstruction,
        seed=CONFIG.seed,
        # not tracked: derived from resources or output
        device=lambda wildcards, resources: CONFIG.device,
        state=subpath(output.noise, with_suffix=".state"),
    message:
        "Inverting the latents of {wildcards.method}, subject {wildcards.subject}, from clip {wildcards.shard}"
    shell:
        stage("invert_latents")


rule reconstruct_clips:
    input:
        predictions=f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
        first_pass=first_pass_latents,
        inversions=inverted_latents,
        stable_diffusion=local_model("stable_diffusion"),
    output:
        frames=f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.h5",
        video=f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.mp4",
    log:
        f"{R}/logs/reconstruct_clips/{{method}}/sub-{{subject}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/reconstruct_clips/{{method}}/sub-{{subject}}-{{shard}}.tsv"
    wildcard_constraints:
        method=methods_by("generator"),
    conda:
        "../envs/gpu.yaml"
    threads: CONFIG.reconstruction.cpu_threads
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(16_000),
        runtime=per_attempt(360),
    params:
        code=code_digest("workflow_scripts/reconstruct_clips.py"),
        model=lambda wildcards: CONFIG.models.stable_diffusion,
        lock=CONFIG.models.lock,
        revision=pinned_model("stable_diffusion"),
        settings=lambda wildcards: json_of(CONFIG.reconstruction.final_pass()),
        tokens=CONFIG.features.tokens,
        shard_size=CONFIG.shards.reconstruction,
        seed=CONFIG.seed,
        rate=CONFIG.stimuli.rate,
        # not tracked: derived from resources or output
        device=lambda wildcards, resources: CONFIG.device,
        state=subpath(output.frames, with_suffix=".state"),
    message:
        "Reconstructing {wildcards.method}, subject {wildcards.subject}, from clip {wildcards.shard}"
    shell:
        stage("reconstruct_clips")


rule decode_latents:
    input:
        predictions=f"{R}/predictions/{{method}}/sub-{{subject}}.h5",
        stable_diffusion=local_model("stable_diffusion"),
    output:
        frames=f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.h5",
        video=f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.mp4",
    log:
        f"{R}/logs/decode_latents/{{method}}/sub-{{subject}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/decode_latents/{{method}}/sub-{{subject}}-{{shard}}.tsv"
    wildcard_constraints:
        method=methods_by("vae"),
    conda:
        "../envs/gpu.yaml"
    threads: CONFIG.reconstruction.cpu_threads
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(16_000),
        runtime=per_attempt(120),
    params:
        code=code_digest("workflow_scripts/decode_latents.py"),
        model=lambda wildcards: CONFIG.models.stable_diffusion,
        lock=CONFIG.models.lock,
        revision=pinned_model("stable_diffusion"),
        shard_size=CONFIG.shards.reconstruction,
        rate=CONFIG.stimuli.rate,
        vae_precision=CONFIG.reconstruction.vae_precision,
        cpu_threads=CONFIG.reconstruction.cpu_threads,
        # not tracked: derived from resources
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Decoding the latents of {wildcards.method}, subject {wildcards.subject}, from clip {wildcards.shard}"
    shell:
        stage("decode_latents")


rule reconstruct_own:
    input:
        weights=weights_of_prediction,
        responses=f"{R}/fmri/sub-{{subject}}/responses.h5",
        predictions=lambda wildcards: (
            f"{R}/predictions/{wildcards.method}/sub-{wildcards.subject}.h5"
            if METHODS[wildcards.method].predicts
            else []
        ),
        clips=TEST_TABLES,
        networks=lambda wildcards: networks_of_needs(METHODS[wildcards.method].needs),
    output:
        frames=f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.h5",
        video=f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.mp4",
    log:
        f"{R}/logs/reconstruct_own/{{method}}/sub-{{subject}}-{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/reconstruct_own/{{method}}/sub-{{subject}}-{{shard}}.tsv"
    wildcard_constraints:
        method=methods_by("own"),
    conda:
        "../envs/gpu.yaml"
    threads: CONFIG.reconstruction.cpu_threads
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(training_memory),
        runtime=per_attempt(240),
    params:
        code=lambda wildcards: code_digest(
            "workflow_scripts/reconstruct_own.py", METHODS[wildcards.method].module
        ),
        kind=lambda wildcards: METHODS[wildcards.method].kind,
        settings=lambda wildcards: METHODS[wildcards.method].reconstruction_settings(),
        needs=lambda wildcards: json_of(METHODS[wildcards.method].needs),
        revisions=lambda wildcards: [
            pinned_model(name) for name in METHODS[wildcards.method].needs.models
        ],
        t_r=lambda wildcards: volume_seconds(METHODS[wildcards.method].needs),
        shard_size=CONFIG.shards.reconstruction,
        n_frames=CONFIG.stimuli.frames,
        size=CONFIG.stimuli.size,
        rate=CONFIG.stimuli.rate,
        seed=CONFIG.seed,
        # not tracked: derived from resources or input
        models=lambda wildcards, resources: models_json(
            *METHODS[wildcards.method].needs.models
        ),
        device=lambda wildcards, resources: CONFIG.device,
        weights=weights_by_part,
    message:
        "Reconstructing {wildcards.method}, subject {wildcards.subject}, from clip {wildcards.shard}"
    shell:
        stage("reconstruct_own")


rule reconstruct:
    """Videos of all methods and subjects."""
    input:
        expand(
            f"{R}/reconstructions/{{method}}/sub-{{subject}}/clips-{{shard}}.h5",
            method=METHODS,
            subject=SUBJECTS,
            shard=shards(TEST_CLIPS, CONFIG.shards.reconstruction),
        ),


rule measure_oracle:
    """Upper bound of stage 2, from ground-truth latents and text of a training movie; no decoder is needed."""
    input:
        frames=f"{R}/stimuli/{(TRAIN_SEGMENTS or SEGMENTS)[0]}.h5",
        table=f"{R}/stimuli/{(TRAIN_SEGMENTS or SEGMENTS)[0]}.tsv",
        text=f"{R}/features/clips-{shards(CLIPS, CONFIG.shards.features)[0]}.text.h5",
        stable_diffusion=local_model("stable_diffusion"),
    output:
        links=f"{R}/oracle.tsv",
    log:
        f"{R}/logs/measure_oracle.log",
    benchmark:
        f"{R}/benchmarks/measure_oracle.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: CONFIG.reconstruction.cpu_threads
    resources:
        gpu=gpu_count,
        mem_mb=per_attempt(16_000),
        runtime=per_attempt(240),
    params:
        code=code_digest("workflow_scripts/measure_oracle.py"),
        model=lambda wildcards: CONFIG.models.stable_diffusion,
        lock=CONFIG.models.lock,
        revision=pinned_model("stable_diffusion"),
        settings=lambda wildcards: json_of(CONFIG.reconstruction),
        seed=CONFIG.seed,
        # not tracked: derived from resources
        device=lambda wildcards, resources: CONFIG.device,
    message:
        "Measuring the upper bound of stage 2"
    shell:
        stage("measure_oracle")


rule oracle:
    """Upper bound of stage 2: the motion that the generator reproduces from ground-truth latents and text."""
    input:
        rules.measure_oracle.output,
