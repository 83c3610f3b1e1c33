"""Invalid ModelArtifacts, with a part of the error message of the API server and of `modelferry pull`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]


def valid() -> Document:
    """A valid ModelArtifact."""
    file = {"path": "a/b.bin", "url": "https://models.example.com/b.bin", "sha256": "0" * 64, "size": 5}
    return {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "chattts"},
        "spec": {"source": {"http": {"files": [file]}}},
    }


def _changed(change: Callable[[Document], None]) -> Document:
    document = copy.deepcopy(valid())
    change(document)
    return document


def _file(**fields: Any) -> Document:
    return _changed(lambda d: d["spec"]["source"]["http"]["files"][0].update(fields))


def _spec(**fields: Any) -> Document:
    return _changed(lambda d: d["spec"].update(fields))


def _s3(**fields: Any) -> Document:
    bucket = {"bucket": "models", "prefix": "chattts"} | fields
    return _spec(source={"s3": {name: value for name, value in bucket.items() if value is not None}})


def _oci(reference: str | None) -> Document:
    return _spec(source={"oci": {} if reference is None else {"reference": reference}})


def _hub(**fields: Any) -> Document:
    """With a Hugging Face repository; None removes a field."""
    fields = {"repo": "2Noise/ChatTTS"} | fields
    return _spec(source={"huggingFace": {name: value for name, value in fields.items() if value is not None}})


_PLAIN = {"path": "a.bin", "url": "https://h/a"}
_LAB: Document = {"name": "lab", "url": "https://lab/{path}"}


def _headers(*headers: Document, **fields: Any) -> Document:
    return _spec(headers=list(headers), **fields)


def _sigv4(**fields: Any) -> Document:
    """With a mirror whose URLs are signed with keys."""
    s3 = {"bucket": "models", "secretRef": {"name": "keys"}} | fields
    return _spec(mirrors=[{"name": "lab", "presigned": {"s3": s3}}])


#: Description -> the document, a part of the error message of the API server, and of the command.
INVALID: dict[str, tuple[Document, str, str]] = {
    "two sources": (
        _changed(lambda d: d["spec"]["source"].update(huggingFace={"repo": "2Noise/ChatTTS"})),
        "exactly one source is required: set one of",
        "spec.source: exactly one source is required",
    ),
    "a source that is none": (
        _spec(source={"ftp": {}}),
        'unknown field "spec.source.ftp"',
        "spec.source.ftp: is not a field",
    ),
    "no repository": (_hub(repo=None), "repo: Required value", "huggingFace.repo: is required"),
    "an address for a repository": (
        _hub(repo="https://huggingface.co/2Noise/ChatTTS"),
        "repo must be owner/name or name, as in the repository's address",
        "huggingFace.repo: must be owner/name or name",
    ),
    "a revision that Git does not know": (
        _hub(revision="main..dev"),
        "revision must be the name of a branch or a tag, or a commit",
        "huggingFace.revision: must be the name of a branch",
    ),
    "a revision with a space": (
        _hub(revision="my branch"),
        "revision must be the name of a branch or a tag, or a commit",
        "huggingFace.revision: must be the name of a branch",
    ),
    "a pattern of nothing": (
        _hub(include=["*.json", ""]),
        "should be at least 1 chars long",
        "huggingFace.include[1]: must be a pattern",
    ),
    "too many patterns": (
        _hub(exclude=["*"] * 65),
        "must have at most 64 items",
        "huggingFace.exclude: must have at most 64 items",
    ),
    "a kind of repository that is none": (
        _hub(repoType="space"),
        'supported values: "model", "dataset"',
        "huggingFace.repoType: must be model or dataset, not 'space'",
    ),
    "an endpoint without a scheme": (
        _hub(endpoint="hf-mirror.com"),
        "endpoint does not begin with https://",
        "huggingFace.endpoint: does not begin with https://",
    ),
    "an endpoint with a query": (
        _hub(endpoint="https://hf-mirror.com/?a=b"),
        "endpoint has a query or a fragment",
        "huggingFace.endpoint: has a query",
    ),
    "an unknown field of a hub": (
        _hub(token="hf_abc"),
        'unknown field "spec.source.huggingFace.token"',
        "huggingFace.token: is not a field",
    ),
    "a layout that is none": (
        _changed(lambda d: d["spec"].update(source={"huggingFace": {"repo": "a/b"}}, layout="hub")),
        'supported values: "plain", "huggingface", "both"',
        "spec.layout: must be plain, huggingface or both, not 'hub'",
    ),
    "a layout by a name that the source does not have": (
        _spec(layout="both"),
        "layout needs source.huggingFace or source.modelScope",
        "spec.layout: needs source.huggingFace or source.modelScope",
    ),
    "a model without an owner": (
        _spec(source={"modelScope": {"repo": "ChatTTS"}}),
        "repo must be owner/name, as in the model's address",
        "modelScope.repo: must be owner/name",
    ),
    "a model's revision with a star": (
        _spec(source={"modelScope": {"repo": "a/b", "revision": "v*"}}),
        "revision must be the name of a branch or a tag, or a commit",
        "modelScope.revision: must be the name of a branch",
    ),
    "a model's endpoint by ftp": (
        _spec(source={"modelScope": {"repo": "a/b", "endpoint": "ftp://h"}}),
        "endpoint does not begin with https://",
        "modelScope.endpoint: does not begin with https://",
    ),
    "no source": (
        _spec(source={}),
        "exactly one source is required: set one of http, huggingFace, modelScope, s3, oci",
        "exactly one source is required: set one of http, huggingFace, modelScope, s3, oci",
    ),
    "a bucket and a registry": (
        _spec(source=_s3()["spec"]["source"] | _oci("h.example/m:v1")["spec"]["source"]),
        "exactly one source is required",
        "exactly one source is required",
    ),
    "a bucket without a name": (_s3(bucket=None), "source.s3.bucket: Required", "source.s3.bucket: is required"),
    "a bucket that is none": (_s3(bucket="My_Bucket"), "bucket must be 3 to 63 of", "bucket: must be 3 to 63 of"),
    "a prefix with a slash": (_s3(prefix="/models"), "not begin with a slash", "not begin with a slash"),
    "a region that is none": (_s3(region="EU west"), "must be a region's name", "region: must be a region's name"),
    "a bucket's endpoint with a query": (
        _s3(endpoint="https://s3.example.com/?bucket=models"),
        "endpoint has a query or a fragment; give the address of the store alone",
        "s3.endpoint: has a query or a fragment; give the address of the store alone",
    ),
    "a bucket's endpoint without a scheme": (
        _s3(endpoint="s3.example.com"),
        "endpoint does not begin with https://",
        "endpoint: does not begin with https://",
    ),
    "a style that is none": (
        _s3(style="dns"),
        'supported values: "path", "virtual"',
        "style: must be path or virtual, not 'dns'",
    ),
    "an empty pattern": (_s3(include=[""]), "include[0]", "include[0]: must be a pattern of 1 to 256 characters"),
    "an account that is none": (
        _s3(serviceAccountName="Models!"),
        "must be a service account's name",
        "serviceAccountName: must be a service account's name",
    ),
    "a reference without a host": (
        _oci("models/chattts:v1"),
        "must be HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST",
        "reference: must be HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST",
    ),
    "a reference with a scheme": (
        _oci("https://h.example/m:v1"),
        "must be HOST/REPOSITORY:TAG",
        "reference: must be HOST/REPOSITORY:TAG",
    ),
    "a reference without a tag": (
        _oci("h.example:5000/models/chattts"),
        "names neither a tag nor a digest; add :TAG",
        "reference: names neither a tag nor a digest; add :TAG",
    ),
    "a short digest in a reference": (
        _oci("h.example/m@sha256:abc"),
        "must be HOST/REPOSITORY:TAG",
        "reference: must be HOST/REPOSITORY:TAG",
    ),
    "archives to unpack": (
        _spec(source={"oci": {"reference": "h.example/m:v1", "archives": "unpack"}}),
        'supported values: "refuse", "keep"',
        "source.oci.archives: must be refuse or keep, not 'unpack'",
    ),
    "no reference": (_oci(None), "source.oci.reference: Required", "source.oci.reference: is required"),
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
    "a client certificate from nowhere": (
        _spec(transfer={"tls": {"clientCertificate": {}}}),
        "spec.transfer.tls.clientCertificate.secretRef: Required value",
        "spec.transfer.tls.clientCertificate.secretRef.name: is required",
    ),
    "a client certificate in the spec": (
        _spec(transfer={"tls": {"clientCertificate": {"secretRef": {"name": "who", "key": "tls.crt"}}}}),
        'unknown field "spec.transfer.tls.clientCertificate.secretRef.key"',
        "spec.transfer.tls.clientCertificate.secretRef.key: is not a field",
    ),
    "a mirror's client certificate without a name": (
        _spec(mirrors=[_LAB | {"tls": {"clientCertificate": {"secretRef": {}}}}]),
        "spec.mirrors[0].tls.clientCertificate.secretRef.name: Required value",
        "spec.mirrors[0].tls.clientCertificate.secretRef.name: is required",
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
    "a mirror without {path}": (
        _spec(mirrors=[{"name": "lab", "url": "https://lab/models"}]),
        "url must contain {path}",
        "spec.mirrors[0].url: must contain {path}",
    ),
    "a mirror that is no URL": (
        _spec(mirrors=[{"name": "lab", "url": "lab/{path}"}]),
        "url does not begin with https://",
        "spec.mirrors[0].url: does not begin with https://",
    ),
    "a mirror with nothing": (
        _spec(mirrors=[{"name": "lab"}]),
        "give url or presigned",
        "spec.mirrors[0]: give url or presigned",
    ),
    "a mirror with a bad name": (
        _spec(mirrors=[{"name": "Lab", "url": "https://lab/{path}"}]),
        "name must be at most 32 characters",
        "spec.mirrors[0].name: must be at most 32 characters",
    ),
    "two mirrors of one name": (
        _spec(mirrors=[{"name": "lab", "url": "https://lab/{path}"}, {"name": "lab", "url": "https://b/{path}"}]),
        "Duplicate value",
        "spec.mirrors[1].name: 'lab' is listed twice",
    ),
    "a source with a URL among the mirrors": (
        _spec(mirrors=[{"name": "source", "url": "https://lab/{path}"}]),
        "'source' stands for spec.source itself",
        "'source' stands for spec.source itself",
    ),
    "a source with a proxy of its own among the mirrors": (
        _spec(mirrors=[{"name": "source", "proxy": {"url": "http://proxy:3128"}}]),
        "give it a priority, a weight, a probe or a bandwidth",
        "'source' stands for spec.source itself",
    ),
    "a mirror's bandwidth without a unit": (
        _spec(mirrors=[{"name": "lab", "url": "https://lab/{path}", "bandwidth": "40"}]),
        "must be a whole number from 1 to 999999 and a unit",
        "spec.mirrors[0].bandwidth: must be a whole number from 1 to 999999 and a unit",
    ),
    "a mirror's proxy of an unknown kind": (
        _spec(mirrors=[{"name": "lab", "url": "https://lab/{path}", "proxy": {"url": "ftp://proxy"}}]),
        "url does not begin with http://, https:// or socks5h://",
        "spec.mirrors[0].proxy.url: does not begin with http://, https:// or socks5h://",
    ),
    "a mirror's proxy with a Secret that has no name": (
        _spec(mirrors=[_LAB | {"proxy": {"url": "http://proxy:3128", "auth": {"secretRef": {}}}}]),
        "spec.mirrors[0].proxy.auth.secretRef.name: Required value",
        "spec.mirrors[0].proxy.auth.secretRef.name: is required",
    ),
    "a mirror's proxy that is passed for a URL": (
        _spec(mirrors=[_LAB | {"proxy": {"url": "http://proxy:3128", "noProxy": ["https://h"]}}]),
        "an entry must be a host, .domain, address, address/prefix or host:port",
        "spec.mirrors[0].proxy.noProxy[0]: ",
    ),
    "pins of a mirror's proxy without TLS": (
        _spec(mirrors=[_LAB | {"proxy": {"url": "http://proxy:3128", "pins": [f"sha256/{'A' * 43}="]}}]),
        "pins are for a proxy with an https:// url",
        "spec.mirrors[0].proxy.pins: only a proxy with an https:// url has a certificate",
    ),
    "a mirror's proxy without a url": (
        _spec(mirrors=[{"name": "lab", "url": "https://lab/{path}", "proxy": {"noProxy": ["*"]}}]),
        "spec.mirrors[0].proxy.url: Required value",
        "spec.mirrors[0].proxy.url: is required",
    ),
    "a probe that is no duration": (
        _spec(mirrors=[{"name": "lab", "url": "https://lab/{path}", "probe": {"interval": "soon"}}]),
        "interval must be a duration such as 90s",
        "spec.mirrors[0].probe.interval: must be a duration such as 90s",
    ),
    "presigned URLs from two places": (
        _spec(
            mirrors=[
                {
                    "name": "lab",
                    "presigned": {
                        "secretRef": {"name": "a"},
                        "s3": {"bucket": "bbb", "secretRef": {"name": "a"}},
                    },
                }
            ]
        ),
        "give secretRef or s3",
        "spec.mirrors[0].presigned: give secretRef or s3",
    ),
    "a progressDeadline that is not a duration": (
        _spec(transfer={"progressDeadline": "5 minutes"}),
        "progressDeadline must be a duration such as 90s",
        "spec.transfer.progressDeadline: must be a duration such as 90s",
    ),
    "a model's pattern of nothing": (
        _spec(source={"modelScope": {"repo": "a/b", "include": [""]}}),
        "should be at least 1 chars long",
        "modelScope.include[0]: must be a pattern of 1 to 256 characters",
    ),
    "a model's pattern that is none": (
        _spec(source={"modelScope": {"repo": "a/b", "exclude": [5]}}),
        "modelScope.exclude[0] in body must be of type string",
        "modelScope.exclude[0]: must be a pattern of 1 to 256 characters",
    ),
    "an object's pattern that is too long": (
        _s3(exclude=["a" * 257]),
        "s3.exclude[0]: Too long: may not be more than 256",
        "s3.exclude[0]: must be a pattern of 1 to 256 characters",
    ),
    "a Secret that cannot be": (
        _spec(auth={"secretRef": {"name": "../hub"}}),
        "spec.auth.secretRef.name in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'",
        "spec.auth.secretRef.name: must be a Secret's name: at most 253 of a-z, 0-9, '-' and '.', not '../hub'",
    ),
    "a mirror's Secret that cannot be": (
        _spec(mirrors=[_LAB | {"auth": {"secretRef": {"name": "Lab"}}}]),
        "spec.mirrors[0].auth.secretRef.name in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'",
        "spec.mirrors[0].auth.secretRef.name: must be a Secret's name",
    ),
    "presigned URLs of a Secret that cannot be": (
        _spec(mirrors=[{"name": "lab", "presigned": {"secretRef": {"name": "a b"}}}]),
        "spec.mirrors[0].presigned.secretRef.name in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'",
        "spec.mirrors[0].presigned.secretRef.name: must be a Secret's name",
    ),
    "keys of a mirror from nowhere": (
        _sigv4(secretRef={}),
        "spec.mirrors[0].presigned.s3.secretRef.name: Required value",
        "spec.mirrors[0].presigned.s3.secretRef.name: is required",
    ),
    "a mirror's bucket that is none": (
        _sigv4(bucket="My_Bucket"),
        "bucket must be 3 to 63 of",
        "presigned.s3.bucket: must be 3 to 63 of",
    ),
    "a mirror's region that is none": (
        _sigv4(region="EU west"),
        "region must be a region's name",
        "presigned.s3.region: must be a region's name",
    ),
    "a mirror's endpoint without a scheme": (
        _sigv4(endpoint="s3.example.com"),
        "endpoint does not begin with https://",
        "presigned.s3.endpoint: does not begin with https://",
    ),
    "a mirror's endpoint with a fragment": (
        _sigv4(endpoint="https://s3.example.com/#models"),
        "endpoint has a query or a fragment; give the address of the store alone",
        "presigned.s3.endpoint: has a query or a fragment",
    ),
    "a mirror's prefix that is too long": (
        _sigv4(prefix="a" * 1025),
        "presigned.s3.prefix: Too long: may not be more than 1024",
        "presigned.s3.prefix: must be at most 1024 characters",
    ),
    "URLs that live for ever": (
        _sigv4(expires="never"),
        "expires must be a duration such as 90s",
        "presigned.s3.expires: must be a duration such as 90s",
    ),
    "a mirror's priority below nothing": (
        _spec(mirrors=[_LAB | {"priority": -1}]),
        "spec.mirrors[0].priority in body should be greater than or equal to 0",
        "spec.mirrors[0].priority: must be 0 to 1000",
    ),
    "a mirror without weight": (
        _spec(mirrors=[_LAB | {"weight": 0}]),
        "spec.mirrors[0].weight in body should be greater than or equal to 1",
        "spec.mirrors[0].weight: must be 1 to 100",
    ),
    "a mirror's old TLS": (
        _spec(mirrors=[_LAB | {"tls": {"minVersion": "1.0"}}]),
        'spec.mirrors[0].tls.minVersion: Unsupported value: "1.0"',
        'spec.mirrors[0].tls.minVersion: must be "1.2" or "1.3"',
    ),
    "a mirror's pin that is none": (
        _spec(mirrors=[_LAB | {"tls": {"pins": ["sha1/abc"]}}]),
        "a pin must be sha256/ and the base64 of a SHA-256",
        "spec.mirrors[0].tls.pins[0]: must be sha256/ and the base64 of a SHA-256",
    ),
    "a bundle in a ConfigMap that cannot be": (
        _spec(transfer={"tls": {"ca": {"configMap": {"name": "Company CA"}}}}),
        "spec.transfer.tls.ca.configMap.name in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'",
        "spec.transfer.tls.ca.configMap.name: must be a ConfigMap's name",
    ),
    "a bundle under a key that cannot be": (
        _spec(transfer={"tls": {"ca": {"configMap": {"name": "ca", "key": "a/b"}}}}),
        "spec.transfer.tls.ca.configMap.key in body should match '^[-._a-zA-Z0-9]+$'",
        "spec.transfer.tls.ca.configMap.key: must be a key of it",
    ),
    "a bundle in a Secret without a name": (
        _spec(transfer={"tls": {"ca": {"secret": {"key": "ca.crt"}}}}),
        "spec.transfer.tls.ca.secret.name: Required value",
        "spec.transfer.tls.ca.secret.name: is required",
    ),
    "a bundle under a path in a Secret": (
        _spec(transfer={"tls": {"ca": {"secret": {"name": "ca", "key": "../token"}}}}),
        "spec.transfer.tls.ca.secret.key in body should match '^[-._a-zA-Z0-9]+$'",
        "spec.transfer.tls.ca.secret.key: must be a key of it",
    ),
    "a mirror's bundle in a ConfigMap without a name": (
        _spec(mirrors=[_LAB | {"tls": {"ca": {"configMap": {}}}}]),
        "spec.mirrors[0].tls.ca.configMap.name: Required value",
        "spec.mirrors[0].tls.ca.configMap.name: is required",
    ),
    "a mirror's bundle under a key that cannot be": (
        _spec(mirrors=[_LAB | {"tls": {"ca": {"configMap": {"name": "ca", "key": "a b"}}}}]),
        "spec.mirrors[0].tls.ca.configMap.key in body should match '^[-._a-zA-Z0-9]+$'",
        "spec.mirrors[0].tls.ca.configMap.key: must be a key of it",
    ),
    "a mirror's bundle in a Secret that cannot be": (
        _spec(mirrors=[_LAB | {"tls": {"ca": {"secret": {"name": "-ca"}}}}]),
        "spec.mirrors[0].tls.ca.secret.name in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'",
        "spec.mirrors[0].tls.ca.secret.name: must be a Secret's name",
    ),
    "a mirror's bundle under a path in a Secret": (
        _spec(mirrors=[_LAB | {"tls": {"ca": {"secret": {"name": "ca", "key": "a/b"}}}}]),
        "spec.mirrors[0].tls.ca.secret.key in body should match '^[-._a-zA-Z0-9]+$'",
        "spec.mirrors[0].tls.ca.secret.key: must be a key of it",
    ),
    "a label that is no text": (
        _spec(nodes={"selector": {"gpu": True}}),
        "spec.nodes.selector.gpu in body must be of type string",
        "spec.nodes.selector.gpu: must be a string, not true/false",
    ),
    "too many tolerations": (
        _spec(nodes={"tolerations": [{"operator": "Exists"}] * 65}),
        "spec.nodes.tolerations: Too many: 65: must have at most 64 items",
        "spec.nodes.tolerations: must have at most 64 items",
    ),
    "a taint's key that is none": (
        _spec(nodes={"tolerations": [{"key": "nvidia com/gpu"}]}),
        "spec.nodes.tolerations[0].key in body should match",
        "spec.nodes.tolerations[0].key: must be a taint's key, such as nvidia.com/gpu",
    ),
    "a toleration of nothing": (
        _spec(nodes={"tolerations": [{"effect": "NoSchedule"}]}),
        "key may be left out only where operator is Exists",
        "spec.nodes.tolerations[0].key: may be left out only where operator is Exists",
    ),
    "a toleration by another word": (
        _spec(nodes={"tolerations": [{"key": "gpu", "operator": "In"}]}),
        'spec.nodes.tolerations[0].operator: Unsupported value: "In"',
        "spec.nodes.tolerations[0].operator: must be Equal or Exists",
    ),
    "a value beside Exists": (
        _spec(nodes={"tolerations": [{"key": "gpu", "operator": "Exists", "value": "yes"}]}),
        "value must be left out where operator is Exists",
        "spec.nodes.tolerations[0].value: must be left out where operator is Exists",
    ),
    "a taint's value that is none": (
        _spec(nodes={"tolerations": [{"key": "gpu", "value": "a/b"}]}),
        "spec.nodes.tolerations[0].value in body should match",
        "spec.nodes.tolerations[0].value: must be at most 63 letters, digits",
    ),
    "an effect that is none": (
        _spec(nodes={"tolerations": [{"key": "gpu", "effect": "NoRun"}]}),
        'spec.nodes.tolerations[0].effect: Unsupported value: "NoRun"',
        "spec.nodes.tolerations[0].effect: must be NoSchedule, PreferNoSchedule, NoExecute, or left out for all",
    ),
    "no node that has to be ready": (
        _spec(nodes={"minReady": 0}),
        "minReady must be a number of nodes, 1 to 5000, or a percentage",
        "spec.nodes.minReady: must be a number of nodes, 1 to 5000, or a percentage",
    ),
    "more than all nodes": (
        _spec(nodes={"minReady": "101%"}),
        "minReady must be a number of nodes, 1 to 5000, or a percentage",
        "spec.nodes.minReady: must be a number of nodes, 1 to 5000, or a percentage",
    ),
    "a number of nodes as text": (
        _spec(nodes={"minReady": "2"}),
        "minReady must be a number of nodes, 1 to 5000, or a percentage",
        "spec.nodes.minReady: must be a number of nodes, 1 to 5000, or a percentage",
    ),
    "ready nodes of a claim": (
        _spec(nodes={"minReady": 2}, storage={"claim": {"name": "models"}}),
        "nodes.minReady is for storage.nodeLocal: a claim has one copy",
        "spec.nodes.minReady: is for storage.nodeLocal: a claim has one copy",
    ),
    "a path on the nodes": (
        _spec(storage={"nodeLocal": "/srv/models"}),
        "spec.storage.nodeLocal in body must be of type object",
        "spec.storage.nodeLocal: must be a mapping, not a string",
    ),
    "a claim without a name": (
        _spec(storage={"claim": {}}),
        "spec.storage.claim.name: Required value",
        "spec.storage.claim.name: is required",
    ),
    "a claim that cannot be": (
        _spec(storage={"claim": {"name": "/data"}}),
        "spec.storage.claim.name in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'",
        "spec.storage.claim.name: must be a claim's name",
    ),
    "a window's rate without a unit": (
        _spec(transfer={"windows": [{"from": "08:00", "to": "18:00", "bandwidth": "fast"}]}),
        "must be a whole number from 1 to 999999 and a unit",
        "spec.transfer.windows[0].bandwidth: must be a whole number from 1 to 999999 and a unit",
    ),
    "a pause by a word": (
        _spec(transfer={"windows": [{"from": "08:00", "to": "18:00", "pause": "yes"}]}),
        "spec.transfer.windows[0].pause in body must be of type boolean",
        "spec.transfer.windows[0].pause: must be true or false, not a string",
    ),
    "plain http by a word": (
        _spec(transfer={"tls": {"allowPlainHTTP": "yes"}}),
        "spec.transfer.tls.allowPlainHTTP in body must be of type boolean",
        "spec.transfer.tls.allowPlainHTTP: must be true or false, not a string",
    ),
    "a header that frames the request": (
        _headers({"name": "Host", "value": "other.example.com"}),
        "is a header field that Modelferry sets itself, or that is about the connection; remove it",
        "spec.headers[0].name: is a header field that Modelferry sets itself",
    ),
    "a header about the content": (
        _headers({"name": "CONTENT-length", "value": "0"}),
        "is a header field that Modelferry sets itself, or that is about the connection; remove it",
        "spec.headers[0].name: is a header field that Modelferry sets itself",
    ),
    "a header for a proxy": (
        _spec(mirrors=[_LAB | {"headers": [{"name": "Proxy-Authorization", "value": "x"}]}]),
        "is a header field that Modelferry sets itself, or that is about the connection; remove it",
        "spec.mirrors[0].headers[0].name: is a header field that Modelferry sets itself",
    ),
    "a header with a range": (
        _headers({"name": "range", "value": "bytes=0-0"}),
        "is a header field that Modelferry sets itself, or that is about the connection; remove it",
        "spec.headers[0].name: is a header field that Modelferry sets itself",
    ),
    "a header's name with a colon": (
        _headers({"name": "X-Api-Key:", "value": "x"}),
        "must be a header field's name: at most 64 letters, digits",
        "spec.headers[0].name: must be a header field's name",
    ),
    "a header's value of two lines": (
        _headers({"name": "X-Api-Key", "value": "a\r\nHost: b"}),
        "must be 1 to 4096 printable ASCII characters",
        "spec.headers[0].value: must be 1 to 4096 printable ASCII characters",
    ),
    "an empty header": (
        _headers({"name": "X-Api-Key", "value": ""}),
        "must be 1 to 4096 printable ASCII characters",
        "spec.headers[0].value: must be 1 to 4096 printable ASCII characters",
    ),
    "a header without a value": (
        _headers({"name": "X-Api-Key"}),
        "give value or secretRef, not both and not none",
        "spec.headers[0]: give value or secretRef, not both and not none",
    ),
    "a header with two values": (
        _headers({"name": "X-Api-Key", "value": "x", "secretRef": {"name": "a", "key": "b"}}),
        "give value or secretRef, not both and not none",
        "spec.headers[0]: give value or secretRef, not both and not none",
    ),
    "a header's Secret without a key": (
        _headers({"name": "X-Api-Key", "secretRef": {"name": "a"}}),
        "spec.headers[0].secretRef.key: Required value",
        "spec.headers[0].secretRef.key: is required",
    ),
    "a header's Secret with a wrong key": (
        _headers({"name": "X-Api-Key", "secretRef": {"name": "a", "key": "../b"}}),
        "spec.headers[0].secretRef.key in body should match",
        "spec.headers[0].secretRef.key: must be a key of it",
    ),
    "a header listed twice": (
        _headers({"name": "X-Api-Key", "value": "x"}, {"name": "x-api-key", "value": "y"}),
        "a header is listed twice; upper and lower case are the same",
        "spec.headers[1].name: 'x-api-key' is listed twice",
    ),
    "Authorization beside auth": (
        _headers({"name": "authorization", "value": "Bearer x"}, auth={"secretRef": {"name": "hub"}}),
        "Authorization is set by auth, and by s3, oci and presigned always; remove it from headers",
        "spec.headers[0].name: authorization is set by auth, and by s3, oci and presigned always",
    ),
    "Authorization for a registry": (
        _headers({"name": "Authorization", "value": "Bearer x"}, source=_oci("h.example/m:v1")["spec"]["source"]),
        "Authorization is set by auth, and by s3, oci and presigned always; remove it from headers",
        "spec.headers[0].name: Authorization is set by auth, and by s3, oci and presigned always",
    ),
    "Authorization at presigned URLs": (
        _spec(
            mirrors=[
                {
                    "name": "lab",
                    "presigned": {"secretRef": {"name": "urls"}},
                    "headers": [{"name": "Authorization", "value": "Bearer x"}],
                }
            ]
        ),
        "Authorization is set by auth, and by s3, oci and presigned always; remove it from headers",
        "spec.mirrors[0].headers[0].name: Authorization is set by auth",
    ),
    "a cookie beside ModelScope's": (
        _spec(
            source={"modelScope": {"repo": "a/b"}},
            auth={"secretRef": {"name": "hub"}},
            headers=[{"name": "Cookie", "value": "a=b"}],
        ),
        "Cookie is set by auth for modelScope; remove it from headers",
        "spec.headers[0].name: Cookie is set by auth",
    ),
    "headers of the source among the mirrors": (
        _spec(mirrors=[{"name": "source", "headers": [{"name": "X-Api-Key", "value": "x"}]}, _LAB]),
        "'source' stands for spec.source itself",
        "'source' stands for spec.source itself",
    ),
    "a header's Secret with a wrong name": (
        _headers({"name": "X-Api-Key", "secretRef": {"name": "My_Keys", "key": "b"}}),
        "spec.headers[0].secretRef.name in body should match",
        "spec.headers[0].secretRef.name: must be a Secret's name",
    ),
    "a mirror's header without a value": (
        _spec(mirrors=[_LAB | {"headers": [{"name": "X-Api-Key"}]}]),
        "give value or secretRef, not both and not none",
        "spec.mirrors[0].headers[0]: give value or secretRef, not both and not none",
    ),
    "a mirror's header with a value that is not ASCII": (
        _spec(mirrors=[_LAB | {"headers": [{"name": "X-Api-Key", "value": "schlüssel"}]}]),
        "must be 1 to 4096 printable ASCII characters",
        "spec.mirrors[0].headers[0].value: must be 1 to 4096 printable ASCII characters",
    ),
    "a mirror's header's Secret with a wrong name": (
        _spec(mirrors=[_LAB | {"headers": [{"name": "X-Api-Key", "secretRef": {"name": "../a", "key": "b"}}]}]),
        "spec.mirrors[0].headers[0].secretRef.name in body should match",
        "spec.mirrors[0].headers[0].secretRef.name: must be a Secret's name",
    ),
    "a mirror's header's Secret without a key": (
        _spec(mirrors=[_LAB | {"headers": [{"name": "X-Api-Key", "secretRef": {"name": "a"}}]}]),
        "spec.mirrors[0].headers[0].secretRef.key: Required value",
        "spec.mirrors[0].headers[0].secretRef.key: is required",
    ),
}
