"""Which proxies an agent uses: the spec's, or else the environment's, never both."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace

from modelferry.agent.secrets import Secrets
from modelferry.http.proxy.selection import NoProxy, Proxies, Proxy, from_environment, with_credentials
from modelferry.resource import transfer

#: Makes the TLS context for a proxy with these pins.
Context = Callable[[tuple[str, ...]], ssl.SSLContext]


def of_spec(spec: transfer.Proxy, secrets: Secrets, context: Context, where: str = "spec.transfer.proxy") -> Proxies:
    """The proxy that the field `where` asks for, for all URLs. Raises InvalidSpec where its Secret is missing."""
    proxy = replace(Proxy.of(spec.url), asked_by=where)
    if spec.auth is not None:
        proxy = _authenticated(proxy, secrets, spec.auth.name, f"{where}.auth")
    if proxy.scheme == "https":
        proxy = replace(proxy, context=context(spec.pins))
    return Proxies(proxy, proxy, tuple(map(NoProxy.of, spec.no_proxy)))


def of_environment(environment: Mapping[str, str], secrets: Secrets, secret: str, context: Context) -> Proxies:
    """The proxies that `environment` names, with the credentials of Secret `secret` unless that is empty. Raises
    InvalidSpec."""
    found = from_environment(environment)

    def complete(proxy: Proxy | None) -> Proxy | None:
        if proxy is None:
            return None
        if secret:
            proxy = _authenticated(proxy, secrets, secret, "the operator's proxy.secretName")
        return replace(proxy, context=context(())) if proxy.scheme == "https" else proxy

    return replace(found, http=complete(found.http), https=complete(found.https))


def _authenticated(proxy: Proxy, secrets: Secrets, name: str, where: str) -> Proxy:
    secret = secrets.read(name, where)
    if missing := [key for key in ("username", "password") if key not in secret.data]:
        raise secret.lacks(" and ".join(missing))
    return with_credentials(proxy, secret.data["username"], secret.data["password"], where)
