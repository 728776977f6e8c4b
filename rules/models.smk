"""Revisions and checksums of the frozen models. Request this rule by name, once, on a machine with internet access."""


localrules:
    pin_models,


rule pin_models:
    log:
        f"{R}/logs/pin_models.log",
    conda:
        "../envs/cpu.yaml"
    params:
        models=json_of(models_of_metrics()),
    message:
        f"Fetching the frozen models and writing {CONFIG.models.lock}"
    shell:
        stage(
            "pin_models",
            environment="HF_HUB_OFFLINE=0 TRANSFORMERS_OFFLINE=0",
            log="tee",
        )
