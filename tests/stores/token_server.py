"""A token server as in the distribution specification: it takes Basic or no credentials, and returns a signed JWT."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from modelferry.http.auth.credentials import basic
from origin.certs import Leaf

#: Seconds after its expiry in which the registry of distribution still accepts a token.
LEEWAY = 60
_KEY_ID = "tests"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token: the scope, the Authorization field, and the status of the response."""

    scope: str
    authorization: str
    status: int


class TokenServer:
    """Grants `user` access to all repositories, and anonymous clients to those in `public`. A context manager.

    Tokens are valid for `lifetime` seconds; with a negative value only the registry's leeway remains.
    """

    def __init__(self, leaf: Leaf, user: str, password: str, *, host: str = "127.0.0.1") -> None:
        self.issuer, self.service = "tests-issuer", "tests-registry"
        self.public: set[str] = set()
        self.lifetime = 300.0
        self.requests: list[TokenRequest] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._allowed = basic(user, password).authorization
        self._server = ThreadingHTTPServer((host, 0), self._handler())
        self._server.socket = leaf.context().wrap_socket(self._server.socket, server_side=True)
        self.realm = f"https://{host}:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, repository: str, actions: list[str]) -> str:
        """A token for `actions` on `repository`."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.service,
            "sub": "tests",
            "jti": secrets.token_hex(4),
            "iat": now,
            "nbf": now - 600,
            "exp": now + int(self.lifetime),
            "access": [{"type": "repository", "name": repository, "actions": actions}] if actions else [],
        }
        return signed(self._key, claims)

    def jwks(self) -> dict[str, Any]:
        """The public key (RFC 7517)."""
        return jwks(self._key)

    def _answer(self, path: str, authorization: str) -> tuple[int, dict[str, Any]]:
        scope = parse_qs(urlsplit(path).query).get("scope", [""])[0]
        repository = scope.split(":")[1] if scope.count(":") == 2 else ""
        answer: dict[str, Any]
        if authorization not in ("", self._allowed):
            status, answer = 401, {"details": "incorrect username or password"}
        else:
            actions = ["pull"] if authorization or repository in self.public else []
            status, answer = 200, {"token": self.token(repository, actions), "expires_in": 300}
        self.requests.append(TokenRequest(scope, authorization, status))
        return status, answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, answer = outer._answer(self.path, self.headers.get("Authorization", ""))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def signed(key: ec.EllipticCurvePrivateKey, claims: dict[str, Any]) -> str:
    """A JWT by ES256 (RFC 7518 section 3.4)."""
    head = _text(json.dumps({"alg": "ES256", "typ": "JWT", "kid": _KEY_ID}).encode())
    body = f"{head}.{_text(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(body.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{body}.{_text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def jwks(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The public key of `key` as a set of one (RFC 7517)."""
    numbers = key.public_key().public_numbers()
    x, y = (_text(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": _KEY_ID, "x": x, "y": y}]}


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
