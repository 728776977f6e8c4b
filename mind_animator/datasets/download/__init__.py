"""Fetching files over HTTP, FTP and S3 so that what carries the right name holds the right bytes.

Needs no data set: ``engine`` resumes, retries and verifies, ``transports`` speak the protocols, ``manifest``
remembers checksums, ``zips`` opens zips and zips in zips, ``listings`` asks OSF and S3 what there is.
"""

from mind_animator.datasets.download.engine import Policy, fetch
from mind_animator.datasets.download.manifest import read_manifest
from mind_animator.datasets.download.zips import unpack

__all__ = ["Policy", "fetch", "read_manifest", "unpack"]
