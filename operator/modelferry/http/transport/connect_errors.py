"""What a failed connection means, as an error with cause and remedy. Pure."""

from __future__ import annotations

import socket
import ssl

from modelferry.errors import CertificateRefused, ConnectionFailed, ModelferryError, UnknownHost
from modelferry.http.tls.contexts import certificate_error
from modelferry.http.transport.connection import reason_of
from modelferry.http.transport.connection_key import ConnectionKey


def connect_error(key: ConnectionKey, error: BaseException, seconds: float) -> ModelferryError:
    """`error` (OSError or TimeoutError) ended the attempt to connect, which may take `seconds`. The message is the end
    of a sentence that begins with the location, except for UnknownHost and CertificateRefused."""
    origin, proxy = key.origin, key.route.proxies.for_url(key.origin.url)
    if isinstance(error, socket.gaierror):
        return UnknownHost(
            f"{origin.host} does not resolve ({reason_of(error)}); check the name and this machine's DNS"
        )
    if isinstance(error, ssl.SSLError):
        return server_certificate_error(key, error) or ConnectionFailed(
            f"failed in the TLS handshake: {error.reason or reason_of(error)}"
        )
    if isinstance(error, TimeoutError) and not error.args:
        through = f" through the proxy {proxy}" if proxy else ""
        return ConnectionFailed(f"did not answer within {seconds:.0f} s{through}")
    return ConnectionFailed(f"cannot be reached: {reason_of(error)}")


def server_certificate_error(key: ConnectionKey, error: ssl.SSLError) -> CertificateRefused | None:
    """What `error` says about the server's certificate or the client's; None where it says nothing."""
    return certificate_error(key.origin.authority, error, field=key.route.tls_field)
