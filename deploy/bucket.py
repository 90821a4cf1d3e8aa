"""Make a bucket unless it is there: `python bucket.py NAME`, with the address and the keys that MLflow uses."""

import os
import sys

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """Make it."""
    store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    try:
        store.create_bucket(Bucket=sys.argv[1])
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    print(f"The bucket {sys.argv[1]} is there.")


if __name__ == "__main__":
    main()
