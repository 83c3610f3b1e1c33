"""The schema of the CRD: what the API server adds to an object that a user applies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import Any

import yaml

import kstatus
from modelferry.resource.mirror import Mirror, S3Keys
from modelferry.resource.parse import parse_artifact
from modelferry.resource.transfer import TLS, BundleReference
from modelferry.resource.windows import Window
from modelferry.values.header_grammar import RESERVED, RESERVED_PREFIXES, header_name_error
from unit.controller.objects import document

CRD = yaml.safe_load((Path(__file__).parents[3] / "crds/modelartifacts.modelferry.dev.yaml").read_text())
SCHEMA: dict[str, Any] = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def defaults(schema: dict[str, Any], path: str = "", *, in_list: bool = False) -> Iterator[str]:
    """The paths of the fields inside of list items (or of mappings of any keys) that have a default."""
    if in_list and "default" in schema:
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from defaults(inner, f"{path}.{name}", in_list=in_list)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(inner := schema.get(key), dict):
            yield from defaults(inner, f"{path}{mark}", in_list=True)


def test_no_item_of_a_list_has_a_default() -> None:
    """argoproj/argo-cd#28724: a client compares a list as one value, so a default in an item is a difference for ever.

    The parser has these defaults.
    """
    assert list(defaults({"items": {"properties": {"a": {"default": 1}}}})) == ["[].a"]
    assert list(defaults(SCHEMA)) == []


def test_the_parser_has_the_defaults_of_list_items() -> None:
    s3 = {"bucket": "models", "secretRef": {"name": "keys"}}
    bundle = {"minVersion": None, "ca": {"configMap": {"name": "lab"}}}
    mirrors = [{"name": "lab", "presigned": {"s3": s3}, "tls": bundle, "probe": {}}]
    windows = [{"from": "08:00", "to": "18:00", "bandwidth": "1kB"}]
    spec = parse_artifact(document({"mirrors": mirrors, "transfer": {"windows": windows}})).spec
    tls = TLS(min_version="1.3", ca=BundleReference("configMap", "lab", "ca.crt"))
    keys = S3Keys("models", "keys", region="us-east-1", expires=900)
    assert spec.mirrors[0] == Mirror("lab", 0, weight=1, tls=tls, presigned=keys, probe=30)
    assert spec.transfer.limits.windows == (Window(time(8), time(18), 1000, zone="UTC"),)


def test_the_api_server_and_the_parser_refuse_the_same_header_fields() -> None:
    """kserve#1351: a field that frames the request is refused before anything is sent."""
    spec = SCHEMA["properties"]["spec"]["properties"]
    for headers in (spec["headers"], spec["mirrors"]["items"]["properties"]["headers"]):
        rule = headers["items"]["properties"]["name"]["x-kubernetes-validations"][1]["rule"]
        names, _, prefixes = rule.partition("]")
        assert set(re.findall(r"'([^']+)'", names)) == RESERVED
        assert tuple(re.findall(r"'([^']+)'", prefixes)) == RESERVED_PREFIXES
    for name in ("Host", "RANGE", "Content-Length", "Proxy-Connection", "TE", "If-Range", "X Y", "", "a" * 65):
        assert header_name_error(name), name
    for name in ("X-Api-Key", "Authorization", "User-Agent", "Cookie", "x-amz-request-payer"):
        assert header_name_error(name) is None, name


def test_a_new_artifact_is_in_progress_before_the_operator_has_seen_it() -> None:
    """fluxcd/flux2#4346: kstatus calls an object without a status Current."""
    new = document() | {"status": SCHEMA["properties"]["status"]["default"]}
    assert kstatus.compute(document()) == "Current"
    assert kstatus.compute(new) == "InProgress"
