"""``spec.transfer``."""

from __future__ import annotations

from modelferry.manifest.pins import pin_fault
from modelferry.resource.fields import Fields
from modelferry.resource.parse.limits import limits, rate
from modelferry.resource.transfer import (
    DEFAULT_CONNECTIONS,
    MAX_CONNECTIONS,
    MAX_PINS,
    TLS,
    TLS_VERSIONS,
    BundleReference,
    Transfer,
)


def transfer(fields: Fields) -> Transfer:
    """All of it, with the defaults."""
    connections = fields.number("connections", DEFAULT_CONNECTIONS, 1, MAX_CONNECTIONS)
    tls = _tls(fields.map("tls"))
    found, pod_network = limits(fields), rate(fields, "podNetworkBandwidth")
    fields.done()
    return Transfer(connections or DEFAULT_CONNECTIONS, tls, found, pod_network)


def _tls(fields: Fields) -> TLS:
    allow_plain_http = fields.flag("allowPlainHTTP", False)
    oldest = fields.text("minVersion", "1.3")
    if oldest not in TLS_VERSIONS:
        fields.fault("minVersion", f'must be "1.2" or "1.3", not {oldest!r}')
    pins = []
    for path, pin in fields.items("pins", MAX_PINS):
        if fault := pin_fault(pin) if isinstance(pin, str) else "must be a string":
            fields.faults.add(path, fault)
        else:
            pins.append(pin)
    ca = _bundle(fields.map("ca")) if fields.has("ca") else None
    fields.done()
    return TLS(allow_plain_http, oldest, tuple(pins), ca)


def _bundle(fields: Fields) -> BundleReference | None:
    kinds = [kind for kind in ("configMap", "secret") if fields.has(kind)]
    inner = {kind: fields.map(kind) for kind in kinds}
    fields.done()
    if len(kinds) != 1:
        fields.faults.add(fields.path, "give configMap or secret, not both and not none")
    found = [
        BundleReference(kind, one.text("name", required=True), one.text("key", "ca.crt")) for kind, one in inner.items()
    ]
    for one in inner.values():
        one.done()
    return found[0] if len(found) == 1 else None
