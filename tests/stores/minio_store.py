"""MinIO with TLS: a region, users with permissions, and objects of each kind, created with MinIO's own client."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin
from minio.versioningconfig import VersioningConfig
from urllib3.exceptions import HTTPError

from origin.certs import Leaf
from stores import programs
from stores.process import Server

REGION = "eu-test-1"
#: Bytes of a part in a multipart upload: the minimum of S3.
PART = 5 * 1024 * 1024

_ROOT = ("root-of-the-tests", "planted-root-secret")


class MinioStore(Server):
    """One MinIO at https://`host`:port in `REGION`; `environment`: additional variables."""

    def __init__(
        self, leaf: Leaf, ca_file: Path, *, host: str = "127.0.0.1", environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(host)
        self._leaf, self._ca_file, self._environment = leaf, ca_file, dict(environment or {})
        pool = urllib3.PoolManager(ca_certs=str(ca_file))
        self.client = Minio(self.authority, *_ROOT, region=REGION, http_client=pool)
        self._admin = MinioAdmin(endpoint=self.authority, credentials=StaticProvider(*_ROOT), http_client=pool)

    @property
    def endpoint(self) -> str:
        """The URL."""
        return f"https://{self.authority}"

    def command(self) -> tuple[list[str | Path], Mapping[str, str]]:
        """See Server."""
        certs = self.run / "certs"
        (certs / "CAs").mkdir(parents=True)
        shutil.copy(self._leaf.cert, certs / "public.crt")
        shutil.copy(self._leaf.key, certs / "private.key")
        shutil.copy(self._ca_file, certs / "CAs")
        environment = {
            "MINIO_ROOT_USER": _ROOT[0],
            "MINIO_ROOT_PASSWORD": _ROOT[1],
            "MINIO_SITE_REGION": REGION,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            **self._environment,
        }
        return [
            programs.minio(), "server", "--quiet", "--certs-dir", certs, "--address", self.authority, self.run / "data"
        ], environment  # fmt: skip

    def ready(self) -> bool:
        """See Server. MinIO listens before it has loaded its users."""
        try:
            return super().ready() and self._admin.policy_list() is not None
        except (MinioAdminException, HTTPError):
            return False

    def bucket(self, name: str, *, versioned: bool = False) -> None:
        """Create a bucket."""
        self.client.make_bucket(name)
        if versioned:
            self.client.set_bucket_versioning(name, VersioningConfig(ENABLED))

    def put(self, bucket: str, key: str, content: bytes, *, checksum: bool = False, parts: bool = False) -> str:
        """Put an object, and return its version (empty: none is kept). `checksum`: with its SHA-256, which the store
        then knows; `parts`: in parts of `PART` bytes."""
        sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
        metadata: dict[str, Any] = {"x-amz-checksum-sha256": sha256} if checksum else {}
        size = len(content) + 1 if not parts else PART
        done = self.client.put_object(
            bucket, key, io.BytesIO(content), len(content), metadata=metadata, part_size=max(size, PART)
        )
        return done.version_id or ""

    def public(self, bucket: str) -> None:
        """Allow anonymous clients to list and read it."""
        statements = _statements(bucket, ["s3:ListBucket"], ["s3:GetObject"])
        for statement in statements:
            statement["Principal"] = {"AWS": ["*"]}
        self.client.set_bucket_policy(bucket, json.dumps({"Version": "2012-10-17", "Statement": statements}))

    def user(self, name: str, secret: str, bucket: str, *, lists: bool = True, reads: bool = True) -> None:
        """Create a user with or without permission to list `bucket` and read its objects."""
        self.policy(f"may-{name}", bucket, lists=lists, reads=reads)
        self._admin.user_add(name, secret)
        self._admin.policy_set(f"may-{name}", user=name)

    def policy(self, name: str, bucket: str, *, lists: bool = True, reads: bool = True) -> None:
        """Create a policy, as for roles."""
        statements = _statements(bucket, ["s3:ListBucket"] * lists, ["s3:GetObject"] * reads)
        self._admin.policy_add(name, policy={"Version": "2012-10-17", "Statement": statements})


def _statements(bucket: str, on_bucket: list[str], on_objects: list[str]) -> list[dict[str, Any]]:
    arn = f"arn:aws:s3:::{bucket}"
    pairs = ((on_bucket, arn), (on_objects, f"{arn}/*"))
    return [{"Effect": "Allow", "Action": actions, "Resource": [resource]} for actions, resource in pairs if actions]
