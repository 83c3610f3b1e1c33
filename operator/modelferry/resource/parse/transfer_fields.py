"""``spec.transfer``."""

from __future__ import annotations

from modelferry.resource.parse.bandwidth_fields import parse_limits, parse_rate_field
from modelferry.resource.parse.secret_fields import parse_auth, parse_key
from modelferry.resource.spec_fields import Fields
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


def parse_transfer(fields: Fields) -> Transfer:
    """The transfer, with the defaults."""
    connections = fields.number("connections", DEFAULT_CONNECTIONS, 1, MAX_CONNECTIONS)
    tls = parse_tls(fields.map("tls"))
    proxy = parse_proxy(fields.map("proxy")) if fields.has("proxy") else None
    progress_deadline = fields.duration(
        "progressDeadline", DEFAULT_PROGRESS_DEADLINE, MIN_PROGRESS_DEADLINE, MAX_PROGRESS_DEADLINE
    )
    bandwidth_limits, pod_network = parse_limits(fields), parse_rate_field(fields, "podNetworkBandwidth")
    fields.reject_unknown()
    return Transfer(connections or DEFAULT_CONNECTIONS, tls, proxy, progress_deadline, bandwidth_limits, pod_network)


def parse_proxy(fields: Fields) -> Proxy | None:
    """The proxy; None if its url is invalid."""
    url = fields.text("url", required=True)
    error = proxy_error(url) if url else None
    if error:
        fields.add_error("url", error)
    secret = parse_auth(fields)
    exempt = []
    for path, entry in fields.items("noProxy", MAX_NO_PROXY):
        if wrong := no_proxy_error(entry) if isinstance(entry, str) else "must be a string":
            fields.errors.add(path, wrong)
        else:
            exempt.append(entry)
    pins = _pins(fields)
    if pins and not url.startswith("https:"):
        fields.add_error("pins", "only a proxy with an https:// url has a certificate; leave them out")
    fields.reject_unknown()
    return Proxy(url, secret, tuple(exempt), pins) if url and not error else None


def parse_tls(fields: Fields, *, plain: bool = True) -> TLS:
    """The TLS settings. `plain`: whether allowPlainHTTP is a field here."""
    allow_plain_http = fields.flag("allowPlainHTTP", False) if plain else False
    oldest = fields.text("minVersion", "1.3")
    if oldest not in TLS_VERSIONS:
        fields.add_error("minVersion", f'must be "1.2" or "1.3", not {oldest!r}')
    pins = _pins(fields)
    ca = _bundle(fields.map("ca")) if fields.has("ca") else None
    client = parse_auth(fields, "clientCertificate")
    fields.reject_unknown()
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
    fields.reject_unknown()
    if len(kinds) != 1:
        fields.errors.add(fields.path, "give configMap or secret, not both and not none")
    found = []
    for kind, one in inner.items():
        name, key = one.name("name", kind[0].upper() + kind[1:]), parse_key(one, "ca.crt")
        one.reject_unknown()
        found.append(BundleReference(kind, name, key))
    return found[0] if len(found) == 1 else None
