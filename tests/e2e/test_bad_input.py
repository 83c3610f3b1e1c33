"""The API server refuses invalid resources, with the remedy in the message."""

from __future__ import annotations

import pytest

from cluster import ClusterError
from e2e.namespace_client import NamespaceClient
from invalid_documents import INVALID, valid


@pytest.mark.parametrize("what", INVALID)
def test_the_api_server_refuses_an_invalid_document(quiet: NamespaceClient, what: str) -> None:
    document, words, _ = INVALID[what]
    with pytest.raises(ClusterError) as refused:
        quiet.apply(document)
    assert words in str(refused.value)


def test_the_kind_of_storage_cannot_be_changed(ns: NamespaceClient) -> None:
    ns.apply(valid())
    patch = '{"spec": {"storage": {"nodeLocal": null, "claim": {"name": "models"}}}}'
    with pytest.raises(ClusterError, match="the kind of storage cannot be changed"):
        ns.kubectl("patch", "ma", "chattts", "--type=merge", "-p", patch)


def test_kubectl_explain_describes_the_fields(quiet: NamespaceClient) -> None:
    text = quiet.kubectl("explain", "ma.spec.transfer.tls.allowPlainHTTP")
    assert "whose content anyone on the network path can read and modify" in " ".join(text.split())
