"""Every way in which Modelferry's work goes wrong, drawn in one place.

::

    ModelferryError
    ├── Transient                     the next try may succeed; retried with backoff while there is progress
    │   ├── ConnectionFailed            refused, reset, timed out, closed early
    │   ├── Stall                       bytes came slower than the floor
    │   └── ServerBusy                  408, 429, 5xx; carries how long the server asked us to wait
    ├── Waiting                       nothing is wrong with the request; the world is not ready yet
    │   └── DirectoryBusy               another process works in this directory
    └── Stalled                       no retry helps until a person changes something
        ├── UserError                   exit code 2
        │   ├── InvalidSpec               the YAML is wrong: the field, the reason, the way out
        │   ├── PlainHTTPRefused          http:// without spec.transfer.tls.allowPlainHTTP
        │   └── ForeignDirectory          the target holds something that is not Modelferry's
        ├── SourceError                 exit code 3
        │   ├── NotFound                  404, 410
        │   ├── Denied                    401, 403
        │   ├── UnknownHost               the name does not resolve
        │   ├── CertificateRefused        its subreason says why: UnknownAuthority, ClientCertificateRequired, …
        │   ├── DigestMismatch            the whole file arrived and is not what was asked for
        │   ├── SizeMismatch              the source has another length than declared
        │   ├── SourceChanged             the file kept changing while it was fetched
        │   ├── ServerMisbehaves          answers that no standard allows, from every place
        │   ├── PrivateAddress            a public server leads into a private network
        │   ├── ProxyDenied               the proxy wants other credentials: 407
        │   ├── ProxyRefused              the proxy does not let us to the server, or cannot reach it
        │   └── SourceUnavailable         transient failures without any progress, until the budget was spent
        │       └── ProxyUnreachable        because of the proxy on the way
        └── MachineError                exit code 4
            ├── InsufficientSpace         how many bytes are missing, where
            ├── DiskError                 EIO and its kin
            └── DamagedState              chunks.db cannot be used and could not be set aside

A message names the object, the cause and the way out, with numbers. It never holds a URL's query or userinfo
(`modelferry.values.urls.shown`) nor a secret.
"""

from __future__ import annotations

from typing import ClassVar


class ModelferryError(Exception):
    """Base of all. ``reason`` is a CamelCase word for conditions and events; ``exit_code`` is the command's."""

    exit_code: ClassVar[int] = 1
    #: One of ``transient``, ``waiting``, ``stalled``: what the controller does about it.
    kind: ClassVar[str] = "stalled"

    def __init__(self, message: str, *, reason: str | None = None, file: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__
        self.file = file


class Transient(ModelferryError):
    """The next try may succeed."""

    exit_code = 3
    kind = "transient"


class ConnectionFailed(Transient):
    """Refused, reset, timed out, or closed before the answer was whole. ``becomes``: what it is where it lasts."""

    def __init__(self, message: str, *, becomes: type[SourceError] | None = None, file: str | None = None) -> None:
        super().__init__(message, file=file)
        self.becomes: type[SourceError] = becomes or SourceUnavailable


class Stall(Transient):
    """Bytes came slower than the floor rate."""


class ServerBusy(Transient):
    """408, 429 or 5xx. ``retry_after`` is what the server asked for, in seconds, already clamped."""

    def __init__(self, message: str, *, retry_after: float | None = None, file: str | None = None) -> None:
        super().__init__(message, file=file)
        self.retry_after = retry_after


class Waiting(ModelferryError):
    """Nothing is wrong with the request; the world is not ready yet."""

    exit_code = 4
    kind = "waiting"


class DirectoryBusy(Waiting):
    """Another process works in this directory."""


class Stalled(ModelferryError):
    """No retry helps until a person changes something."""


class UserError(Stalled):
    """The request itself must change."""

    exit_code = 2


class InvalidSpec(UserError):
    """The resource is wrong. The message names each field, the cause and the way out."""


class PlainHTTPRefused(UserError):
    """http:// without ``spec.transfer.tls.allowPlainHTTP: true``."""


class ForeignDirectory(UserError):
    """The target directory holds something that Modelferry did not put there."""


class SourceError(Stalled):
    """The source, or the way to it, must change."""

    exit_code = 3


class NotFound(SourceError):
    """404 or 410 from every place that the file has."""


class Denied(SourceError):
    """401 or 403 from every place that the file has."""


class UnknownHost(SourceError):
    """The host's name does not resolve."""


class CertificateRefused(SourceError):
    """TLS could not be agreed on; ``reason`` is UnknownAuthority, CertificateExpired, HostMismatch, TLSVersion, …"""


class DigestMismatch(SourceError):
    """The whole file arrived and its digest is not the declared one."""


class SizeMismatch(SourceError):
    """The source has another length than the declared one."""


class SourceChanged(SourceError):
    """The file kept changing while it was fetched, so no whole version of it could be had."""


class ServerMisbehaves(SourceError):
    """Every place answers in a way that no standard allows; the message names the rule."""


class PrivateAddress(SourceError):
    """A public server leads, by a redirect or by its name, into a private network."""


class SourceUnavailable(SourceError):
    """Transient failures without any progress, until the budget was spent."""


class ProxyDenied(SourceError):
    """The proxy wants a user name and password, or others than those that it was given."""


class ProxyRefused(SourceError):
    """The proxy answers, but does not let us to the server, or cannot reach it."""


class ProxyUnreachable(SourceUnavailable):
    """There is no connection to the proxy, and none is made without it."""


class MachineError(Stalled):
    """This machine must change."""

    exit_code = 4


class InsufficientSpace(MachineError):
    """The disk is too small by ``shortfall`` bytes."""

    def __init__(self, message: str, *, shortfall: int) -> None:
        super().__init__(message)
        self.shortfall = shortfall


class DiskError(MachineError):
    """Reading, writing or syncing failed (EIO and its kin)."""


class DamagedState(MachineError):
    """chunks.db cannot be used and could not be set aside."""
