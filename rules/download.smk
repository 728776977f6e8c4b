"""Archives -> files of the data set. Only missing files are fetched; existing files are never changed."""

# Downloads have the highest priority, so that missing terms or files stop the run early.
DOWNLOAD_FIRST = 1000
DOWNLOADS = plan_downloads(DATASET)
# Links of a clone without content: Snakemake cannot read their modification time, so no DAG can be built with them.
if not {"check_data", "plan"} & set(sys.argv):
    try:
        check_clones(DOWNLOADS.by_hand)
    except InputError as error:
        raise WorkflowError(str(error))
DATA_ROOT = CONFIG.dataset.data_root


LISTED = [archive.file for archive in DOWNLOADS.files if archive.listing]

if LISTED:

    rule fetch_listing:
        """Files that a server lists through its own API, in one job."""
        output:
            [f"{DATA_ROOT}/{file}" for file in LISTED],
        log:
            f"{R}/logs/fetch_listing.log",
        priority: DOWNLOAD_FIRST
        localrule: True
        conda:
            "../envs/cpu.yaml"
        threads: 1
        params:
            # not tracked (the function takes threads)
            dataset=lambda wildcards, threads: DATASET_JSON,
        message:
            "Fetching listed files"
        shell:
            stage("fetch_listing", log="last_line")


if DOWNLOADS.files or DOWNLOADS.zips:

    rule fetch_file:
        output:
            file=f"{DATA_ROOT}/{{file}}",
        log:
            f"{R}/logs/fetch_file/{{file}}.log",
        wildcard_constraints:
            file=pattern_of(
                archive.file for archive in DOWNLOADS.files if not archive.listing
            ),
        priority: DOWNLOAD_FIRST
        localrule: True
        conda:
            "../envs/cpu.yaml"
        threads: 1
        params:
            # not tracked (the function takes threads): an existing file is never fetched again
            archive=lambda wildcards, threads: ARCHIVE_OF[wildcards.file],
            dataset=lambda wildcards, threads: DATASET_JSON,
        message:
            "Fetching {wildcards.file}"
        shell:
            stage("fetch_archive", log="last_line")

    use rule fetch_file as fetch_archive with:
        output:
            file=temp(f"{DATA_ROOT}/{{file}}"),
        log:
            f"{R}/logs/fetch_archive/{{file}}.log",
        wildcard_constraints:
            file=pattern_of(archive.file for archive in DOWNLOADS.zips),


for zip_to_unpack, files_to_unpack in DOWNLOADS.zips.items():

    rule:
        name:
            f"unpack_{zip_to_unpack.name}"
        input:
            archive=f"{DATA_ROOT}/{zip_to_unpack.file}",
        output:
            [f"{DATA_ROOT}/{file}" for file in files_to_unpack],
        log:
            f"{R}/logs/unpack_archive/{zip_to_unpack.name}.log",
        priority: DOWNLOAD_FIRST
        localrule: True
        conda:
            "../envs/cpu.yaml"
        threads: 1
        params:
            name=zip_to_unpack.name,
            # not tracked (the function takes threads)
            dataset=lambda wildcards, threads: DATASET_JSON,
        message:
            "Unpacking {input.archive}"
        shell:
            stage("unpack_archive", log="last_line")


if DOWNLOADS.by_hand:

    rule request_files:
        """Files that must be obtained by hand: the error names them and their source."""
        output:
            [str(path) for path in DOWNLOADS.by_hand],
        log:
            f"{R}/logs/request_files.log",
        priority: DOWNLOAD_FIRST
        localrule: True
        conda:
            "../envs/cpu.yaml"
        params:
            require=True,
            # not tracked (the function takes threads)
            dataset=lambda wildcards, threads: DATASET_JSON,
        message:
            "Checking for files that cannot be downloaded"
        shell:
            stage("check_data", without=["table"], log="last_line")


rule check_splits:
    input:
        tables=expand(f"{R}/stimuli/{{segment}}.tsv", segment=SEGMENTS),
        frames=expand(f"{R}/stimuli/{{segment}}.h5", segment=SEGMENTS),
    output:
        table=f"{R}/stimuli/splits.tsv",
    log:
        f"{R}/logs/check_splits.log",
    benchmark:
        f"{R}/benchmarks/check_splits.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4_000),
        runtime=per_attempt(60),
    params:
        code=code_digest("workflow_scripts/check_splits.py"),
    message:
        "Checking that no test movie is used for training"
    shell:
        stage("check_splits")


rule download:
    """All files that the workflow reads."""
    input:
        [str(path) for path in DATASET.sources()],


rule check_data:
    """A table of the files that are present, missing or invalid; computed again at every call."""
    log:
        f"{R}/logs/check_data.log",
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        table=f"{R}/check_data.tsv",
        dataset=lambda wildcards, threads: DATASET_JSON,
    shell:
        stage("check_data", without=["require"], log="tee")
