"""A client of the API server with the few verbs that the operator needs, over ``kubernetes.aio``. Objects are dicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from modelferry.resource import GROUP, KIND, PLURAL, VERSION

Object = dict[str, Any]

#: The field manager of every object that we apply.
_FIELD_MANAGER = "modelferry"

#: Seconds for one call: the API server itself ends a request after 60 s.
_TIMEOUT = 65

#: kind -> (API group's path, plural, namespaced)
_KINDS = {
    KIND: (f"/apis/{GROUP}/{VERSION}", PLURAL, True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Event": ("/api/v1", "events", True),
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "PersistentVolume": ("/api/v1", "persistentvolumes", False),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims", True),
    "Pod": ("/api/v1", "pods", True),
}


class APIError(Exception):
    """A call failed. ``status`` is the HTTP status, 0 if there was no response; ``reason`` that of a metav1.Status."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status, self.reason, self._message = status, reason, message

    @property
    def is_rejection(self) -> bool:
        """Whether the API server rejected the request itself (a quota, a policy, an admission webhook that it cannot
        call), not a conflict or overload."""
        if self.status == 500:
            return "failed calling webhook" in self._message
        return 400 <= self.status < 500 and self.status not in (404, 409, 429)


class Kube:
    """The client. Create it with `connect`, and close it at the end. Methods raise APIError."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> Kube:
        """With the pod's service account, or with KUBECONFIG outside the cluster."""
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            try:
                await config.load_kube_config()  # type: ignore[no-untyped-call]
            except config.ConfigException as error:
                raise APIError(0, f"no kubeconfig: {error}") from error
        return cls(client.ApiClient())

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """One object, or None if it does not exist."""
        try:
            return await self._json("GET", _path(kind, namespace, name))
        except APIError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: str, namespace: str = "", labels: Mapping[str, str | None] | None = None
    ) -> list[Object]:
        """All objects of `kind`, in `namespace` or all namespaces, that have `labels` (a value of None: any value)."""
        selector = ",".join(key if value is None else f"{key}={value}" for key, value in (labels or {}).items())
        items: list[Object] = []
        query = {"limit": "500", **({"labelSelector": selector} if selector else {})}
        while True:
            page = await self._json("GET", _path(kind, namespace), query=query)
            items.extend(page.get("items") or [])
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            query["continue"] = token

    async def create(self, body: Object) -> bool:
        """Create an object; False if one of that name exists."""
        meta = body["metadata"]
        try:
            await self._json("POST", _path(body["kind"], meta.get("namespace", "")), body=body)
        except APIError as error:
            if error.reason == "AlreadyExists":
                return False
            raise  # also a Conflict: two requests that count against one quota at once
        return True

    async def apply(self, body: Object, subresource: str = "") -> Object:
        """Server-side apply (KEP-555): we own the fields in `body`; our earlier fields that it omits are removed."""
        meta = body["metadata"]
        path = _path(body["kind"], meta.get("namespace", ""), meta["name"], subresource)
        query = {"fieldManager": _FIELD_MANAGER, "force": "true"}
        return await self._json("PATCH", path, query=query, body=body, content="application/apply-patch+yaml")

    async def merge(self, kind: str, name: str, patch: Object, namespace: str = "") -> bool:
        """JSON merge patch (RFC 7396); False if the object is gone."""
        try:
            await self._json("PATCH", _path(kind, namespace, name), body=patch, content="application/merge-patch+json")
        except APIError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def delete(
        self, kind: str, name: str, namespace: str = "", *, uid: str = "", grace: int | None = None
    ) -> None:
        """Delete an object if it still has `uid`; one that is gone is no error. `grace` in seconds."""
        options: Object = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self._json("DELETE", _path(kind, namespace, name), body=options)
        except APIError as error:
            if error.status not in (404, 409):
                raise

    async def logs(self, namespace: str, pod: str, container: str) -> str:
        """The complete log of a container."""
        return await self._text("GET", _path("Pod", namespace, pod, "log"), query={"container": container})

    async def proxy_get(self, namespace: str, pod: str, port: int, path: str, seconds: float) -> str:
        """GET `path` from a pod through the API server's proxy, within `seconds`."""
        url = f"{_path('Pod', namespace, f'{pod}:{port}', 'proxy')}/{path.lstrip('/')}"
        return await self._text("GET", url, seconds=seconds)

    async def _json(self, verb: str, path: str, **request: Any) -> Object:
        body: Object = json.loads(await self._text(verb, path, **request))
        return body

    async def _text(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content: str = "application/json",
        seconds: float = _TIMEOUT,
    ) -> str:
        headers = {"Accept": "application/json, */*", "Content-Type": content}
        try:
            request = await self._api.param_serialize(
                verb, path, query_params=list((query or {}).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response = await self._api.call_api(*request, _request_timeout=seconds)
            data = await response.read()  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError, aiohttp.ClientError, client.ApiException) as error:
            raise APIError(getattr(error, "status", 0) or 0, str(error) or type(error).__name__) from error
        if not 200 <= response.status < 300:
            raise APIError(response.status, *_message_and_reason(data))
        return data.decode(errors="replace") if isinstance(data, bytes) else str(data)


def _path(kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
    base, plural, namespaced = _KINDS[kind]
    parts = [base, *(["namespaces", namespace] if namespaced and namespace else []), plural, name, subresource]
    return "/".join(part for part in parts if part)


def _message_and_reason(data: bytes | str) -> tuple[str, str]:
    try:
        status = json.loads(data)
        return str(status["message"]), str(status.get("reason", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        return text[:500], ""
