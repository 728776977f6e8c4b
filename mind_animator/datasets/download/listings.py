"""Lists of files on a server: OSF projects by their API, and S3 prefixes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mind_animator.datasets.download.transports import TIMEOUT, s3_client
from mind_animator.errors import InputError


@dataclass(frozen=True)
class Listed:
    """A file on a server: path relative to the requested folder, URL, and the properties stated by the server."""

    path: str
    url: str
    size: int | None = None
    sha256: str | None = None


def list_osf(url: str) -> list[Listed]:
    """Files of an OSF storage, with sizes and SHA-256.

    Parameters
    ----------
    url : str
        ``https://api.osf.io/v2/nodes/<id>/files/osfstorage/``.
    """
    return sorted(_osf(url), key=lambda listed: listed.path)


def find_listed(listed: Sequence[Listed], paths: Sequence[str], where: str) -> list[Listed]:
    """The file of a listing for each requested path, matched by the end of its path; raises `InputError` otherwise."""
    found = []
    for path in paths:
        mine = [one for one in listed if f"/{one.path}".endswith(f"/{path}")]
        if len(mine) != 1:
            there = ", ".join(one.path for one in (mine or listed)[:8])
            raise InputError(
                f"Expected one file '{path}' at {where}, got {len(mine)} (of {len(listed)} files: {there}, ...)."
            )
        found += mine
    return found


def _osf(url: str | None) -> Iterator[Listed]:
    while url:
        answer = _json(url)
        for item in answer["data"]:
            attributes = item["attributes"]
            if attributes["kind"] == "folder":
                yield from _osf(item["relationships"]["files"]["links"]["related"]["href"])
            else:
                sha256 = (attributes.get("extra") or {}).get("hashes", {}).get("sha256")
                path = attributes["materialized_path"].lstrip("/")
                yield Listed(path, item["links"]["download"], attributes.get("size"), sha256)
        url = (answer.get("links") or {}).get("next")


def _json(url: str) -> Any:
    import requests

    try:
        response = requests.get(url, timeout=TIMEOUT)
        response.raise_for_status()
        return response.json()
    except (requests.RequestException, ValueError) as error:
        raise InputError(f"Expected a list of files from {url}, got: {error}.") from None


def list_s3(url: str, *, anonymous: bool = False) -> list[Listed]:
    """Objects below ``s3://bucket/prefix/``, with sizes."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = url.removeprefix("s3://").split("/", 1)
    try:
        pages = s3_client(anonymous).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [
            Listed(item["Key"].removeprefix(prefix), f"s3://{bucket}/{quote(item['Key'])}", item["Size"])
            for page in pages
            for item in page.get("Contents", ())
            if not item["Key"].endswith("/")
        ]
    except (BotoCoreError, ClientError) as error:
        raise InputError(f"Expected a list of objects from {url}, got: {error}.") from None
