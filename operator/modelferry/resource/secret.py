"""References to Secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A DNS subdomain (RFC 1123), as the names of most objects are.
NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A Secret in the artifact's namespace. The kubelet mounts it into the pods that need it; the operator cannot read
    it."""

    name: str
