"""The errors of attempts that failed where no location is left: file, URL, cause and remedy. Pure."""

from __future__ import annotations

from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.verdicts import Verdict
from modelferry.errors import (
    CertificateRefused,
    Denied,
    DigestMismatch,
    DiskError,
    NotFound,
    PlainHTTPRefused,
    ProxyDenied,
    ProxyRefused,
    ProxyUnreachable,
    ServerMisbehaves,
    SizeMismatch,
    SourceChanged,
    SourceUnavailable,
    Stalled,
    UnexpectedContent,
    UnknownHost,
)
from modelferry.http.wire import Origin
from modelferry.manifest import Chunk, Manifest
from modelferry.values.quantities import size_text
from modelferry.values.spec_lines import ALLOW_PLAIN_HTTP
from modelferry.values.urls import redact_url

_REMEDIES: dict[type[Stalled], str] = {
    NotFound: "check the URL",
    Denied: "grant this client access, or give another URL",
    SizeMismatch: "check that the URL is that of the file; if it was replaced, apply the artifact again",
    SourceChanged: "apply the artifact again, so that the new version is resolved",
    ServerMisbehaves: "use another mirror, or fix the server",
    SourceUnavailable: "check the server and the network path to it",
    ProxyUnreachable: "check the proxy and the network path to it; no request bypasses it",
    ProxyRefused: "check the server, and whether the proxy can reach it",
    PlainHTTPRefused: f"give an https:// URL, or {ALLOW_PLAIN_HTTP}",
}


def refusal(file: FileDownload, location: LocationState, verdict: Verdict, cause: Stalled | None) -> Stalled:
    """The error because of which `location` is not used for `file` any more."""
    path = file.entry.path
    if isinstance(cause, CertificateRefused | UnknownHost | Denied | ProxyDenied | ProxyRefused):
        return type(cause)(f"{path}: {cause.message}", reason=cause.reason, file=path)
    remedy = _REMEDIES.get(verdict.error, "use another mirror")
    return verdict.error(f"{path}: {redact_url(location.request_url)} {verdict.message}; {remedy}", file=path)


def unavailable(file: FileDownload, location: LocationState, verdict: Verdict, progress_deadline: float) -> Stalled:
    """The error of a download that made no progress for `progress_deadline` seconds; `verdict` is the last one."""
    error = verdict.error if verdict.error in (ProxyUnreachable, ProxyRefused) else SourceUnavailable
    path, url = file.entry.path, redact_url(location.request_url)
    return error(
        f"{path}: no progress for {progress_deadline:.0f} s; the last time {url} {verdict.message}; {_REMEDIES[error]}",
        file=path,
    )


def mismatch(file: FileDownload) -> Stalled:
    """The error of a file that arrived completely, twice, and is not the declared one."""
    expected, got = file.mismatch
    again = "the file was fetched again" if file.streaming else "every chunk was fetched again"
    cause = f"it is {file.mistaken}" if file.mistaken else "correct the digest or the URL"
    return DigestMismatch(
        f"{file.entry.path}: expected {expected}, got {got}; {again} and had the same bytes: the source's file is not"
        f" the declared one; {cause}",
        file=file.entry.path,
    )


def mistaken(file: FileDownload, content: str) -> Stalled:
    """The error of a file without a digest that plainly is something else; `content` is what."""
    location = file.chosen or file.locations[0]
    return UnexpectedContent(f"{file.entry.path}: {redact_url(location.url)} is {content}", file=file.entry.path)


def spoiled(file: FileDownload, location: LocationState, chunk: Chunk, times: int) -> Stalled:
    """The error of a chunk whose bytes are never those that the server's own Content-Digest declares."""
    return DigestMismatch(
        f"{file.entry.path}: chunk {chunk.index} (bytes {chunk.start}-{chunk.end - 1}, {size_text(chunk.size)}) arrived"
        f" {times} times from {redact_url(location.request_url)} with other bytes than its Content-Digest declares; a"
        " cache or proxy on the network path corrupts it; use another mirror",
        file=file.entry.path,
    )


def quarantined(location: LocationState, why: str) -> Stalled:
    """The error of a mirror that served corrupt data: with another mirror's bytes the file's digest matched."""
    return DigestMismatch(
        f"mirror {location.mirror} ({redact_url(location.url)}) {why}; fix it and give it another name, or remove it"
        " from spec.mirrors"
    )


def changing(file: FileDownload, location: LocationState) -> Stalled:
    """The error of a file whose version changed again and again."""
    return SourceChanged(
        f"{file.entry.path}: {redact_url(location.request_url)} changed while it was fetched, {file.restarts} times;"
        " start again when it no longer changes, or declare its digest",
        file=file.entry.path,
    )


def unsynced(file: FileDownload) -> Stalled:
    """The error of a file whose chunks cannot be made durable."""
    return DiskError(
        f"{file.entry.path}: what was written could not be read back or synced; check the disk and the kernel's log",
        file=file.entry.path,
    )


def refuse_plain_http(manifest: Manifest) -> None:
    """Raise PlainHTTPRefused if a location's URL begins with http://."""
    for file in manifest.files:
        for location in file.locations:
            if Origin.of(location.url).scheme != "https":
                raise PlainHTTPRefused(
                    f"{file.path}: {redact_url(location.url)} is plain http, which anyone on the network path can"
                    f" change; give an https:// URL, or {ALLOW_PLAIN_HTTP}",
                    file=file.path,
                )
