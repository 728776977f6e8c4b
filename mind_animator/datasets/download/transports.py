"""One open stream per protocol: bytes from an offset, and the properties of the whole file stated by the server.

`open_stream` raises `Gone` for permanent errors, `Unsteady` for errors that a retry may resolve, and `Changed` if the
bytes downloaded so far belong to another version of the file.
"""

import ftplib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

TIMEOUT = 60.0


class Gone(Exception):
    """The server does not provide this file: it is absent, forbidden, or differs from the expected file."""


class Unsteady(Exception):
    """A temporary fault: a closed or stalled connection, or an overloaded server that requests ``wait`` seconds."""

    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = wait


class Changed(Exception):
    """The file on the server is no longer the one that was partially downloaded."""


@dataclass
class Stream:
    """Bytes of one file from ``start``.

    Attributes
    ----------
    start : int
        Offset of the first byte: the requested one, or 0 if the server cannot or must not resume.
    total : int or None
        Length of the whole file, bytes.
    version : str or None
        A value that changes with the file: a strong ETag, or the time of modification.
    ends_well : bool
        Whether the protocol distinguishes the end of the file from an interruption although ``total`` is unknown.
    sums : dict
        Checksums that the server states: ``sha256`` or ``md5`` to lower-case hexadecimal.
    read : callable
        ``read(n)``: up to n bytes, none at the end.
    """

    start: int
    total: int | None
    version: str | None
    ends_well: bool
    read: Callable[[int], bytes]
    sums: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_stream(
    url: str,
    offset: int = 0,
    version: str | None = None,
    *,
    anonymous: bool = False,
    timeout: float = TIMEOUT,
) -> Iterator[Stream]:
    """Open ``http(s)://``, ``ftp://`` or ``s3://bucket/key`` at a byte offset.

    Parameters
    ----------
    offset : int
        First byte to download.
    version : str, optional
        `Stream.version` of the bytes downloaded so far; if the server has another version, `Changed` is raised or the
        stream starts at 0.
    anonymous : bool
        For S3: requests are not signed. Otherwise the ordinary AWS credential chain is used.
    timeout : float
        Seconds without a byte after which the stream is treated as stalled.
    """
    openers = {"http": _open_http, "https": _open_http, "ftp": _open_ftp, "s3": _open_s3}
    scheme = urlsplit(url).scheme
    if scheme not in openers:
        raise Gone(f"expected a URL of {', '.join(openers)}, got '{url}'")
    with openers[scheme](url, offset, version, anonymous, timeout) as stream:
        yield stream


# --- HTTP ---

_PASSING = {408, 423, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524}


@contextmanager
def _open_http(
    url: str, offset: int, version: str | None, anonymous: bool, timeout: float
) -> Iterator[Stream]:
    import requests
    import urllib3

    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version:
            headers["If-Range"] = version
    faults = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=(timeout, timeout))
    except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
        raise Gone(str(error)) from None
    except faults as error:
        raise Unsteady(_short(error)) from None

    def read(count: int) -> bytes:
        try:
            return response.raw.read1(count, decode_content=False)
        except faults as error:
            raise Unsteady(_short(error)) from None

    try:
        yield _http_stream(response, offset, version, read)
    finally:
        response.close()


def _http_stream(response, offset: int, version: str | None, read: Callable[[int], bytes]) -> Stream:
    """Read the header of the response: offset, number and version of the bytes."""
    status, head = response.status_code, response.headers
    first = response.history[0].headers if response.history else head  # of the first response (hub)
    length = head.get("Content-Length")
    etag = head.get("ETag", "")
    found = (etag if etag and not etag.startswith("W/") else None) or head.get("Last-Modified")
    stated = first.get("X-Linked-Etag", "").strip('"')
    sums = {"sha256": stated} if re.fullmatch(r"[0-9a-f]{64}", stated) else {}
    if status == 416:
        whole = re.fullmatch(r"bytes \*/(\d+)", head.get("Content-Range", ""))
        if whole and int(whole[1]) == offset:
            return Stream(offset, offset, found or version, True, _nothing, sums)
        raise Changed(f"the server's file ends before byte {offset}")
    if status in _PASSING:
        wait = head.get("Retry-After", "")
        raise Unsteady(f"HTTP {status} {response.reason}", float(wait) if wait.isdigit() else None)
    if status not in (200, 206):
        raise Gone(f"HTTP {status} {response.reason}")
    if head.get("Content-Encoding", "identity") != "identity":
        raise Gone(f"expected the file as it is, got it encoded as {head['Content-Encoding']}")
    if head.get("Content-Type", "").startswith("text/html"):
        raise Gone("expected a file, got a web page (does the server require a login or accepted terms?)")
    chunked = head.get("Transfer-Encoding", "").lower() == "chunked"
    if status == 200:
        return Stream(0, int(length) if length else None, found, chunked, read, sums)
    part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", head.get("Content-Range", ""))
    if not part or int(part[1]) != offset:
        raise Unsteady(f"asked for bytes from {offset} on, got range '{head.get('Content-Range')}'")
    if version and found and found != version:
        raise Changed(f"the server's file was {version} and is {found}")
    total = None if part[3] == "*" else int(part[3])
    return Stream(offset, total, found, total is not None or chunked, read, sums)


# --- FTP ---


@contextmanager
def _open_ftp(
    url: str, offset: int, version: str | None, anonymous: bool, timeout: float
) -> Iterator[Stream]:
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    if "\r" in path or "\n" in path:
        raise Gone(f"expected a file name without line breaks, got {path!r}")
    ftp = ftplib.FTP(timeout=timeout)
    connection = None

    def read(count: int) -> bytes:
        try:
            block = connection.recv(count)
            if not block:
                connection.close()
                ftp.voidresp()  # 226, or the transfer was interrupted
            return block
        except (ftplib.Error, OSError, EOFError) as error:
            raise Unsteady(f"FTP {_short(error)}") from None

    try:
        try:
            ftp.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT)
            ftp.login(unquote(parts.username or ""), unquote(parts.password or ""))
            ftp.voidcmd("TYPE I")
            total = _ask(lambda: ftp.size(path))
            modified = _ask(lambda: ftp.sendcmd(f"MDTM {path}")[4:].strip())
            found = f"{modified} {total}" if modified else None
            start = offset
            if offset and version and found and found != version:
                raise Changed(f"the server's file was {version} and is {found}")
            if not offset or offset != total:
                connection, announced, start = _retrieve(ftp, path, offset)
                total = start + announced if total is None and announced is not None else total
                connection.settimeout(timeout)
        except ftplib.error_perm as error:
            raise Gone(f"FTP {error}") from None
        except (ftplib.Error, OSError, EOFError) as error:
            raise Unsteady(f"FTP {_short(error)}") from None
        yield Stream(start, total, found, True, read if connection else _nothing)
    finally:
        if connection is not None:
            connection.close()
        ftp.close()


def _retrieve(ftp: ftplib.FTP, path: str, offset: int):
    """Open the data connection at an offset, or at 0 if the server does not support REST."""
    if offset:
        try:
            return *ftp.ntransfercmd(f"RETR {path}", rest=offset), offset
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                raise
    return *ftp.ntransfercmd(f"RETR {path}"), 0


def _ask(question: Callable):
    """A response that a server may not support; None in this case."""
    try:
        return question()
    except ftplib.error_perm:
        return None


# --- S3 ---

_DENIED = {
    "403",
    "404",
    "AccessDenied",
    "NoSuchKey",
    "NoSuchBucket",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}


@contextmanager
def _open_s3(url: str, offset: int, version: str | None, anonymous: bool, timeout: float) -> Iterator[Stream]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    from urllib3.exceptions import HTTPError

    parts = urlsplit(url)
    asked = {"Bucket": parts.netloc, "Key": unquote(parts.path).lstrip("/")}
    if offset:
        asked["Range"] = f"bytes={offset}-"
        if version:
            asked["IfMatch"] = version
    try:
        answer = s3_client(anonymous, timeout).get_object(**asked)
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Gone(f"S3 {error}: set up AWS credentials (environment or ~/.aws)") from None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 412:
            raise Changed(f"the server's file is no longer {version}") from None
        if status == 416:
            raise Changed(f"the server's file ends at or before byte {offset}") from None
        if code in _DENIED or status in (401, 403, 404):
            raise Gone(f"S3 {code}: {error.response['Error'].get('Message', '')}") from None
        raise Unsteady(f"S3 {code}") from None
    except (BotoCoreError, OSError) as error:
        raise Unsteady(f"S3 {_short(error)}") from None
    body, etag = answer["Body"], answer["ETag"]
    if "ContentRange" in answer:
        total = int(answer["ContentRange"].rsplit("/", 1)[1])
    else:
        total, offset = answer["ContentLength"], 0
    # The ETag of an object that was uploaded in one part, without a customer key, is its MD5.
    md5 = etag.strip('"')
    encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    sums = {"md5": md5} if re.fullmatch(r"[0-9a-f]{32}", md5) and not encrypted else {}

    def read(count: int) -> bytes:
        try:
            return body.read(count)
        except (BotoCoreError, HTTPError, OSError) as error:
            raise Unsteady(f"S3 {_short(error)}") from None

    try:
        yield Stream(offset, total, etag, True, read, sums)
    finally:
        body.close()


def s3_client(anonymous: bool, timeout: float = TIMEOUT):
    """An S3 client with the ordinary credential chain, or without credentials; retries are disabled."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    settings = {"signature_version": UNSIGNED} if anonymous else {}
    config = Config(
        connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1}, **settings
    )
    session = boto3.Session()  # the default session caches old credentials and is not thread-safe
    return session.client("s3", config=config, region_name=session.region_name or "us-east-1")


def _nothing(count: int) -> bytes:
    return b""


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
