"""Header fields that a spec adds to requests, each for its own hosts, beside a credential."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from modelferry.http.auth.credentials import Credential, HeaderFields, Rejection, SendRequest, may_see

#: A signature covers those of them that its specification demands (AWS Signature Version 4, "canonical headers"). It
#: does not cover the others: a gateway that asks for one may remove it.
_SIGNED = "x-amz-"


@dataclass(frozen=True, slots=True)
class AddedField:
    """A header field, sent to `hosts` alone, as `HostScoped` is."""

    name: str
    value: str = field(repr=False)
    hosts: frozenset[str]
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class WithAddedFields:
    """A credential: `inner`, and `added` fields. Requests that `inner` makes to renew itself have those for their
    host."""

    inner: Credential
    added: tuple[AddedField, ...]

    async def headers(self, url: str, method: str = "GET", fields: HeaderFields = ()) -> HeaderFields:
        """See Credential."""
        added = self._for(url)
        signed = tuple(pair for pair in added if pair[0].lower().startswith(_SIGNED))
        return (*added, *await self.inner.headers(url, method, (*fields, *signed)))

    async def renew(self, rejection: Rejection, send: SendRequest) -> bool:
        """See Credential."""

        async def send_with_added(url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
            return await send(url, (*fields, *self._for(url)), form)

        sent = rejection.sent[len(self._for(rejection.url)) :]
        return await self.inner.renew(replace(rejection, sent=sent), send_with_added)

    def _for(self, url: str) -> HeaderFields:
        return tuple((one.name, one.value) for one in self.added if may_see(one.hosts, url, plain_http=one.plain_http))
