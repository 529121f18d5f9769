"""An object store that speaks the S3 protocol: listing, reading and writing the objects below one URL.

Belongs here: requests, their errors in one line without any secret, and DuckDB's view of the objects.
Does not: what the objects hold. Credentials, endpoint and region come from where botocore finds them (AWS_ variables,
profile files, the machine's role), never from the project's settings. Loaded only where an s3:// URL is used.
"""

import base64
import hashlib
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from log_ingest.errors import IngestError, StorageError
from log_ingest.storage import ObjectUrl

try:
    import botocore.session
    import urllib3.exceptions
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from fsspec import AbstractFileSystem
except ImportError as error:
    raise IngestError(
        "s3:// locations need the extra 's3'; install it: pip install 'message-tracking-warehouse[s3]'"
    ) from error

if TYPE_CHECKING:
    import duckdb

BUFFER_BYTES = 1024 * 1024
READ_ATTEMPTS = 4
"""A connection lost while an object is read is taken up again where it broke, so often without progress."""

_PROBLEMS = {
    "NoSuchBucket": "the bucket does not exist; create it or mend the setting",
    "NoSuchKey": "it is no longer there",
    "404": "it is no longer there",
    "PreconditionFailed": "it was replaced while it was read",
    "412": "it was replaced while it was read",
    "AccessDenied": "access denied; give these credentials the permission",
    "403": "access denied; give these credentials the permission",
    "InvalidAccessKeyId": "the credentials are not known there; mend the AWS_ variables or the profile",
    "SignatureDoesNotMatch": "the credentials were refused; mend the AWS_ variables or the profile",
    "ExpiredToken": "the credentials have expired; renew them",
    "InvalidObjectState": "it is archived; restore it first",
    "NoSuchUpload": "the upload is gone",
}
_BUSY = {
    *("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "RequestTimeout"),
    *("BandwidthLimitExceeded", "InternalError", "ServiceUnavailable", "429", "500", "502", "503", "504"),
}
"""Codes of a store that has no time now; botocore has asked again several times before they come here."""
_OUT_OF_REACH = ("ConnectionError", "TimeoutError", "ConnectionClosedError", "HTTPClientError")
_RESUMABLE = (BotoCoreError, urllib3.exceptions.HTTPError, OSError)


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of an object. A key with another etag is another content."""

    key: str
    size: int
    etag: str
    modified_at: datetime


class ObjectStore:
    """The objects below a URL. Raises StorageError; safe to use from several threads."""

    def __init__(self, url: ObjectUrl) -> None:
        self.url = url
        self._client = _call(str(url), _client)
        self.known: dict[str, ObjectInfo] = {}
        """By key, what was listed or written through this object: saves a request per file that DuckDB opens."""
        self.last_read: tuple[ObjectInfo, bytes] | None = None

    def list(self, url: ObjectUrl) -> Iterator[ObjectInfo]:
        """All objects whose keys begin with the URL's prefix and a slash, by key, page after page."""
        yield from self.list_keys(f"{url.prefix}/" if url.prefix else "")

    def list_keys(self, prefix: str) -> Iterator[ObjectInfo]:
        place = f"s3://{self.url.bucket}/{prefix}"
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=self.url.bucket, Prefix=prefix))
        while (page := _call(place, next, pages, None)) is not None:
            for entry in page.get("Contents", ()):
                info = ObjectInfo(entry["Key"], entry["Size"], entry["ETag"], entry["LastModified"].astimezone(UTC))
                self.known[info.key] = info
                yield info

    def check(self) -> None:
        """Raises StorageError where the location cannot be listed at all."""
        prefix = f"{self.url.prefix}/" if self.url.prefix else ""
        _call(str(self.url), self._client.list_objects_v2, Bucket=self.url.bucket, Prefix=prefix, MaxKeys=1)

    def head(self, key: str) -> ObjectInfo | None:
        """What the store says of one object now; None where there is none."""
        try:
            found = _call(self._place(key), self._client.head_object, Bucket=self.url.bucket, Key=key)
        except StorageError as error:
            if error.problem == _PROBLEMS["404"]:
                self.known.pop(key, None)
                return None
            raise
        info = ObjectInfo(key, found["ContentLength"], found["ETag"], found["LastModified"].astimezone(UTC))
        self.known[key] = info
        return info

    def open(self, key: str) -> io.BufferedIOBase:
        """One object, from its beginning."""
        info = self.known.get(key) or self.head(key)
        if info is None:
            raise StorageError(self._place(key), _PROBLEMS["404"])
        return StoredObject(self, info).open()

    def get(self, info: ObjectInfo, start: int, end: int | None = None) -> Any:
        """The body of an object from start to before end. If it was replaced since it was listed: StorageError."""
        last = "" if end is None else end - 1
        return _call(
            self._place(info.key),
            self._client.get_object,
            Bucket=self.url.bucket,
            Key=info.key,
            Range=f"bytes={start}-{last}",
            IfMatch=info.etag,
        )["Body"]

    def put(self, path: Path, key: str) -> None:
        """Write a local file as one object: there is all of it or nothing, and the store has checked its bytes."""
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            done = _call(
                self._place(key),
                self._client.put_object,
                Bucket=self.url.bucket,
                Key=key,
                Body=stream,
                ContentMD5=base64.b64encode(md5.digest()).decode(),
            )
        etag = done["ETag"]
        # Encryption with a key of the customer's gives an ETag that is no MD5.
        is_md5 = "SSEKMSKeyId" not in done and "SSECustomerAlgorithm" not in done and len(etag.strip('"')) == 32
        if is_md5 and etag.strip('"') != md5.hexdigest():
            raise StorageError(self._place(key), "arrived with other bytes than were sent; run again")
        self.known[key] = ObjectInfo(key, size, etag, datetime.now(UTC))

    def delete(self, key: str) -> None:
        _call(self._place(key), self._client.delete_object, Bucket=self.url.bucket, Key=key)
        self.known.pop(key, None)

    def attach_to(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Let a DuckDB connection read s3:// URLs of this bucket, without its httpfs extension."""
        if not connection.filesystem_is_registered("s3"):
            connection.register_filesystem(_DuckDBFiles(self))

    def _place(self, key: str) -> str:
        return f"s3://{self.url.bucket}/{key}"


@dataclass(frozen=True)
class StoredObject:
    """One object as it was listed. Like a Path, it has a suffix and can be opened for reading."""

    store: ObjectStore
    info: ObjectInfo

    @property
    def suffix(self) -> str:
        stem, dot, ending = self.info.key.rpartition("/")[2].rpartition(".")
        return f".{ending}" if stem and dot and ending else ""

    def open(self, mode: str = "rb") -> io.BufferedIOBase:
        """From the beginning to the end, in one request; a small object is read once for several looks in a row."""
        if self.info.size <= BUFFER_BYTES:
            return io.BytesIO(self._whole())
        return io.BufferedReader(_Reader(self.store, self.info, is_sequential=True), BUFFER_BYTES)

    def open_at_random(self) -> io.RawIOBase | io.BytesIO:
        """For reads at any place, each of them a request; a small object is read at once."""
        if self.info.size <= BUFFER_BYTES:
            return io.BytesIO(self._whole())
        return _Reader(self.store, self.info, is_sequential=False)

    def _whole(self) -> bytes:
        known = self.store.last_read
        if known is None or known[0] != self.info:
            with _Reader(self.store, self.info, is_sequential=False) as stream:
                known = (self.info, stream.read(self.info.size) or b"")
            self.store.last_read = known
        return known[1]


class _Reader(io.RawIOBase):
    """Reads one object in the state it was listed in. Another state raises StorageError, so contents never mix."""

    def __init__(self, store: ObjectStore, info: ObjectInfo, *, is_sequential: bool) -> None:
        self._store, self._info, self._is_sequential = store, info, is_sequential
        self._position = 0
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size}[whence]
        if base + offset != self._position:
            self._drop()
            self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._info.size - self._position)
        filled = attempts = 0
        while filled < wanted:
            try:
                if self._body is None:
                    end = None if self._is_sequential else self._position + wanted - filled
                    self._body = self._store.get(self._info, self._position, end)
                data = self._body.read(wanted - filled)
                if not data:
                    raise OSError("the answer ended early")
            except _RESUMABLE as error:
                self._drop()
                attempts += 1
                if attempts == READ_ATTEMPTS:
                    place = f"s3://{self._store.url.bucket}/{self._info.key}"
                    problem = f"the connection broke ({type(error).__name__}); run again"
                    raise StorageError(place, problem, is_transient=True) from None
                continue
            attempts = 0
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self._position += len(data)
        if not self._is_sequential:
            self._drop()
        return max(filled, 0)

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
        self._body = None


class _DuckDBFiles(AbstractFileSystem):
    """What DuckDB asks of a file system. Only * in a pattern is special; it stands for anything but a slash.

    Written for DuckDB rather than taken from a general one: those list each folder of a pattern by itself and remember
    listings for ever; here a pattern costs one listing, and landed parts, which never change, no request of their own.
    """

    protocol = "s3"
    cachable = False

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(skip_instance_cache=True)
        self._objects = store

    def glob(self, path: str, **_: Any) -> list[str]:
        key = self._key(path)
        if "*" not in key:
            found = [info] if (info := self._info_of(key)) else []
        else:
            pattern = re.compile(re.escape(key).replace(r"\*", "[^/]*"), re.DOTALL)
            found = [info for info in self._objects.list_keys(key.split("*")[0]) if pattern.fullmatch(info.key)]
        return [f"{self._objects.url.bucket}/{info.key}" for info in found]

    def open(self, path: str, mode: str = "rb", **_: Any) -> io.RawIOBase:
        if mode != "rb":
            raise StorageError(path, "is written by put only")
        # DuckDB opens a file several times, first for a few bytes of its end only.
        return _Reader(self._objects, self._needed(path), is_sequential=False)

    def size(self, path: str) -> int:
        return self._needed(path).size

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self._needed(path).size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        return self._info_of(self._key(path)) is not None

    isfile = exists

    def modified(self, path: str) -> datetime:
        return self._needed(path).modified_at

    def _needed(self, path: str) -> ObjectInfo:
        info = self._info_of(self._key(path))
        if info is None:
            raise StorageError(path, _PROBLEMS["404"])
        return info

    def _info_of(self, key: str) -> ObjectInfo | None:
        known = self._objects.known.get(key)
        return known if known and "/batch_id=" in key else self._objects.head(key)

    def _key(self, path: str) -> str:
        bucket, _, key = path.removeprefix("s3://").partition("/")
        if bucket != self._objects.url.bucket:
            raise StorageError(path, f"is not in the bucket of {self._objects.url}")
        return key


_clients: dict[tuple[tuple[str, str], ...], Any] = {}
_making = threading.Lock()


def _client() -> Any:
    """One client for each state of the environment: making one takes a fifth of a second, and connections are kept."""
    state = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    with _making:
        if state not in _clients:
            config = Config(connect_timeout=10, read_timeout=60, max_pool_connections=16)
            _clients[state] = botocore.session.get_session().create_client("s3", config=config)
        return _clients[state]


def _call(place: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call botocore; its errors become a StorageError of our own words: theirs may hold the endpoint's password."""
    is_transient = False
    try:
        return function(*arguments, **options)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        known = re.sub(r"[^A-Za-z0-9]", "", code)[:60] or "no code"
        problem = _PROBLEMS.get(code, f"the store refused the request ({known})")
        is_transient = code in _BUSY
    except BotoCoreError as error:
        name = type(error).__name__
        if "Credential" in name or "Token" in name:
            problem = "no usable credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
        elif name in ("ProfileNotFound", "ConfigNotFound", "ConfigParseError"):
            problem = f"the AWS profile or its file cannot be used ({name}); mend AWS_PROFILE"
        else:
            problem = f"the store cannot be reached ({name}); check AWS_ENDPOINT_URL and the network, then run again"
            is_transient = name.endswith(_OUT_OF_REACH)
    except ValueError:
        problem = "the settings of the store cannot be used; check AWS_ENDPOINT_URL and AWS_REGION"
    except urllib3.exceptions.HTTPError as error:
        problem = f"the connection broke ({type(error).__name__}); run again"
        is_transient = True
    raise StorageError(place, problem, is_transient=is_transient) from None
