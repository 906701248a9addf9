"""Blobs in one bucket of any S3-compatible store. The only room that knows boto3; it knows nothing of notes or jobs."""

import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import islice
from typing import IO, TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote, urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from urllib3.exceptions import HTTPError

from voxqueue.errors import BlobMissing, MisconfiguredError, StorageUnavailable, VoxqueueError
from voxqueue.settings import S3Settings
from voxqueue.storage.base import Blob, BlobsKept, Listed, MeasuringReader, RemoteUrl, check_key, check_prefix, is_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0  # of silence, not of the whole transfer; with three attempts a hung store costs half a minute
ATTEMPTS = 3
PART_BYTES = 8 << 20  # from here on an upload has several parts; S3 takes none below 5 MiB but the last
PART_THREADS = 4
DELETE_BATCH = 1000  # S3's own limit for one DeleteObjects

_CREDENTIALS = "correct VOXQUEUE_S3_ACCESS_KEY_ID and VOXQUEUE_S3_SECRET_ACCESS_KEY, or the AWS profile or role."
_NO_BUCKET = "The bucket in VOXQUEUE_S3_BUCKET does not exist: create it, or correct the name."
_NO_RIGHT = (
    "The object store does not let us into the bucket in VOXQUEUE_S3_BUCKET: allow s3:ListBucket on the bucket, and "
    "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects."
)
_WRONG_REGION = "The bucket in VOXQUEUE_S3_BUCKET lies in another region: correct VOXQUEUE_S3_REGION."
_ADVICE = {
    "NoSuchBucket": _NO_BUCKET,
    "404": _NO_BUCKET,  # a HEAD has no body, so its errors are bare numbers
    "AccessDenied": _NO_RIGHT,
    "403": _NO_RIGHT,
    "AllAccessDisabled": _NO_RIGHT,
    "InvalidAccessKeyId": f"The object store does not know our access key: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"The object store does not accept our secret key: {_CREDENTIALS}",
    "ExpiredToken": f"Our credentials for the object store have expired: {_CREDENTIALS}",
    "InvalidToken": f"The object store does not accept our session token: {_CREDENTIALS}",
    "PermanentRedirect": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "301": _WRONG_REGION,
    "RequestTimeTooSkewed": "This machine's clock and the object store's are too far apart: set the clock.",
}


class S3Store:
    """One object per blob, all under ``<prefix>/``, the operator's part of the bucket.

    One client serves all threads; botocore makes it safe to share.

    Args:
        settings: Must name a bucket.
        read_timeout_s: Silence after which one attempt counts as failed.

    What is wrong when the store is opened is a `MisconfiguredError`. What the store refuses later, a missing bucket or
    right included, is `StorageUnavailable` with advice: an operator can mend it while the jobs wait for their retry.

    A process killed in a multipart upload leaves parts that no listing shows. Give the bucket a lifecycle rule with
    AbortIncompleteMultipartUpload.
    """

    def __init__(self, settings: S3Settings, *, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        if not settings.bucket:
            raise MisconfiguredError("No bucket: set VOXQUEUE_S3_BUCKET.")
        self._bucket = settings.bucket
        self._prefix = prefix + "/" if (prefix := settings.prefix.strip("/")) else ""
        self._url_seconds = settings.url_seconds
        self._client = _client(settings, settings.endpoint_url, read_timeout_s)
        public = settings.public_endpoint_url
        # A signature covers the host, so an address for outside cannot be had by rewriting one for inside.
        self._signer = _client(settings, public, read_timeout_s) if public else self._client
        self._transfer = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_concurrency=PART_THREADS,
            preferred_transfer_client="classic",  # the other one appears by itself where awscrt is installed
        )
        self._transfer.max_in_memory_upload_chunks = PART_THREADS  # of parts that wait in memory; it would be ten

    def put(self, key: str, source: BinaryIO, *, media_type: str) -> Blob:
        name = self._name(key)
        reader = MeasuringReader(source)
        with self._speaking():
            self._client.upload_fileobj(
                cast(IO[bytes], reader),  # all that boto3 asks for is `read`
                self._bucket,
                name,
                # SHA-256 rather than boto3's CRC32: for a blob of one part the store then holds the very digest that
                # we return. A multipart object keeps the digest of its parts' digests; each part is verified as it
                # arrives in both cases.
                ExtraArgs={"ContentType": media_type, "ChecksumAlgorithm": "SHA256"},
                Config=self._transfer,
            )
        return Blob(key=key, size=reader.size, sha256=reader.sha256)

    def get(self, key: str) -> bytes:
        name = self._name(key)
        with self._speaking(key), closing(self._client.get_object(Bucket=self._bucket, Key=name)["Body"]) as body:
            return body.read()

    def delete(self, keys: Iterable[str]) -> None:
        names = (self._name(key) for key in keys)
        kept: dict[str, str] = {}
        while batch := [*islice(names, DELETE_BATCH)]:
            kept |= self._delete_batch(batch)
        if kept:
            why = _refused(next(iter(kept.values())), "DeleteObjects")
            raise BlobsKept(why, [name.removeprefix(self._prefix) for name in kept])

    def list(self, prefix: str = "") -> Iterator[Listed]:
        start = self._prefix + check_prefix(prefix)
        with self._speaking():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start):
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._prefix)
                    if is_key(key):
                        yield Listed(key=key, size=item["Size"], modified=item["LastModified"])

    def remove_unfinished(self, before: datetime) -> int:
        """Removes none: the bucket's own rule does."""
        return 0

    def locate(self, key: str, *, media_type: str, file_name: str, for_head: bool = False) -> RemoteUrl:
        """A presigned address. It asks for the blob first: signing alone would give an address to nothing."""
        name = self._name(key)
        with self._speaking(key):
            self._client.head_object(Bucket=self._bucket, Key=name)
            url = self._signer.generate_presigned_url(
                "head_object" if for_head else "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": name,
                    "ResponseContentType": media_type,
                    "ResponseContentDisposition": content_disposition(file_name),
                },
                ExpiresIn=self._url_seconds,
            )
        return RemoteUrl(url)

    def check(self) -> None:
        """Ask for the bucket. A missing right to write shows at the first put: a trial put every few seconds costs."""
        with self._speaking():
            self._client.head_bucket(Bucket=self._bucket)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _delete_batch(self, names: Iterable[str]) -> dict[str, str]:
        """Returns what is still there, and the code that says why."""
        objects: list[ObjectIdentifierTypeDef] = [{"Key": name} for name in names]
        with self._speaking():
            answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        codes = {error.get("Key", ""): error.get("Code", "") for error in answer.get("Errors", ())}
        return {name: code for name, code in codes.items() if code != "NoSuchKey"}

    @contextmanager
    def _speaking(self, key: str | None = None) -> Iterator[None]:
        """Translate what boto3 raises. Give the key where its absence is `BlobMissing`.

        Only codes and class names go into a detail: botocore's own messages quote keys, signatures and addresses.
        """
        try:
            yield
        except ClientError as error:
            raise _refusal(error, key) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StorageUnavailable(f"There are no credentials for the object store: {_CREDENTIALS}") from error
        except (BotoCoreError, Boto3Error, HTTPError) as error:
            raise StorageUnavailable(
                f"The object store did not answer properly ({type(error).__name__}): see that it runs, and that "
                "VOXQUEUE_S3_ENDPOINT_URL, VOXQUEUE_S3_BUCKET and VOXQUEUE_S3_REGION are right."
            ) from error


def content_disposition(file_name: str) -> str:
    """A header that makes a browser save under this name, whatever letters it has (RFC 6266)."""
    plain = re.sub(r"[^ !#-\[\]-~]", "_", file_name)  # printable ASCII without quote and backslash
    if plain == file_name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"


def _client(settings: S3Settings, endpoint: str | None, read_timeout_s: float) -> "S3Client":
    secret = settings.secret_access_key
    if bool(settings.access_key_id) != bool(secret and secret.get_secret_value()):
        raise MisconfiguredError("VOXQUEUE_S3_ACCESS_KEY_ID and VOXQUEUE_S3_SECRET_ACCESS_KEY go together: set both.")
    if endpoint and not _is_plain_url(endpoint):
        raise MisconfiguredError(
            "VOXQUEUE_S3_ENDPOINT_URL and VOXQUEUE_S3_PUBLIC_ENDPOINT_URL must read http(s)://host[:port], without "
            "user or password."
        )
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=64,  # more than a worker's threads; a smaller pool drops and reopens connections
        signature_version="s3v4",  # presigned addresses would else be signed the old way in some regions
        s3={"addressing_style": "path"} if endpoint else {},  # `bucket.localhost` resolves nowhere
    )
    try:
        # A session of our own: boto3's default one is shared by the whole process and not safe to use from threads.
        return boto3.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id or None,
            aws_secret_access_key=secret.get_secret_value() if secret and settings.access_key_id else None,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise MisconfiguredError(
            f"The settings for S3 cannot be used ({type(error).__name__}): see VOXQUEUE_S3_REGION, "
            "VOXQUEUE_S3_ENDPOINT_URL and the AWS configuration of this machine."
        ) from error


def _is_plain_url(url: str) -> bool:
    """Whether an endpoint has the right form; one with a password in it would end up in messages."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc


def _refusal(error: ClientError, key: str | None) -> VoxqueueError:
    code = error.response.get("Error", {}).get("Code", "")
    if key is not None and code in {"NoSuchKey", "404", "NotFound"}:
        return BlobMissing(f"Nothing is stored under {key}.")
    return StorageUnavailable(_refused(code, error.operation_name))


def _refused(code: str, operation: str) -> str:
    return _ADVICE.get(code, f"The object store refused {operation} with {code or 'no reason'}: try again later.")
