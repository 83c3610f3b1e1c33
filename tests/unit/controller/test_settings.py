"""The operator's settings, from its environment."""

from __future__ import annotations

import pytest

from modelferry.controller.settings import from_environment
from modelferry.errors import InvalidSpec


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, {}),
        ({"no_proxy": "h"}, {}),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "h"}, {"https_proxy": "p:1", "no_proxy": "h"}),
        (
            {"MODELFERRY_PROXY": "http://p:1", "MODELFERRY_NO_PROXY": ".svc", "https_proxy": "http://q:2"},
            {"http_proxy": "http://p:1", "https_proxy": "http://p:1", "no_proxy": ".svc"},
        ),
    ],
)
def test_the_charts_proxy_or_else_the_operators_own_environment(
    environment: dict[str, str], proxy: dict[str, str]
) -> None:
    assert from_environment({"MODELFERRY_IMAGE": "i"} | environment).proxy == proxy


def test_credentials_in_the_operators_environment_are_rejected_since_pods_would_expose_them() -> None:
    with pytest.raises(InvalidSpec, match=r"https_proxy carries a user name .*chart's proxy\.secretName") as caught:
        from_environment({"MODELFERRY_IMAGE": "i", "https_proxy": "http://me:planted-secret@p:1"})
    assert "planted-secret" not in caught.value.message


@pytest.mark.parametrize("text", ['{"sidecar.istio.io/inject": false}', '["a"]', "a=b"])
def test_labels_of_pods_that_are_no_strings_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"MODELFERRY_\*"):
        from_environment({"MODELFERRY_IMAGE": "i", "MODELFERRY_AGENT_LABELS": text})


def test_the_chart_sets_the_labels_annotations_and_priority_of_all_pods() -> None:
    found = from_environment(
        {
            "MODELFERRY_IMAGE": "i",
            "MODELFERRY_AGENT_LABELS": "{}",
            "MODELFERRY_AGENT_ANNOTATIONS": '{"a": "b"}',
            "MODELFERRY_AGENT_PRIORITY_CLASS": "downloads",
        }
    )
    assert (found.agent_labels, found.agent_annotations, found.agent_priority_class) == ({}, {"a": "b"}, "downloads")
