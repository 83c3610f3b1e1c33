"""Header fields that a spec adds: which hosts see them, and what a signature and a renewal make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from modelferry.http.auth.added_fields import AddedField, WithAddedFields
from modelferry.http.auth.aws import SigV4Credential
from modelferry.http.auth.credentials import ANONYMOUS, HeaderFields, HostScoped, Rejection, SendRequest, bearer
from modelferry.http.auth.registry_token import RegistryToken
from modelferry.http.auth.sigv4 import Keys
from modelferry.http.wire.request import Request

HOSTS = frozenset({"h.example"})
KEY = AddedField("X-Api-Key", "planted-key", HOSTS)


async def test_each_field_goes_to_its_own_hosts_beside_the_credential() -> None:
    other = AddedField("X-Tenant", "speech", frozenset({"h.example", "cdn.example:8443"}))
    both = WithAddedFields(HostScoped(bearer("t"), HOSTS), (KEY, other))
    assert await both.headers("https://h.example/a") == (
        ("X-Api-Key", "planted-key"),
        ("X-Tenant", "speech"),
        ("Authorization", "Bearer t"),
    )
    assert await both.headers("https://cdn.example:8443/a") == (("X-Tenant", "speech"),)
    assert await both.headers("https://cdn.example/a") == ()


async def test_a_field_is_not_sent_over_plain_http_unless_that_is_allowed() -> None:
    assert await WithAddedFields(ANONYMOUS, (KEY,)).headers("http://h.example/a") == ()
    plain = AddedField("X-Api-Key", "planted-key", HOSTS, plain_http=True)
    assert await WithAddedFields(ANONYMOUS, (plain,)).headers("http://h.example/a") == (("X-Api-Key", "planted-key"),)


def test_a_value_is_in_no_repr() -> None:
    assert "planted-key" not in repr(WithAddedFields(ANONYMOUS, (KEY,)))


async def test_a_signature_covers_the_fields_of_amazon_and_not_what_a_gateway_may_remove() -> None:
    """Amazon refuses an x-amz- field that is not signed; a gateway that asks for a key does not pass it on."""
    signer = SigV4Credential(Keys("id", "planted-secret"), "us-east-1", lambda: datetime.now(UTC))
    payer = AddedField("X-Amz-Request-Payer", "requester", HOSTS)
    shown = dict(await WithAddedFields(signer, (KEY, payer)).headers("https://h.example/models/a"))
    signed = shown["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert "x-amz-request-payer" in signed
    assert "x-api-key" not in signed
    assert (shown["X-Api-Key"], shown["X-Amz-Request-Payer"]) == ("planted-key", "requester")


@dataclass
class TokenRequests:
    """Answers requests for a token, and keeps the fields of each by its URL."""

    fields: dict[str, HeaderFields] = field(default_factory=dict)

    async def send(self, url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
        """See SendRequest."""
        self.fields[url.partition("?")[0]] = fields
        return 200, b'{"token": "abc"}'


async def test_a_registrys_token_is_renewed_with_the_fields_of_the_token_servers_host() -> None:
    seen = TokenRequests()
    send: SendRequest = seen.send
    registry = WithAddedFields(RegistryToken(None), (KEY,))
    for realm in ("https://h.example/token", "https://auth.example/token"):
        sent = await registry.headers("https://h.example/v2/m")
        challenge = f'Bearer realm="{realm}",service="r",scope="repository:m:pull"'
        assert await registry.renew(Rejection("https://h.example/v2/m", challenge, sent), send)
    assert ("X-Api-Key", "planted-key") in seen.fields["https://h.example/token"]
    assert ("X-Api-Key", "planted-key") not in seen.fields["https://auth.example/token"]
    # What was sent is compared without the added fields: a second 401 with the same token asks for another.
    assert len(seen.fields) == 2
    assert (await registry.headers("https://h.example/v2/m"))[1] == ("Authorization", "Bearer abc")


def test_a_user_agent_replaces_ours() -> None:
    head = Request("https://h.example/a", credential=(("user-agent", "curl/8"),)).encode().decode()
    assert head.lower().count("user-agent:") == 1
    assert "user-agent: curl/8\r\n" in head
    assert "User-Agent: modelferry/" in Request("https://h.example/a").encode().decode()
