"""From the table of archives to files in place: the scripts of the download rules, end to end on loopback."""

import shutil

import boto3
import numpy as np
import pytest
import yaml
from download.servers import Fault, ftp_site, http_site
from moto.server import ThreadedMotoServer
from simulate import simulate_cc2017, zip_twice

from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import archives, open_dataset
from mind_animator.datasets.check import check_files, plan_downloads
from mind_animator.datasets.download import read_manifest
from mind_animator.errors import InputError
from workflow_scripts import fetch_archive, fetch_listing, unpack_archive

REPEATS = {"seg1": 2, "test1": 1, "test2": 1}


@pytest.fixture(scope="module")
def purr(tmp_path_factory):
    """CC2017's zips as PURR packs them: stimuli, and one subject with a folder of its own around it."""
    root = tmp_path_factory.mktemp("purr")
    features = simulate_cc2017(root / "all", "1", REPEATS, lag=6.0, rng=np.random.default_rng(0), fps=2)
    inside = root / "all/video_fmri_dataset"
    for name, part in (("10_4231_R71Z42KK", "stimuli"), ("10_4231_R7X63K3M", "subject1")):
        around = root / name / ("Subject01" if part == "subject1" else ".")
        shutil.move(inside / part, around / "video_fmri_dataset" / part)
        zip_twice(root / name, root / f"served/{name}.zip", stored=part == "stimuli")
    return root / "served", features


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Lets a test write its own table of archives."""

    def rewrite(change):
        content = yaml.safe_load(archives.TABLE.read_text())
        change(content["sources"])
        path = tmp_path / "archives.yaml"
        path.write_text(yaml.safe_dump(content))
        monkeypatch.setattr(archives, "TABLE", path)
        archives.describe.cache_clear()

    yield rewrite
    archives.describe.cache_clear()


class _Part:
    """CC2017 with the few segments that the simulated archives hold."""

    def __enter__(self):
        from mind_animator.datasets.cc2017 import CC2017

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(CC2017, "train_movies", ("seg1",))
        self.patch.setattr(CC2017, "test_movies", ("test1", "test2"))
        self.patch.setattr(CC2017, "_repeats", lambda self, segment: REPEATS[segment])

    def __exit__(self, *args):
        self.patch.undo()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cc2017_from_double_zips_to_responses(tmp_path, purr, table):
    """FTP and HTTP, a cut on the way, two layers of zip: responses follow the features at the planted lag."""
    served, features = purr
    body = (served / "10_4231_R71Z42KK.zip").read_bytes()
    config = DatasetConfig(name="cc2017", data_root=str(tmp_path / "data"), subjects=("1",))
    with ftp_site(served) as port, http_site(files={"/stimuli.zip": body}) as site, _Part():
        site.faults = [Fault("cut", at=len(body) // 2)]
        paths = {
            "stimuli": f"{site.url}/stimuli.zip",
            "subject1": f"ftp://127.0.0.1:{port}/10_4231_R7X63K3M.zip",
        }

        def mine(sources):
            for name, url in paths.items():
                sources["cc2017"]["archives"][name] |= {"urls": [url], "size": None}

        table(mine)
        dataset = open_dataset(config)
        plan = plan_downloads(dataset)
        assert [archive.name for archive in plan.zips] == ["stimuli", "subject1"] and not plan.by_hand
        for archive in plan.zips:
            arguments = ["--dataset", config.model_dump_json()]
            fetch_archive.main(
                [*arguments, "--archive", archive.name, "--file", str(dataset.root / archive.file)]
            )
            unpack_archive.main(
                [*arguments, "--name", archive.name, "--archive", str(dataset.root / archive.file)]
            )
        after = open_dataset(config)
        assert [str(path) for path in after.sources()] == [str(path) for path in dataset.sources()]
        assert not plan_downloads(after).zips and set(check_files(after)["state"]) == {"here"}
        checks = {entry.file: entry.checked_by for entry in read_manifest(after.root).values()}
        assert set(checks.values()) == {"zip crc"} and "video_fmri_dataset/stimuli/seg1.mp4" in checks
        # 245 volumes of test1, 246 of test2: both are aligned by selection, once
        for segment in ("test1", "test2"):
            best = [_explained(after, segment, lag, features[segment]) for lag in (4.0, 6.0)]
            assert best[1] > 0.6 and best[0] < 0.3


def _explained(dataset, segment, lag, features):
    values = next(dataset.responses("1", segment, FmriConfig(lag=lag)))
    live = values[:, values.any(axis=0)]
    fit = np.linalg.lstsq(features, live, rcond=None)[0]
    return 1 - np.var(live - features @ fit) / np.var(live)


def test_a_zip_without_what_is_needed_is_reported(tmp_path, purr):
    served, _ = purr
    config = DatasetConfig(name="cc2017", data_root=str(tmp_path), subjects=("1",))
    arguments = ["--dataset", config.model_dump_json(), "--name", "subject1"]
    with (
        _Part(),
        pytest.raises(
            InputError, match=r"Expected video_fmri_dataset/subject1/.*, found none \(4 files missing\)"
        ),
    ):
        unpack_archive.main([*arguments, "--archive", str(served / "10_4231_R71Z42KK.zip")])


def test_hcp_from_s3(tmp_path, monkeypatch):
    """Files of one subject by the user's own credentials; without them nothing starts."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server._server.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        config = DatasetConfig(name="hcp", data_root=str(tmp_path / "data"), subjects=("100610",))
        plan = plan_downloads(open_dataset(config))
        assert len(plan.files) == 4 and [path.name[:9] for path in plan.by_hand] == [
            f"7T_MOVIE{n}" for n in range(1, 5)
        ]
        arguments = ["--dataset", config.model_dump_json(), "--archive", plan.files[0].name]
        arguments += ["--file", str(tmp_path / "data" / plan.files[0].file)]
        with pytest.raises(InputError, match="Expected AWS credentials to fetch 4 files of hcp"):
            fetch_archive.main(arguments)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        client = boto3.Session().client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="hcp-openaccess")
        client.put_object(Bucket="hcp-openaccess", Key=plan.files[0].file, Body=b"CIFTI" * 1000)
        fetch_archive.main(arguments)
    finally:
        server.stop()
    assert (tmp_path / "data" / plan.files[0].file).read_bytes() == b"CIFTI" * 1000
    assert len(plan_downloads(open_dataset(config)).files) == 3


def test_osf_files_several_at_once(tmp_path, capsys):
    import hashlib
    import json

    bodies = {f"f{n}.bin": bytes([n]) * 5000 for n in range(5)}
    with http_site(files={f"/d/{name}": body for name, body in bodies.items()}) as site:
        items = [
            {
                "attributes": {
                    "kind": "file", "materialized_path": f"/{name}", "size": len(body),
                    "extra": {"hashes": {"sha256": hashlib.sha256(body).hexdigest()}},
                },
                "links": {"download": f"{site.url}/d/{name}"},
            }
            for name, body in bodies.items()
        ]  # fmt: skip
        site.files["/list"] = json.dumps({"data": items, "links": {"next": None}}).encode()
        fetch_listing.main(["--listing", f"{site.url}/list", "--folder", str(tmp_path), "--only", "f[123]*"])
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.bin")} == {
        f"f{n}.bin": bodies[f"f{n}.bin"] for n in (1, 2, 3)
    }
    assert {entry.checked_by for entry in read_manifest(tmp_path).values()} == {"sha256"}
    assert "5000\t" in capsys.readouterr().out


def test_the_osf_preset_fetches_what_the_listing_tells(tmp_path):
    """Mind-Animator's published test set: places by the end of their paths, sizes and SHA-256 from OSF's list."""
    import hashlib
    import json

    options = {"preset": "mind_animator"}
    config = DatasetConfig(name="arrays", data_root=str(tmp_path), subjects=("2",), options=options)
    archives = open_dataset(config).archives()
    assert len(archives) == 1201 and all(one.listing.endswith("/utqde/files/osfstorage/") for one in archives)
    for archive in archives[2:]:
        (tmp_path / archive.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / archive.file).write_bytes(b"here already")
    expected = {archive.file: archive.name.encode() * 99 for archive in archives[:2]}
    with http_site(files={f"/d/{n}": body for n, body in enumerate(expected.values())}) as site:
        items = [
            {
                "attributes": {
                    "kind": "file", "materialized_path": f"/Mind_Animator_data/{path}", "size": len(body),
                    "extra": {"hashes": {"sha256": hashlib.sha256(body).hexdigest()}},
                },
                "links": {"download": f"{site.url}/d/{n}"},
            }
            for n, (path, body) in enumerate(expected.items())
        ]  # fmt: skip
        arguments = ["--dataset", config.model_dump_json(), "--listing", f"{site.url}/list"]
        site.files["/list"] = json.dumps({"data": items[:1], "links": {"next": None}}).encode()
        with pytest.raises(InputError, match=r"^Expected one file 'Testset_of.*test1_2.mp4' at .*, got 0"):
            fetch_listing.main(arguments)
        site.files["/list"] = json.dumps({"data": items, "links": {"next": None}}).encode()
        fetch_listing.main(arguments)
    assert {path: (tmp_path / path).read_bytes() for path in expected} == expected
    assert {entry.checked_by for entry in read_manifest(tmp_path).values()} == {"sha256"}


def test_two_processes_do_not_fetch_the_same_file(tmp_path):
    from filelock import FileLock

    from mind_animator.datasets.download import fetch

    with FileLock(tmp_path / "a.bin.lock"), pytest.raises(InputError, match="Another process is downloading"):
        fetch(["http://127.0.0.1:1/a.bin"], tmp_path, "a.bin")


def test_the_table_quotes_the_known_facts():
    """Sizes and addresses as published; nothing has a checksum, and none is made up."""
    content = yaml.safe_load(archives.TABLE.read_text())["sources"]
    assert content["cc2017"]["archives"]["subject1"]["size"] == 15_297_443_422
    for source in content.values():
        for archive in source["archives"].values():
            assert archive["sha256"] is None
    assert content["cc2017"]["archives"]["subject3"]["urls"] == ["ftp://purr.purdue.edu/10_4231_R7J101BV.zip"]
