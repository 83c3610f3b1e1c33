"""The proxies that an agent uses: those of the spec, or else those of the environment, never both."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace

from modelferry.agent.secrets import Secrets
from modelferry.http.proxy.proxies import NoProxy, Proxies, Proxy, from_environment, with_credentials
from modelferry.resource import transfer

#: Makes the TLS context for a proxy with these pins.
ContextFactory = Callable[[tuple[str, ...]], ssl.SSLContext]


def proxies_from_spec(
    spec: transfer.Proxy, secrets: Secrets, tls_context: ContextFactory, field: str = "spec.transfer.proxy"
) -> Proxies:
    """The proxy in the field `field`, for all URLs. Raises InvalidSpec if its Secret is missing."""
    proxy = replace(Proxy.parse(spec.url), spec_field=field)
    if spec.auth is not None:
        proxy = _with_secret(proxy, secrets, spec.auth.name, f"{field}.auth")
    if proxy.scheme == "https":
        proxy = replace(proxy, context=tls_context(spec.pins))
    return Proxies(proxy, proxy, tuple(map(NoProxy.parse, spec.no_proxy)))


def proxies_from_environment(
    environment: Mapping[str, str], secrets: Secrets, secret: str, tls_context: ContextFactory
) -> Proxies:
    """The proxies in `environment`, with the credentials in the Secret `secret` unless that is empty. Raises
    InvalidSpec."""
    proxies = from_environment(environment)

    def complete(proxy: Proxy | None) -> Proxy | None:
        if proxy is None:
            return None
        if secret:
            proxy = _with_secret(proxy, secrets, secret, "the operator's proxy.secretName")
        return replace(proxy, context=tls_context(())) if proxy.scheme == "https" else proxy

    return replace(proxies, http=complete(proxies.http), https=complete(proxies.https))


def _with_secret(proxy: Proxy, secrets: Secrets, name: str, field: str) -> Proxy:
    secret = secrets.read(name, field)
    if missing := [key for key in ("username", "password") if key not in secret.data]:
        raise secret.missing_keys(" and ".join(missing))
    return with_credentials(proxy, *secret.login(), field)
