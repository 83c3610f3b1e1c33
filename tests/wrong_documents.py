"""Wrong ModelArtifacts, with a word of the message that a user gets: from the API server and from `modelferry pull`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]


def right() -> Document:
    """One that is right."""
    file = {"path": "a/b.bin", "url": "https://models.example.com/b.bin", "sha256": "0" * 64, "size": 5}
    return {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "chattts"},
        "spec": {"source": {"http": {"files": [file]}}},
    }


def _changed(change: Callable[[Document], None]) -> Document:
    document = copy.deepcopy(right())
    change(document)
    return document


def _file(**fields: Any) -> Document:
    return _changed(lambda d: d["spec"]["source"]["http"]["files"][0].update(fields))


def _spec(**fields: Any) -> Document:
    return _changed(lambda d: d["spec"].update(fields))


_PLAIN = {"path": "a.bin", "url": "https://h/a"}

#: what is wrong -> (the document, words of the API server's message, words of the command's message)
WRONG: dict[str, tuple[Document, str, str]] = {
    "two sources": (
        _changed(lambda d: d["spec"]["source"].update(huggingFace={"repo": "2Noise/ChatTTS"})),
        'unknown field "spec.source.huggingFace"',
        "spec.source.huggingFace: is not a field",
    ),
    "no source": (
        _spec(source={}),
        "exactly one source is required: set spec.source.http",
        "exactly one source is required",
    ),
    "an unknown field": (_spec(revsion="main"), 'unknown field "spec.revsion"', "spec.revsion: is not a field"),
    "no files": (_spec(source={"http": {"files": []}}), "should have at least 1 items", "must list at least one file"),
    "a path that climbs out": (
        _file(path="../etc/passwd"),
        "a file stays inside the model's directory",
        "stays inside",
    ),
    "a path that climbs out in the middle": (
        _file(path="a/../../b"),
        "stays inside the model's directory",
        "stays inside",
    ),
    "a dot in a path": (_file(path="./a"), "stays inside the model's directory", "stays inside"),
    "an absolute path": (_file(path="/etc/passwd"), "path is absolute", "is absolute"),
    "an empty segment": (_file(path="a//b"), "has an empty segment", "has an empty segment"),
    "a slash at the end": (_file(path="a/"), "has an empty segment", "has an empty segment"),
    "our own name": (
        _file(path="a/.modelferry-ready.json"),
        "a name that Modelferry keeps for itself",
        "keeps for itself",
    ),
    "a control character": (_file(path="a\nb"), "a control character or a backslash", "control character"),
    "a backslash": (_file(path="a\\b"), "a control character or a backslash", "backslash"),
    "a short digest": (_file(sha256="abc"), "sha256 must be 64 lower-case hexadecimal digits", "must be 64 lower-case"),
    "an upper-case digest": (_file(sha256="A" * 64), "sha256 must be 64 lower-case", "must be 64 lower-case"),
    "two digests": (_file(md5="0" * 32), "give sha256 or md5, not both", "give sha256 or md5, not both"),
    "a negative size": (_file(size=-1), "should be greater than or equal to 0", "size: must be 0 to"),
    "no http at all": (_file(url="ftp://h/x"), "does not begin with https://", "does not begin with https://"),
    "a path twice": (
        _changed(lambda d: d["spec"]["source"]["http"].update(files=[_PLAIN, _PLAIN])),
        "Duplicate value",
        "listed twice",
    ),
    "no connection": (
        _spec(transfer={"connections": 0}),
        "greater than or equal to 1",
        "connections: must be 1 to 128",
    ),
    "too many connections": (_spec(transfer={"connections": 129}), "less than or equal to 128", "must be 1 to 128"),
    "two kinds of storage": (
        _spec(storage={"nodeLocal": {}, "claim": {"name": "models"}}),
        "give nodeLocal or claim",
        "give nodeLocal or claim",
    ),
    "a long name": (
        _changed(lambda d: d["metadata"].update(name="a" * 64)),
        "must be at most 63 characters",
        "at most 63 characters",
    ),
    "a name with a dot": (
        _changed(lambda d: d["metadata"].update(name="a.b")),
        "must be at most 63 characters of a-z",
        "at most 63 characters",
    ),
    "an old TLS": (
        _spec(transfer={"tls": {"minVersion": "1.1"}}),
        'supported values: "1.2", "1.3"',
        'minVersion: must be "1.2" or "1.3"',
    ),
    "a pin that is none": (
        _spec(transfer={"tls": {"pins": ["sha256/abc"]}}),
        "a pin must be sha256/ and the base64 of a SHA-256",
        "pins[0]: must be sha256/ and the base64 of a SHA-256",
    ),
    "a bundle from nowhere": (
        _spec(transfer={"tls": {"ca": {}}}),
        "give configMap or secret, not both and not none",
        "give configMap or secret",
    ),
    "a rate without a unit": (
        _spec(transfer={"bandwidth": "40"}),
        "must be a whole number from 1 to 999999 and a unit, per second: kbit, Mbit, Gbit (bits)",
        "spec.transfer.bandwidth: must be a whole number from 1 to 999999 and a unit, per second",
    ),
    "a rate in a unit of storage": (
        _spec(transfer={"podNetworkBandwidth": "40M"}),
        "such as 40Mbit or 5MB",
        "podNetworkBandwidth: must be a whole number from 1 to 999999 and a unit",
    ),
    "a rate of nothing": (_spec(transfer={"bandwidth": "0Mbit"}), "must be a whole number from 1", "not '0Mbit'"),
    "a window without an end": (
        _spec(transfer={"windows": [{"from": "08:00", "pause": True}]}),
        "spec.transfer.windows[0].to: Required value",
        'windows[0].to: is required: a time of day in quotes, such as "18:00"',
    ),
    "a time that is none": (
        _spec(transfer={"windows": [{"from": "8:00", "to": "24:00", "pause": True}]}),
        "spec.transfer.windows[0].from",
        'windows[0].from: must be a time of day in quotes, "00:00" to "23:59", not \'8:00\'',
    ),
    "a window that does nothing": (
        _spec(transfer={"windows": [{"from": "08:00", "to": "18:00"}]}),
        "give bandwidth or pause: true, not both and not none",
        "windows[0]: give bandwidth or pause: true",
    ),
    "a window that pauses and limits": (
        _spec(transfer={"windows": [{"from": "08:00", "to": "18:00", "pause": True, "bandwidth": "1MB"}]}),
        "give bandwidth or pause: true, not both and not none",
        "windows[0]: give bandwidth or pause: true",
    ),
    "a day that is none": (
        _spec(transfer={"windows": [{"days": ["Monday"], "from": "08:00", "to": "18:00", "pause": True}]}),
        'Unsupported value: "Monday"',
        "windows[0].days: must be some of Mon, Tue, Wed, Thu, Fri, Sat, Sun",
    ),
    "a time zone by a word": (
        _spec(transfer={"windows": [{"from": "08:00", "to": "18:00", "timeZone": "Central Europe", "pause": True}]}),
        "spec.transfer.windows[0].timeZone",
        "windows[0].timeZone: must be a name of the IANA time zone database",
    ),
    "a proxy of an unknown kind": (
        _spec(transfer={"proxy": {"url": "socks4://proxy:1080"}}),
        "url does not begin with http://, https:// or socks5h://",
        "proxy.url: does not begin with http://, https:// or socks5h://",
    ),
    "a proxy without a url": (
        _spec(transfer={"proxy": {"noProxy": ["h"]}}),
        "spec.transfer.proxy.url: Required value",
        "spec.transfer.proxy.url: is required",
    ),
    "a proxy's password in its url": (
        _spec(transfer={"proxy": {"url": "http://me:secret@proxy:3128"}}),
        "name it in auth.secretRef",
        "proxy.url: carries a user name or password; put them into a Secret",
    ),
    "a proxy without a host": (
        _spec(transfer={"proxy": {"url": "http://:3128"}}),
        "url names no host",
        "proxy.url: names no host",
    ),
    "a proxy with a path": (
        _spec(transfer={"proxy": {"url": "http://proxy:3128/proxy.pac"}}),
        "a proxy is a host and a port",
        "proxy.url: has a path; a proxy is a host and a port",
    ),
    "a proxy with a space": (
        _spec(transfer={"proxy": {"url": "http://pro xy:3128"}}),
        "url holds a space",
        "proxy.url: holds a space",
    ),
    "a proxy's Secret without a name": (
        _spec(transfer={"proxy": {"url": "http://proxy:3128", "auth": {"secretRef": {}}}}),
        "spec.transfer.proxy.auth.secretRef.name: Required value",
        "spec.transfer.proxy.auth.secretRef.name: is required",
    ),
    "pins of a proxy without TLS": (
        _spec(transfer={"proxy": {"url": "http://proxy:3128", "pins": [f"sha256/{'A' * 43}="]}}),
        "pins are for a proxy with an https:// url",
        "proxy.pins: only a proxy with an https:// url has a certificate",
    ),
    "a URL where a host is left out of the proxy": (
        _spec(transfer={"proxy": {"url": "http://proxy:3128", "noProxy": ["https://h"]}}),
        "must be a host, .domain, address, address/prefix or host:port",
        "noProxy[0]: must be a host, .domain, address, address/prefix or host:port",
    ),
    "files and a list of them": (
        _changed(lambda d: d["spec"]["source"]["http"].update(manifestURL="https://h/SHA256SUMS")),
        "give files or manifestURL, not both and not none",
        "give files or manifestURL",
    ),
    "neither files nor a list": (
        _spec(source={"http": {}}),
        "give files or manifestURL, not both and not none",
        "give files or manifestURL",
    ),
    "a list from nowhere": (
        _spec(source={"http": {"manifestURL": "SHA256SUMS"}}),
        "does not begin with https://",
        "manifestURL: does not begin with https://",
    ),
}
