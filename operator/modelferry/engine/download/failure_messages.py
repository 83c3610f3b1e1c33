"""What a failed try becomes where no other is left: an error that names file, place, cause and way out. Pure."""

from __future__ import annotations

from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.response import Verdict
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
    UnknownHost,
)
from modelferry.http.wire import Origin
from modelferry.manifest import Chunk, Manifest
from modelferry.values.quantities import size_text
from modelferry.values.urls import redact_url

_WAYS_OUT: dict[type[Stalled], str] = {
    NotFound: "check the URL",
    Denied: "let this client read it, or give another URL",
    SizeMismatch: "correct the declared size, or apply the artifact again if the file was replaced",
    SourceChanged: "apply the artifact again, so that the new version is resolved",
    ServerMisbehaves: "use another mirror, or mend the server",
    SourceUnavailable: "check the server and the way to it",
    ProxyUnreachable: "check the proxy and the way to it; nothing is fetched past it",
    ProxyRefused: "check the server, and the proxy's way to it",
    PlainHTTPRefused: "give an https:// URL, or allow plain http",
}


def refusal(file: FileDownload, location: LocationState, verdict: Verdict, cause: Stalled | None) -> Stalled:
    """The error that makes `location` of no more use for `file`."""
    path = file.entry.path
    if isinstance(cause, CertificateRefused | UnknownHost | Denied | ProxyDenied | ProxyRefused):
        return type(cause)(f"{path}: {cause.message}", reason=cause.reason, file=path)
    way_out = _WAYS_OUT.get(verdict.fault, "use another mirror")
    return verdict.fault(f"{path}: {redact_url(location.url)} {verdict.message}; {way_out}", file=path)


def unavailable(file: FileDownload, location: LocationState, verdict: Verdict, progress_deadline: float) -> Stalled:
    """The error of a download that made no progress for `progress_deadline` seconds; `verdict` is the last."""
    fault = verdict.fault if verdict.fault in (ProxyUnreachable, ProxyRefused) else SourceUnavailable
    return fault(
        f"{file.entry.path}: no progress for {progress_deadline:.0f} s; the last time {redact_url(location.url)}"
        f" {verdict.message}; {_WAYS_OUT[fault]}",
        file=file.entry.path,
    )


def mismatch(file: FileDownload) -> Stalled:
    """The error of a file that arrived whole, twice, and is not the declared one."""
    expected, got = file.mismatch
    again = "it was fetched again" if file.streaming else "every chunk was fetched again"
    return DigestMismatch(
        f"{file.entry.path}: expected {expected}, got {got}; {again} and came the same: the source's file is not the"
        " declared one; correct the digest or the URL",
        file=file.entry.path,
    )


def spoiled(file: FileDownload, location: LocationState, chunk: Chunk, times: int) -> Stalled:
    """The error of a chunk whose bytes are never those that the server's own Content-Digest declares."""
    return DigestMismatch(
        f"{file.entry.path}: chunk {chunk.index} (bytes {chunk.start}-{chunk.end - 1}, {size_text(chunk.size)}) arrived"
        f" {times} times from {redact_url(location.url)} with other bytes than its Content-Digest declares; a cache or"
        " proxy on the way spoils it; use another mirror",
        file=file.entry.path,
    )


def quarantined(location: LocationState, why: str) -> Stalled:
    """The error of a mirror that brought bytes which others replaced, and then the file's digest was right."""
    return DigestMismatch(
        f"mirror {location.location.mirror} ({redact_url(location.location.url)}) {why}; fix it and give it another"
        " name, or take it off spec.mirrors"
    )


def changing(file: FileDownload, location: LocationState) -> Stalled:
    """The error of a file that was another one each time."""
    return SourceChanged(
        f"{file.entry.path}: {redact_url(location.url)} changed while it was fetched, {file.restarts} times; fetch it"
        " when it is settled, or declare its digest",
        file=file.entry.path,
    )


def unsynced(file: FileDownload) -> Stalled:
    """The error of a file whose chunks do not get onto the disk."""
    return DiskError(
        f"{file.entry.path}: what was written could not be read back or synced; check the disk and the kernel's log",
        file=file.entry.path,
    )


def refuse_plain_http(manifest: Manifest) -> None:
    """Raise PlainHTTPRefused where a place begins with http://."""
    for file in manifest.files:
        for location in file.locations:
            if Origin.of(location.url).scheme != "https":
                raise PlainHTTPRefused(
                    f"{file.path}: {redact_url(location.url)} is plain http, which anybody on the way can change; give"
                    " an https:// URL, or set spec.transfer.tls.allowPlainHTTP: true",
                    file=file.path,
                )
