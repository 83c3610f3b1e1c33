"""What ``pull`` is asked to download: the file of a ModelArtifact, or references that stand for one."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from modelferry.agent.environment_secret import VARIABLE
from modelferry.agent.secrets import Secret
from modelferry.agent.source_route import source_login
from modelferry.cli.references import EXAMPLES, Options, document_of, is_reference, shown
from modelferry.errors import InvalidSpec, ModelferryError
from modelferry.resource import KIND
from modelferry.resource.hub_cache import LAYOUTS
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.parse import load_artifact, parse_artifact, read_artifact
from modelferry.resource.source import HTTPSource, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec import Artifact

#: A repository's name without its scheme.
_REPOSITORY = re.compile(r"(hf:/?/?)?[\w.-]+/[\w.-]+(?<!\.yaml)(?<!\.yml)(?<!\.json)", re.ASCII)
_STANDARD_INPUT = "-"

#: The Secret that a printed document names for each source, and the options of `kubectl create secret generic` for it.
#: TOKEN is where the token is.
_SECRETS: Mapping[type, tuple[str, str]] = {
    HuggingFaceSource: ("hugging-face", "--from-file=token=TOKEN"),
    ModelScopeSource: ("modelscope", "--from-file=token=TOKEN"),
    S3Source: ("bucket-reader", "--from-literal=accessKeyID=… --from-literal=secretAccessKey=…"),
    OCISource: (
        "registry-reader",
        "--type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=$HOME/.docker/config.json",
    ),
    HTTPSource: ("source", "--from-file=token=TOKEN"),
}
#: What to do on the command line about a reason, for each source.
_CREDENTIALS = frozenset({"Denied", "BadCredentials", "GatedRepo", "RepositoryNotFound", "TokenRefused"})
_REMEDIES: Mapping[type, str] = {
    HuggingFaceSource: "the token is that of HF_TOKEN, or of `hf auth login`",
    ModelScopeSource: "the token is that of MODELSCOPE_API_TOKEN",
    S3Source: "the keys are those of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or of ~/.aws/credentials",
    OCISource: "the login is that of `docker login` (in ~/.docker/config.json, not in a credential store)",
    HTTPSource: "--token-env VARIABLE sends the token in that environment variable",
}


@dataclass(frozen=True, slots=True)
class RequestedArtifact:
    """``document``: what references stand for; None for a file. ``text``: the file's content, if it was read from
    standard input. ``title``: the words on the command line, without their secrets."""

    artifact: Artifact
    title: str
    document: dict[str, Any] | None = None
    text: str = ""

    def file(self, directory: Path) -> Path:
        """The artifact's file: the user's, or one that is created in `directory`."""
        if self.document is None and not self.text:
            return Path(self.title)
        path = directory / "artifact.yaml"
        path.write_text(self.text or _dump(self.document))
        return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say what to download."""
    parser.add_argument(
        "artifact",
        nargs="+",
        metavar="WHAT",
        help="the file of a ModelArtifact (- for standard input), or a reference such as hf://ORG/NAME",
    )
    group = parser.add_argument_group("options of references, which stand for a ModelArtifact")
    group.add_argument("--print", action="store_true", help="print that ModelArtifact, and download nothing")
    help_ = "only the files that match, such as '*.safetensors' or config/ (may be repeated)"
    group.add_argument("--include", action="append", default=[], metavar="PATTERN", help=help_)
    help_ = "not the files that match (may be repeated)"
    group.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help=help_)
    help_ = "another hub or S3-compatible store (default: HF_ENDPOINT or AWS_ENDPOINT_URL_S3)"
    group.add_argument("--endpoint", default="", metavar="URL", help=help_)
    help_ = "the bucket's region (default: AWS_REGION, or us-east-1)"
    group.add_argument("--region", default="", metavar="NAME", help=help_)
    help_ = "the file's digest; for several URLs, one for each, in their order"
    group.add_argument("--sha256", action="append", default=[], metavar="DIGEST", help=help_)
    group.add_argument(
        "--name", default="", metavar="NAME", help="the artifact's name (default: made of the reference)"
    )
    help_ = "huggingface or both: as a Hugging Face cache, for HF_HUB_CACHE=DIR/current (default: plain)"
    group.add_argument("--layout", default="", choices=LAYOUTS, help=help_)
    group.add_argument("--allow-plain-http", action="store_true", help="accept http:// URLs, which anyone can change")


def requested(args: argparse.Namespace) -> RequestedArtifact:
    """The artifact that the arguments ask for. Raises InvalidSpec, with an example, if they are wrong."""
    words: list[str] = args.artifact
    options = Options(
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        endpoint=args.endpoint,
        region=args.region,
        sha256=tuple(args.sha256),
        name=args.name,
        layout=args.layout,
        allow_plain_http=args.allow_plain_http,
    )
    if any(map(is_reference, words)):
        return _referenced(words, options, args)
    if len(words) > 1:
        raise InvalidSpec(f"{' '.join(words)}: {len(words)} files; give one")
    if given := [field.name for field in fields(options) if getattr(options, field.name)] + ["print"] * args.print:
        option = f"--{given[0].replace('_', '-')}"
        raise InvalidSpec(f"{words[0]}: {option} is an option of references, and this is a file; leave it out")
    if words[0] == _STANDARD_INPUT:
        text = sys.stdin.read()
        return RequestedArtifact(read_artifact(text, "standard input"), words[0], text=text)
    return RequestedArtifact(_loaded(words[0]), words[0])


def artifact_of(word: str, args: argparse.Namespace) -> Artifact:
    """The artifact in the file `word`, or of the reference `word`. Raises InvalidSpec."""
    return _referenced([word], Options(), args).artifact if is_reference(word) else _loaded(word)


def printed(found: RequestedArtifact, args: argparse.Namespace) -> str:
    """The YAML of what references stand for, with the options of ``pull`` that a ModelArtifact has, too. If the
    environment has credentials for the source, it says how they become a Secret, and has none of their values."""
    assert found.document is not None
    artifact, document = found.artifact, found.document
    spec = dict(document["spec"])
    comments = [f"# {' '.join(found.title.split())}"]
    if (login := source_login(artifact.spec, args)) is not None:
        name, command = _secret_command(artifact, login)
        if isinstance(artifact.spec.source, HuggingFaceSource | ModelScopeSource) and not args.token_env:
            # Many users have a token and need it for no public repository: their cluster need not have it.
            comments.append(f"# A gated or private repository needs spec.auth: {{secretRef: {{name: {name}}}}}, after")
            comments.append(f"#   {command}")
        else:
            comments.append(f"# Its Secret: {command}")
            spec["auth"] = {"secretRef": {"name": name}}
    transfer = {"connections": args.connections, "bandwidth": args.bandwidth} | spec.get("transfer", {})
    if given := {key: value for key, value in transfer.items() if value not in (None, "")}:
        spec["transfer"] = given
    parse_artifact(complete := document | {"spec": spec}, where=found.title)
    return "\n".join([*comments, _dump(complete)])


def _secret_command(artifact: Artifact, login: Secret) -> tuple[str, str]:
    """The name of the Secret for `login`, and the command that creates it."""
    name, options = _SECRETS[type(artifact.spec.source)]
    command = f"kubectl create secret generic {name} {options}"
    place = login.places.get("token", "")
    if place.startswith(VARIABLE):
        return name, f"printenv {place.removeprefix(VARIABLE)} | {command.replace('TOKEN', '/dev/stdin')}"
    return name, command.replace("TOKEN", place)


def explain(error: ModelferryError, found: RequestedArtifact) -> None:
    """Add what to do on the command line to the message of `error`, which speaks of the fields of a ModelArtifact."""
    if found.document is None:
        return
    if error.reason in _CREDENTIALS:
        error.message += f". On this command line, {_REMEDIES[type(found.artifact.spec.source)]}"
    elif error.reason == "PlainHTTPRefused":
        error.message += ". On this command line, that is --allow-plain-http"
    elif error.reason == "WrongRegion":
        error.message += ". On this command line, that is --region"
    elif error.reason == "NotFound" and isinstance(source := found.artifact.spec.source, S3Source) and source.prefix:
        directory, _, name = source.prefix.rpartition("/")
        error.message += f". If {name} is an object and not a directory, give s3://{source.bucket}/{directory} and"
        error.message += f" --include {name!r}"


def explained(undeclared: str, found: RequestedArtifact) -> str:
    """The remedy for files without a digest, with what to do on the command line about it."""
    source = found.artifact.spec.source
    if not undeclared or found.document is None or not isinstance(source, HTTPSource) or not source.files:
        return undeclared
    return f"{undeclared}. On this command line, that is --sha256"


def _referenced(words: list[str], options: Options, args: argparse.Namespace) -> RequestedArtifact:
    document = document_of(words, options, os.environ)
    title = shown(words)
    try:
        artifact = parse_artifact(document, where=title)
    except InvalidSpec as error:
        example = EXAMPLES.get(words[0].partition(":")[0].lower(), EXAMPLES["https"])
        raise InvalidSpec(f"{error.message}; a reference is written like {example}") from error
    # A bucket of Google's gets no keys of Amazon's.
    args.auth_from_env = args.auth_from_env or not words[0].lower().startswith("gs:")
    return RequestedArtifact(artifact, title, document)


def _loaded(word: str) -> Artifact:
    if not Path(word).exists():
        raise InvalidSpec(f"{word}: {_missing(word)}")
    return load_artifact(Path(word))


def _missing(word: str) -> str:
    if _REPOSITORY.fullmatch(word):
        repository = word.rpartition(":")[2].lstrip("/")
        return f"there is no such file; a repository of the Hugging Face Hub is written hf://{repository}"
    return f"there is no such file; give the file of a {KIND}, or a reference such as {EXAMPLES['hf']}"


def _dump(document: dict[str, Any] | None) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
