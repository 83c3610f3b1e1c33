"""References on the command line, such as ``hf://ORG/NAME``, and the ModelArtifact that each stands for. Pure.

The grammars are those of the tools that users know: huggingface_hub's HfFileSystem for ``hf://``, the AWS CLI for
``s3://``, gsutil for ``gs://``. Each becomes an ordinary document, which `parse_artifact` checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import unquote, urlsplit

from modelferry.errors import InvalidSpec
from modelferry.resource import API_VERSION, KIND
from modelferry.values.urls import redact_url, url_error

#: An example of each kind of reference, by its scheme.
EXAMPLES: Mapping[str, str] = {
    "hf": "hf://2Noise/ChatTTS",
    "modelscope": "modelscope://AI-ModelScope/ChatTTS",
    "s3": "s3://BUCKET/PREFIX",
    "gs": "gs://BUCKET/PREFIX",
    "oci": "oci://registry.example.com/models/chattts:v1",
    "https": "https://models.example.com/model.safetensors",
}
_AZURE = ("az", "azure", "abfs", "abfss", "wasb", "wasbs")
_REFERENCE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_REVISION = r"refs/(?:pr|convert)/[^/]+|[^/]+"
_HUB = re.compile(rf"(?P<repo>[^/@:]+(?:/[^/@:]+)?)(?:@(?P<revision>{_REVISION}))?(?:/(?P<path>.+?))?/?", re.DOTALL)
_HUB_KINDS = {"datasets": "dataset", "spaces": "space"}
_WILDCARD = re.compile(r"[*?\[]")
#: The web pages of repositories, which people copy from their browser.
_HUB_PAGES = {"huggingface.co": "hf", "hf.co": "hf", "modelscope.cn": "modelscope", "modelscope.ai": "modelscope"}
_PAGE = re.compile(
    r"/(?P<kind>datasets/|models/)?(?P<repo>[^/]+/[^/]+)(?:/(?:tree|blob)/(?P<rest>.+?)|/files|/summary)?/?"
)
#: The names of checksum lists, which stand for the files that they list.
_CHECKSUM_LIST = re.compile(r"((.*[._-])?(sha256|md5)sums?|.+\.(sha256|md5))(\.txt)?", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GOOGLE = "https://storage.googleapis.com"


@dataclass(frozen=True, slots=True)
class Options:
    """The options that complete a reference; empty ones were not given. ``sha256``: one for each URL, in their order.
    ``name``: the artifact's, instead of one made from the reference."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endpoint: str = ""
    region: str = ""
    sha256: tuple[str, ...] = ()
    name: str = ""
    layout: str = ""
    allow_plain_http: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """``source``: the kind of spec.source, and its fields. ``title``: what the artifact is named after."""

    kind: str
    source: dict[str, Any]
    title: str


def is_reference(word: str) -> bool:
    """Whether `word` is a reference, and not the name of a file."""
    return _REFERENCE.fullmatch(word) is not None


def shown(references: Sequence[str]) -> str:
    """`references` for a message: in one line, without the parts that may be secret."""
    words = (redact_url(one) if re.match(r"https?:", one, re.IGNORECASE) else one for one in references)
    return " ".join(" ".join(words).split())


def document_of(references: Sequence[str], options: Options, environment: Mapping[str, str]) -> dict[str, Any]:
    """The ModelArtifact that `references` stand for: one reference, or the URLs of several files.

    What the tools of a source read from the environment for it is read from `environment`: HF_ENDPOINT, AWS_REGION,
    AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL. Raises InvalidSpec, with an example.
    """
    words = [_split(reference) for reference in references]
    schemes = {scheme for scheme, _ in words}
    if schemes <= {"http", "https"}:
        found = _files(references, options)
    elif len(words) > 1:
        raise InvalidSpec(f"{len(words)} references; give one (or the URLs of several files, all of them https://)")
    else:
        scheme, rest = words[0]
        _check_options(scheme, options)
        found = _KINDS[scheme](rest, options, environment)
    spec: dict[str, Any] = {"source": {found.kind: found.source}}
    if options.layout:
        spec["layout"] = options.layout
    if options.allow_plain_http:
        spec["transfer"] = {"tls": {"allowPlainHTTP": True}}
    metadata = {"name": options.name or artifact_name(found.title)}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def artifact_name(title: str) -> str:
    """An artifact's name for `title`, such as ``qwen2-5-0-5b`` for ``Qwen2.5-0.5B``."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return name[:63].rstrip("-") or "model"


def _split(reference: str) -> tuple[str, str]:
    match = _REFERENCE.fullmatch(reference)
    scheme = match[1].lower() if match else ""
    if match is None or scheme not in (*_KINDS, "http", "https"):
        raise InvalidSpec(_unknown(scheme, shown([reference])))
    return scheme, match[2]


def _unknown(scheme: str, reference: str) -> str:
    if scheme in _AZURE:
        return (
            f"{scheme}:// is not supported: give the blobs' URLs (https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH,"
            " with a SAS if they are private), or the URL of a checksum list beside them"
        )
    what = f"{scheme}:// is not supported" if scheme else f"{reference}: this is not a reference"
    return f"{what}; give one such as {', '.join(EXAMPLES.values())}, or the file of a {KIND}"


def _check_options(scheme: str, options: Options) -> None:
    given = {field.name for field in fields(options) if getattr(options, field.name)}
    if wrong := sorted(given - _OPTIONS[scheme] - {"name", "allow_plain_http"}):
        raise InvalidSpec(f"--{wrong[0]} is not an option of {scheme}:// references; leave it out")


def _hugging_face(rest: str, options: Options, environment: Mapping[str, str]) -> _Found:
    prefix, _, inner = rest.partition("/")
    kind = _HUB_KINDS.get(prefix, "model")
    if kind == "space":
        raise InvalidSpec("hf://spaces/… is not supported; give a model (hf://ORG/NAME) or hf://datasets/ORG/NAME")
    source = _repository("hf", rest if kind == "model" else inner, options)
    if kind != "model":
        source["repoType"] = kind
    if endpoint := options.endpoint or environment.get("HF_ENDPOINT", ""):
        source["endpoint"] = endpoint
    return _Found("huggingFace", source, source["repo"].rpartition("/")[2])


def _modelscope(rest: str, options: Options, environment: Mapping[str, str]) -> _Found:
    source = _repository("modelscope", rest, options)
    if options.endpoint:
        source["endpoint"] = options.endpoint
    return _Found("modelScope", source, source["repo"].rpartition("/")[2])


def _repository(scheme: str, rest: str, options: Options) -> dict[str, Any]:
    match = _HUB.fullmatch(rest)
    if match is None:
        raise InvalidSpec(
            f"{scheme}://… must be {scheme}://ORG/NAME[@REVISION][/PATH], such as {EXAMPLES[scheme]} or"
            f" {EXAMPLES[scheme]}@main/config/*"
        )
    source: dict[str, Any] = {"repo": match["repo"]}
    if match["revision"]:
        source["revision"] = unquote(match["revision"])
    path, directory = match["path"], rest.endswith("/")
    return source | _patterns(_path_patterns(path, directory) if path else (), options)


def _path_patterns(path: str, directory: bool) -> tuple[str, ...]:
    """The patterns for a path that may be a file, a directory or a pattern."""
    if directory:
        return (f"{path}/",)
    return (path,) if _WILDCARD.search(path) else (path, f"{path}/")


def _patterns(include: tuple[str, ...], options: Options) -> dict[str, Any]:
    if include and options.include:
        raise InvalidSpec("give the path in the reference, or --include, not both")
    found = {"include": list(include or options.include), "exclude": list(options.exclude)}
    return {key: patterns for key, patterns in found.items() if patterns}


def _bucket(rest: str, options: Options, environment: Mapping[str, str]) -> _Found:
    source = _objects("s3", rest, options)
    first = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", "")
    if region := options.region or first:
        source["region"] = region
    first = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", "")
    if endpoint := options.endpoint or first:
        source["endpoint"] = endpoint
    return _Found("s3", source, _last_of(source))


def _google_bucket(rest: str, options: Options, environment: Mapping[str, str]) -> _Found:
    """A public bucket, by the part of S3's API that Google Cloud Storage has too."""
    source = _objects("gs", rest, options) | {"endpoint": _GOOGLE}
    return _Found("s3", source, _last_of(source))


def _objects(scheme: str, rest: str, options: Options) -> dict[str, Any]:
    bucket, _, key = rest.partition("/")
    if not bucket or "@" in bucket or ":" in bucket:
        raise InvalidSpec(f"{scheme}://… must be {EXAMPLES[scheme]}, with nothing before or after the bucket's name")
    wildcard = _WILDCARD.search(key)
    prefix = key[: key.rfind("/", 0, wildcard.start()) + 1] if wildcard else key
    source: dict[str, Any] = {"bucket": bucket}
    if prefix.strip("/"):
        source["prefix"] = prefix.rstrip("/")
    return source | _patterns((key.removeprefix(prefix),) if wildcard else (), options)


def _last_of(source: Mapping[str, Any]) -> str:
    return str(source.get("prefix", source["bucket"])).rpartition("/")[2]


def _registry(rest: str, options: Options, environment: Mapping[str, str]) -> _Found:
    repository = rest.partition("@")[0]
    last = repository.rpartition("/")[2].partition(":")[0]
    return _Found("oci", {"reference": rest}, last)


def _files(urls: Sequence[str], options: Options) -> _Found:
    _check_options("https", options)
    for url in urls:
        if error := url_error(url):
            raise InvalidSpec(f"{redact_url(url)}: {error}; such as {EXAMPLES['https']}")
        if page := _repository_of_page(url):
            raise InvalidSpec(f"{redact_url(url)} is a web page; give {page}")
    names = [_file_name(url) for url in urls]
    if len(urls) == 1 and _CHECKSUM_LIST.fullmatch(names[0]):
        if options.sha256:
            raise InvalidSpec("--sha256 is not an option of a checksum list, which has the files' digests")
        parent = urlsplit(urls[0]).path.rpartition("/")[0].rpartition("/")[2]
        return _Found("http", {"manifestURL": urls[0]}, unquote(parent) or urlsplit(urls[0]).hostname or "")
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InvalidSpec(
            f"two URLs have the file name {twice!r}; list them in a file, each with its path: see --print"
        )
    digests = _digests(options.sha256, len(urls))
    files = [
        {"path": name, "url": url} | ({"sha256": digest} if digest else {})
        for name, url, digest in zip(names, urls, digests, strict=True)
    ]
    return _Found("http", {"files": files}, names[0].rpartition(".")[0] or names[0])


def _file_name(url: str) -> str:
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if not name:
        raise InvalidSpec(
            f"{redact_url(url)} names no file; give the URL of one, such as {EXAMPLES['https']}, or of a checksum list"
            " (…/SHA256SUMS)"
        )
    return name


def _digests(given: Sequence[str], urls: int) -> Sequence[str]:
    if not given:
        return [""] * urls
    if len(given) != urls:
        raise InvalidSpec(f"--sha256: {len(given)} digests for {urls} URLs; give one for each, in their order")
    found = [digest.lower().removeprefix("sha256:") for digest in given]
    if wrong := next((digest for digest in found if not _SHA256.fullmatch(digest)), ""):
        raise InvalidSpec(f"--sha256: must be 64 hexadecimal digits, not {len(wrong)} characters {wrong[:70]!r}")
    return found


def _repository_of_page(url: str) -> str:
    """The reference to the repository whose web page `url` is; empty if it is none."""
    parts = urlsplit(url)
    scheme = _HUB_PAGES.get((parts.hostname or "").removeprefix("www."))
    match = _PAGE.fullmatch(parts.path)
    if scheme is None or match is None or match["repo"].startswith("api/"):
        return ""
    kind = "datasets/" if match["kind"] == "datasets/" and scheme == "hf" else ""
    rest = f"@{match['rest']}" if match["rest"] else ""
    return f"{scheme}://{kind}{match['repo']}{rest}"


_KINDS: Mapping[str, Callable[[str, Options, Mapping[str, str]], _Found]] = {
    "hf": _hugging_face,
    "modelscope": _modelscope,
    "s3": _bucket,
    "gs": _google_bucket,
    "oci": _registry,
}
_OPTIONS: Mapping[str, frozenset[str]] = {
    "hf": frozenset({"include", "exclude", "endpoint", "layout"}),
    "modelscope": frozenset({"include", "exclude", "endpoint", "layout"}),
    "s3": frozenset({"include", "exclude", "endpoint", "region"}),
    "gs": frozenset({"include", "exclude"}),
    "oci": frozenset(),
    "https": frozenset({"sha256"}),
}
