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
        config=json_of(CONFIG),
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
        config=json_of(CONFIG),
    message:
        "Recording what made the results"
    shell:
        "python -m workflow_scripts.record_provenance --config {params.config:q}"
        " --weights {input.weights} --output {output.record}"
        " > {log} 2>&1"
