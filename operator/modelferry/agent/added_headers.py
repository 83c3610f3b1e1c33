"""From ``headers`` of a spec or a mirror to the fields that are added to requests, and the hosts that may see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelferry.agent.secrets import Secrets
from modelferry.errors import InvalidSpec
from modelferry.http.auth.added_fields import AddedField, WithAddedFields
from modelferry.http.auth.credentials import Credential
from modelferry.resource.header import Header


def with_headers(
    credential: Credential,
    headers: Sequence[Header],
    secrets: Secrets,
    *,
    where: str,
    hosts: frozenset[str],
    secret_hosts: Callable[[str], frozenset[str]],
    plain_http: bool,
) -> Credential:
    """`credential` with `headers`, which are the field `where` + ``headers``.

    A literal value is sent to `hosts`. A value from a Secret is sent to the hosts in the Secret's key ``allowedHosts``,
    or else to `secret_hosts` of its field. Raises InvalidSpec if a Secret or its key is missing, or a value cannot be
    sent.
    """
    added = []
    for number, header in enumerate(headers):
        field = f"{where}.headers[{number}]"
        if header.secret is None:
            if not hosts:
                raise InvalidSpec(
                    f"{field}: the mirror's URLs are in a Secret, so its hosts are not known; take the value from a"
                    " Secret whose key allowedHosts lists the hosts that may see it"
                )
            added.append(AddedField(header.name, header.value, hosts, plain_http))
            continue
        secret = secrets.read(header.secret.name, field)
        value = secret.word(header.secret.key)
        if not value:
            raise secret.missing_keys(header.secret.key)
        added.append(AddedField(header.name, value, secret.hosts or secret_hosts(field), plain_http))
    return WithAddedFields(credential, tuple(added)) if added else credential
