"""Makes the bucket of VOXQUEUE_S3_BUCKET where it is missing.

For the object store of docker-compose.yml, which is ours; elsewhere a bucket is made by whoever pays for it.
"""

import sys
from os import environ

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def make_bucket() -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=environ["VOXQUEUE_S3_ENDPOINT_URL"],
        region_name=environ["VOXQUEUE_S3_REGION"],
        aws_access_key_id=environ["VOXQUEUE_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["VOXQUEUE_S3_SECRET_ACCESS_KEY"],
    )
    try:
        s3.create_bucket(Bucket=environ["VOXQUEUE_S3_BUCKET"])
    except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        return
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"The bucket was not made: {error}")


if __name__ == "__main__":
    make_bucket()
