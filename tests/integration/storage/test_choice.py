"""Which store the settings choose."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.storage.stores import s3_settings
from voxqueue.errors import MisconfiguredError
from voxqueue.settings import S3Settings, Settings, StorageSettings
from voxqueue.storage import DiskStore, open_store
from voxqueue.storage.s3 import S3Store

pytestmark = pytest.mark.integration


def test_the_settings_choose_the_store(endpoint: str, bucket: str, root: Path) -> None:
    folder = StorageSettings(dir=root)
    assert isinstance(open_store(Settings(storage=folder)), DiskStore)
    assert isinstance(open_store(Settings(storage=folder, s3=s3_settings(endpoint, bucket))), S3Store)
    with pytest.raises(MisconfiguredError, match=r"VOXQUEUE_S3_BUCKET .* VOXQUEUE_STORAGE_DIR"):
        open_store(Settings(storage=StorageSettings(), s3=S3Settings()))


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_disk_needs_no_boto3_and_s3_asks_for_it() -> None:
    code = """
import sys
from pathlib import Path
from voxqueue.errors import MisconfiguredError
from voxqueue.settings import S3Settings, Settings, StorageSettings
from voxqueue.storage import open_store
open_store(Settings(storage=StorageSettings(dir=Path("/tmp"))))
print("boto3" in sys.modules or "botocore" in sys.modules)
sys.modules["boto3"] = None  # what Python does with a module that is not installed
try:
    open_store(Settings(s3=S3Settings(bucket="notes")))
except MisconfiguredError as error:
    print(error)
"""
    imported, refused = run_python(code).splitlines()
    assert imported == "False"
    assert "pip install -c constraints.txt -e '.[s3]'" in refused
