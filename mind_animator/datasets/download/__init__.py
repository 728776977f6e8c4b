"""Downloads over HTTP, FTP and S3. A file gets its final name only after its content has been verified.

The package is independent of data sets: ``engine`` resumes, retries and verifies, ``transports`` implements the
protocols, ``manifest`` stores checksums, ``zips`` reads (nested) zip archives, and ``listings`` lists files of OSF and
S3.
"""

from mind_animator.datasets.download.engine import Policy, fetch
from mind_animator.datasets.download.manifest import read_manifest
from mind_animator.datasets.download.zips import unpack

__all__ = ["Policy", "fetch", "read_manifest", "unpack"]
