"""The tree of all errors.

::

    ModelferryError
    ├── Transient                     the next attempt may succeed; retried with backoff while there is progress
    │   ├── ConnectionFailed            refused, reset, timed out or closed early
    │   ├── Stall                       bytes arrived slower than the minimum rate
    │   └── ServerBusy                  408, 429 or 5xx, with the server's Retry-After
    ├── Waiting                       the request is right, but a condition for it is not met yet
    │   └── DirectoryBusy               another process works in this directory
    └── Stalled                       no retry helps until someone fixes the cause
        ├── UserError                   exit code 2
        │   ├── InvalidSpec               the YAML is wrong: the field, the cause, the remedy
        │   ├── PlainHTTPRefused          http:// without spec.transfer.tls.allowPlainHTTP
        │   ├── ForeignDirectory          the target contains files that are not Modelferry's
        │   ├── ArtifactsExist            the chart is uninstalled while the cluster has artifacts
        │   ├── OperatorRuns              a cleanup without the operator while there is one
        │   └── APIServerRefuses          the API server cannot be reached, or does not allow a request
        ├── SourceError                 exit code 3
        │   ├── NotFound                  404, 410
        │   ├── Denied                    401, 403
        │   ├── UnknownHost               the host name does not resolve
        │   ├── CertificateRefused        its reason says why: UnknownAuthority, ClientCertificateRequired, …
        │   ├── DigestMismatch            the complete file differs from the declared digest
        │   ├── SizeMismatch              the source has another size than declared
        │   ├── UnexpectedContent         a web page or a Git LFS pointer in place of the file
        │   ├── SourceChanged             the file kept changing during the download
        │   ├── ServerMisbehaves          every location violates the HTTP standard
        │   ├── PrivateAddress            a public server leads into a private network
        │   ├── ProxyDenied               407: the proxy requires other credentials
        │   ├── ProxyRefused              the proxy denied access to the server, or cannot reach it
        │   └── SourceUnavailable         transient errors without progress until the progress deadline
        │       └── ProxyUnreachable        the proxy cannot be reached
        └── MachineError                exit code 4
            ├── InsufficientSpace         how many bytes are missing, where
            ├── DiskError                 EIO and similar errors
            └── DamagedState              chunks.db is unusable and could not be set aside

A message names the object, the cause and the remedy, with numbers. It never contains a URL's query or userinfo
(`modelferry.values.urls.redact_url`) nor a secret.
"""

from __future__ import annotations

from typing import ClassVar


class ModelferryError(Exception):
    """The base class. ``reason``: the CamelCase reason of conditions and Events. ``file``: the affected file's path."""

    #: The exit code of the command.
    exit_code: ClassVar[int] = 1
    #: ``transient``, ``waiting`` or ``stalled``: how the controller reacts.
    kind: ClassVar[str] = "stalled"

    def __init__(self, message: str, *, reason: str | None = None, file: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__
        self.file = file


class Transient(ModelferryError):
    """The next attempt may succeed."""

    exit_code = 3
    kind = "transient"


class ConnectionFailed(Transient):
    """Refused, reset, timed out, or closed before the response was complete. ``persistent_error``: the error type to
    report if it persists."""

    def __init__(
        self, message: str, *, persistent_error: type[SourceError] | None = None, file: str | None = None
    ) -> None:
        super().__init__(message, file=file)
        self.persistent_error: type[SourceError] = persistent_error or SourceUnavailable


class Stall(Transient):
    """Bytes arrived slower than the minimum rate."""


class ServerBusy(Transient):
    """408, 429 or 5xx. ``retry_after``: the server's Retry-After in seconds, clamped."""

    def __init__(self, message: str, *, retry_after: float | None = None, file: str | None = None) -> None:
        super().__init__(message, file=file)
        self.retry_after = retry_after


class Waiting(ModelferryError):
    """The request is right, but a condition for it is not met yet."""

    exit_code = 4
    kind = "waiting"


class DirectoryBusy(Waiting):
    """Another process works in this directory."""


class Stalled(ModelferryError):
    """No retry helps until someone fixes the cause."""


class UserError(Stalled):
    """The user must change the request."""

    exit_code = 2


class InvalidSpec(UserError):
    """The resource is wrong. The message names each field, the cause and the remedy."""


class PlainHTTPRefused(UserError):
    """http:// without ``spec.transfer.tls.allowPlainHTTP: true``."""


class ForeignDirectory(UserError):
    """The target directory contains files that Modelferry did not create."""


class ArtifactsExist(UserError):
    """The chart is to be uninstalled, and the cluster has artifacts, which only the operator can delete completely."""


class OperatorRuns(UserError):
    """A cleanup without the operator is refused while an operator runs: it deletes the directories on the nodes too."""


class APIServerRefuses(UserError):
    """The API server cannot be reached with this kubeconfig, or it does not allow a request."""


class SourceError(Stalled):
    """Someone must fix the source, or the network path to it."""

    exit_code = 3


class NotFound(SourceError):
    """404 or 410 from every location of the file."""


class Denied(SourceError):
    """401 or 403 from every location of the file."""


class UnknownHost(SourceError):
    """The host name does not resolve."""


class CertificateRefused(SourceError):
    """The TLS handshake failed. ``reason`` is UnknownAuthority, CertificateExpired, HostMismatch, TLSVersion, …"""


class DigestMismatch(SourceError):
    """The complete file differs from the declared digest."""


class SizeMismatch(SourceError):
    """The source has another size than the declared one."""


class UnexpectedContent(SourceError):
    """What arrives is plainly not what the file's name says: a web page, a server's message, a Git LFS pointer."""


class SourceChanged(SourceError):
    """The file kept changing during the download, so that no version of it was complete."""


class ServerMisbehaves(SourceError):
    """Every location violates the HTTP standard; the message names the rule."""


class PrivateAddress(SourceError):
    """A public server leads into a private network, by a redirect or by its DNS name."""


class SourceUnavailable(SourceError):
    """Transient errors without progress until the progress deadline."""


class ProxyDenied(SourceError):
    """The proxy requires a user name and password, or rejected those that it received."""


class ProxyRefused(SourceError):
    """The proxy denied access to the server, or cannot reach it."""


class ProxyUnreachable(SourceUnavailable):
    """The proxy cannot be reached, and no connection bypasses it."""


class MachineError(Stalled):
    """Someone must fix this machine."""

    exit_code = 4


class InsufficientSpace(MachineError):
    """The disk is too small by ``shortfall`` bytes."""

    def __init__(self, message: str, *, shortfall: int) -> None:
        super().__init__(message)
        self.shortfall = shortfall


class DiskError(MachineError):
    """Reading, writing or syncing failed (EIO and similar errors)."""


class DamagedState(MachineError):
    """chunks.db is unusable and could not be set aside."""
