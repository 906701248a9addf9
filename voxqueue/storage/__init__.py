"""Where recordings and speech lie: on S3 or on disk, whichever the settings name. Knows nothing of notes or jobs."""

from voxqueue.errors import MisconfiguredError
from voxqueue.extras import install
from voxqueue.settings import Settings
from voxqueue.storage.base import Blob, BlobsKept, BlobStore, Listed, LocalFile, RemoteUrl
from voxqueue.storage.disk import DiskStore

__all__ = ["Blob", "BlobStore", "BlobsKept", "DiskStore", "Listed", "LocalFile", "RemoteUrl", "open_store"]


def open_store(settings: Settings) -> BlobStore:
    """The store that the settings name: the S3 bucket if there is one, else the folder. Speaks to neither yet.

    Raises:
        MisconfiguredError: Neither is named, boto3 is not installed, or the S3 settings do not fit together.
    """
    if settings.s3.bucket:
        try:
            from voxqueue.storage.s3 import S3Store  # noqa: PLC0415 - boto3 is an extra, and slow to import
        except ModuleNotFoundError as error:
            if error.name != "boto3":
                raise
            raise MisconfiguredError(
                f"VOXQUEUE_S3_BUCKET is set but boto3 is not installed: {install('s3')}"
            ) from error
        return S3Store(settings.s3)
    if settings.storage.dir:
        return DiskStore(settings.storage.dir)
    raise MisconfiguredError(
        "No storage: set VOXQUEUE_S3_BUCKET to a bucket, or VOXQUEUE_STORAGE_DIR to a folder that the API and every "
        "worker share."
    )
