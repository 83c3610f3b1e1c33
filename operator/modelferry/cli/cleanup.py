"""``modelferry cleanup``: delete artifacts without an operator; and what the chart does before it is uninstalled."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable

from modelferry.controller.actions import Delete, SetFinalizer
from modelferry.controller.apply import apply_actions, apply_change
from modelferry.controller.cleanup_plan import OWNED_KINDS, CleanupPlan, plan_cleanup
from modelferry.controller.facts import Object
from modelferry.controller.kube import APIError, Kube
from modelferry.errors import APIServerRefuses, ArtifactsExist, OperatorRuns
from modelferry.resource import KIND, names
from modelferry.resource.conditions import READY
from modelferry.values.quantities import count_text

#: The label of the operator's pods, which the chart sets.
_OPERATOR = {"app.kubernetes.io/name": "modelferry"}
#: Artifacts that an error names.
_MAX_NAMES = 5
#: Seconds between two lists while the operator deletes artifacts.
_INTERVAL = 2.0

Sleep = Callable[[float], Awaitable[None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--namespace", default="", metavar="NS", help="only the artifacts of this namespace")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--yes", action="store_true", help="delete; without it only print what would be deleted")
    action.add_argument("--check", action="store_true", help="only fail if there are artifacts")
    action.add_argument(
        "--with-operator", action="store_true", help="delete all artifacts, and wait until the operator has done it"
    )


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns 0. Raises ArtifactsExist, OperatorRuns or APIServerRefuses."""
    return asyncio.run(_main(args))


async def _main(args: argparse.Namespace) -> int:
    kube = None
    try:
        kube = await Kube.connect()
        if args.check:
            refuse_artifacts(await list_artifacts(kube, args.namespace))
        elif args.with_operator:
            await delete_with_operator(kube, args.namespace, asyncio.sleep)
        else:
            await clean_up(kube, args.namespace, yes=args.yes)
    except APIError as error:
        raise APIServerRefuses(f"{error}; check the kubeconfig (KUBECONFIG), and what its user may do") from error
    finally:
        if kube is not None:
            await kube.close()
    return 0


async def clean_up(kube: Kube, namespace: str, *, yes: bool) -> None:
    """Print what stays and what is deleted, and with `yes` delete it. Raises OperatorRuns, APIError."""
    await _refuse_operator(kube)
    objects = {KIND: await list_artifacts(kube), "Node": await kube.list("Node")}
    objects |= {kind: await kube.list(kind, labels=dict([names.MANAGED_BY])) for kind in OWNED_KINDS}
    plan = plan_cleanup(objects, namespace)
    print("\n".join(text_lines(plan, yes=yes)), flush=True)
    if yes:
        await _apply(kube, plan)
        print("done")


async def delete_with_operator(kube: Kube, namespace: str, sleep: Sleep) -> None:
    """Delete the artifacts that exist now, and wait until the operator has removed them. Raises ArtifactsExist if
    others were created meanwhile, and APIError."""
    first = await list_artifacts(kube, namespace)
    for one in first:
        await kube.delete(KIND, one["metadata"]["name"], one["metadata"]["namespace"], uid=one["metadata"]["uid"])
    uids = {one["metadata"]["uid"] for one in first}
    said = ""
    while waiting := [one for one in await list_artifacts(kube, namespace) if one["metadata"]["uid"] in uids]:
        line = f"{count_text(len(waiting), 'artifact')} left; {_name(waiting[0])}: {_message(waiting[0])}"
        if line != said:
            print(line, flush=True)
            said = line
        await sleep(_INTERVAL)
    refuse_artifacts(await list_artifacts(kube, namespace))


async def list_artifacts(kube: Kube, namespace: str = "") -> list[Object]:
    """The artifacts; none if the cluster does not have their CRD. Raises APIError."""
    try:
        return await kube.list(KIND, namespace)
    except APIError as error:
        if error.status == 404:
            return []
        raise


def refuse_artifacts(artifacts: list[Object]) -> None:
    """Raise ArtifactsExist if there are any."""
    if not artifacts:
        return
    listed = ", ".join(sorted(map(_name, artifacts))[:_MAX_NAMES]) + (", ..." if len(artifacts) > _MAX_NAMES else "")
    raise ArtifactsExist(
        f"there are {count_text(len(artifacts), 'artifact')} ({listed}), which cannot be deleted without the operator: "
        "run kubectl delete ma --all --all-namespaces first; or set the chart's uninstall.artifacts to delete or keep"
    )


async def _refuse_operator(kube: Kube) -> None:
    """A pod that terminates counts too: it may still add a finalizer."""
    for pod in await kube.list("Pod", labels=_OPERATOR):
        if (pod.get("status") or {}).get("phase") in ("Pending", "Running"):
            meta = pod["metadata"]
            raise OperatorRuns(
                f"the operator's pod {meta['name']} in namespace {meta['namespace']} exists, and the operator deletes "
                "the directories on the nodes too: run kubectl delete ma --all --all-namespaces; or, if it does not "
                "work, scale its Deployment to 0 and repeat this command"
            )


def text_lines(plan: CleanupPlan, *, yes: bool) -> list[str]:
    """What is deleted and what stays, by lines."""
    if not plan.artifacts and not plan.actions:
        return ["there is nothing to delete"]
    lines = _section("artifacts:", (f"{one.namespace}/{one.name}" for one in plan.artifacts))
    lines += _section("objects:", (_action_text(action) for action in plan.actions if isinstance(action, Delete)))
    directories = (f"{one.node}  {one.path}" for one in plan.directories)
    lines += _section("directories that stay on the nodes; remove them there:", directories)
    return [*lines, "deleting" if yes else "nothing is deleted yet; add --yes to delete the artifacts and objects"]


def _section(title: str, items: Iterable[str]) -> list[str]:
    listed = [f"  {item}" for item in items]
    return [title, *listed] if listed else []


def _action_text(action: Delete) -> str:
    return f"{action.kind} " + (f"{action.namespace}/{action.name}" if action.namespace else action.name)


async def _apply(kube: Kube, plan: CleanupPlan) -> None:
    for artifact in plan.artifacts:
        # Without our finalizer first: a deletion then ends at once, and changes no resourceVersion in between.
        delete = Delete(KIND, artifact.name, artifact.namespace, uid=artifact.uid)
        await apply_actions(kube, artifact, [SetFinalizer(False), delete])
    for action in plan.actions:
        await apply_change(kube, action)


def _name(artifact: Object) -> str:
    return f"{artifact['metadata']['namespace']}/{artifact['metadata']['name']}"


def _message(artifact: Object) -> str:
    conditions = (artifact.get("status") or {}).get("conditions") or []
    return next((str(one["message"]) for one in conditions if one["type"] == READY), "is being deleted")
