"""What the API server, kubectl and its roles make of a valid resource."""

from __future__ import annotations

import json

import pytest

import kstatus
from e2e.namespace_client import NamespaceClient
from invalid_documents import valid


def test_a_new_artifact_is_in_progress_and_another_apply_changes_nothing(quiet: NamespaceClient) -> None:
    """fluxcd/flux2#4346: kstatus called a new object Current. argoproj/argo-cd#28724: defaults in list items are a
    difference from what the user applies, for ever."""
    new = valid()
    new["metadata"]["name"] = "unseen"
    mirror = {"name": "lab", "url": "https://lab.example.com/{path}", "tls": {"ca": {"configMap": {"name": "lab"}}}}
    keys = {"bucket": "models", "secretRef": {"name": "keys"}}
    new["spec"]["mirrors"] = [mirror | {"probe": {}}, {"name": "signed", "presigned": {"s3": keys}}]
    window = {"from": "08:00", "to": "18:00", "bandwidth": "40Mbit"}
    # No node has this label: the operator starts no download.
    new["spec"] |= {"transfer": {"windows": [window]}, "nodes": {"selector": {"test.modelferry.dev/unseen": "yes"}}}
    try:
        created = json.loads(quiet.kubectl("create", "--save-config", "-f", "-", "-o", "json", input=json.dumps(new)))
        assert kstatus.compute(created) == "InProgress"
        assert quiet.kubectl("apply", "-f", "-", input=json.dumps(new)).split()[-1] == "unchanged"
        quiet.wait("the operator's status", lambda: quiet.status("unseen")["observedGeneration"] == 1)
        assert kstatus.compute(quiet.get("ma", "unseen")) != "Current"
    finally:
        quiet.delete("unseen")


@pytest.mark.parametrize(
    ("role", "verbs"),
    [
        ("view", {"get", "list", "watch"}),
        ("edit", {"get", "create", "patch", "delete"}),
        ("admin", {"get", "create", "deletecollection"}),
    ],
)
def test_the_roles_of_the_cluster_include_the_artifacts(ns: NamespaceClient, role: str, verbs: set[str]) -> None:
    """kedacore/charts#256: the users of a namespace could not see the resources of the chart."""
    ns.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}-user")

    def allowed(resource: str) -> set[str]:
        rules = ns.kubectl("auth", "can-i", "--list", f"--as={role}-user", "--no-headers").splitlines()
        lines = [line for line in rules if line.split()[0] == resource]
        return {verb for line in lines for verb in line.rpartition("[")[2].rstrip("] ").split()}

    artifacts = "modelartifacts.modelferry.dev"
    # The API server aggregates roles in the background.
    ns.wait("the aggregated rules", lambda: verbs <= allowed(artifacts), 30)
    assert role != "view" or allowed(artifacts) == verbs
    assert allowed(f"{artifacts}/status") <= {"get", "list", "watch"}
