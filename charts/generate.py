#!/usr/bin/env python3
"""Writes the chart's CRD template from crds/ (`make generate`); with --check only checks that it is current."""

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
SOURCE = TOP / "crds" / "modelartifacts.modelferry.dev.yaml"
TARGET = TOP / "charts" / "modelferry" / "templates" / "crd.yaml"

HEAD = "{{- /* Generated from crds/ by charts/generate.py; edit the source. */ -}}\n{{- if .Values.crds.enabled }}\n"
KEEP = """  annotations:
    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
  labels: {{- include "modelferry.labels" . | nindent 4 }}
"""


def template() -> str:
    """The template's text."""
    body = SOURCE.read_text().replace("{{", "{{ `{{` }}")
    name = "  name: modelartifacts.modelferry.dev\n"
    if body.count(name) != 1:
        sys.exit(f"{SOURCE}: the CRD's name occurs {body.count(name)} times, not once")
    return HEAD + body.replace(name, name + KEEP) + "{{- end }}\n"


def main() -> None:
    """Write, or compare."""
    if "--check" in sys.argv:
        if TARGET.read_text() != template():
            sys.exit(f"{TARGET.relative_to(TOP)} differs from {SOURCE.relative_to(TOP)}: run `make generate`")
    else:
        TARGET.write_text(template())


if __name__ == "__main__":
    main()
