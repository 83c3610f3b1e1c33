"""``spec.transfer``."""

from __future__ import annotations

import re

from modelferry.resource.fields import Fields
from modelferry.resource.parse.bandwidth_fields import limits, rate
from modelferry.resource.parse.secret_fields import auth
from modelferry.resource.transfer import (
    DEFAULT_CONNECTIONS,
    DEFAULT_PROGRESS_DEADLINE,
    MAX_CONNECTIONS,
    MAX_NO_PROXY,
    MAX_PINS,
    MAX_PROGRESS_DEADLINE,
    MIN_PROGRESS_DEADLINE,
    TLS,
    TLS_VERSIONS,
    BundleReference,
    Proxy,
    Transfer,
)
from modelferry.values.pins import pin_error
from modelferry.values.proxy_urls import no_proxy_error, proxy_error

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def transfer(fields: Fields) -> Transfer:
    """All of it, with the defaults."""
    connections = fields.number("connections", DEFAULT_CONNECTIONS, 1, MAX_CONNECTIONS)
    trust = tls(fields.map("tls"))
    route = proxy(fields.map("proxy")) if fields.has("proxy") else None
    progress_deadline = fields.duration(
        "progressDeadline", DEFAULT_PROGRESS_DEADLINE, MIN_PROGRESS_DEADLINE, MAX_PROGRESS_DEADLINE
    )
    found, pod_network = limits(fields), rate(fields, "podNetworkBandwidth")
    fields.done()
    return Transfer(connections or DEFAULT_CONNECTIONS, trust, route, progress_deadline, found, pod_network)


def proxy(fields: Fields) -> Proxy | None:
    """A proxy; None where its url is none."""
    url = fields.text("url", required=True)
    error = proxy_error(url) if url else None
    if error:
        fields.error("url", error)
    secret = auth(fields)
    exempt = []
    for path, entry in fields.items("noProxy", MAX_NO_PROXY):
        if wrong := no_proxy_error(entry) if isinstance(entry, str) else "must be a string":
            fields.errors.add(path, wrong)
        else:
            exempt.append(entry)
    pins = _pins(fields)
    if pins and not url.startswith("https:"):
        fields.error("pins", "only a proxy with an https:// url has a certificate; leave them out")
    fields.done()
    return Proxy(url, secret, tuple(exempt), pins) if url and not error else None


def tls(fields: Fields, *, plain: bool = True) -> TLS:
    """How servers are trusted; `plain`: plain http may be allowed here."""
    allow_plain_http = fields.flag("allowPlainHTTP", False) if plain else False
    oldest = fields.text("minVersion", "1.3")
    if oldest not in TLS_VERSIONS:
        fields.error("minVersion", f'must be "1.2" or "1.3", not {oldest!r}')
    pins = _pins(fields)
    ca = _bundle(fields.map("ca")) if fields.has("ca") else None
    client = auth(fields, "clientCertificate")
    fields.done()
    return TLS(allow_plain_http, oldest, pins, ca, client)


def _pins(fields: Fields) -> tuple[str, ...]:
    pins = []
    for path, pin in fields.items("pins", MAX_PINS):
        if error := pin_error(pin) if isinstance(pin, str) else "must be a string":
            fields.errors.add(path, error)
        else:
            pins.append(pin)
    return tuple(pins)


def _bundle(fields: Fields) -> BundleReference | None:
    kinds = [kind for kind in ("configMap", "secret") if fields.has(kind)]
    inner = {kind: fields.map(kind) for kind in kinds}
    fields.done()
    if len(kinds) != 1:
        fields.errors.add(fields.path, "give configMap or secret, not both and not none")
    found = []
    for kind, one in inner.items():
        name, key = one.name("name", kind[0].upper() + kind[1:]), one.text("key", "ca.crt")
        if not _KEY.fullmatch(key):
            one.error("key", f"must be a key of it: at most 253 letters, digits, '-', '_' and '.', not {key[:60]!r}")
        one.done()
        found.append(BundleReference(kind, name, key))
    return found[0] if len(found) == 1 else None
