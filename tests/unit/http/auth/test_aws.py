"""Temporary keys of a web identity: when they are asked for, and what is sent without them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from modelferry.errors import ConnectionFailed, Denied
from modelferry.http.auth.aws import Role, WebIdentity
from modelferry.http.auth.credentials import HeaderFields, Rejection

URL = "https://bucket.s3.amazonaws.com/a"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Service:
    """A token service whose keys live an hour; ``asked`` are the forms that it was sent."""

    def __init__(self, status: int = 200) -> None:
        self.now, self.status, self.asked = BEGIN, status, list[dict[str, list[str]]]()

    async def __call__(self, url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
        assert url == "https://sts.example/"
        await asyncio.sleep(0)
        self.asked.append(parse_qs(form.decode()))
        number, until = len(self.asked), (self.now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = f"<AccessKeyId>A{number}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
        return self.status, f"<Credentials>{keys}<Expiration>{until}</Expiration></Credentials>".encode()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def identity(service: Service, tmp_path: Path) -> WebIdentity:
    (tmp_path / "token").write_text("pod-token\n")
    role = Role("arn:aws:iam::1:role/r", tmp_path / "token", "https://sts.example")
    return WebIdentity(role, "us-east-1", lambda: service.now)


def key_id(fields: HeaderFields) -> str:
    return dict(fields)["Authorization"].partition("Credential=")[2].partition("/")[0]


async def test_the_first_refusal_brings_keys_that_sign(identity: WebIdentity, service: Service) -> None:
    assert await identity.headers(URL) == ()
    assert await identity.renew(Rejection(URL, ""), service)
    assert key_id(await identity.headers(URL)) == "A1"
    (form,) = service.asked
    assert (form["WebIdentityToken"], form["RoleArn"]) == (["pod-token"], ["arn:aws:iam::1:role/r"])


async def test_many_refusals_at_once_ask_once(identity: WebIdentity, service: Service) -> None:
    assert all(await asyncio.gather(*(identity.renew(Rejection(URL, ""), service) for _ in range(16))))
    assert len(service.asked) == 1


async def test_keys_are_renewed_before_they_run_out(identity: WebIdentity, service: Service) -> None:
    await identity.renew(Rejection(URL, ""), service)
    service.now += timedelta(minutes=57)
    assert key_id(await identity.headers(URL)) == "A1"
    service.now += timedelta(minutes=2)
    assert await identity.headers(URL) == ()
    await identity.renew(Rejection(URL, ""), service)
    assert key_id(await identity.headers(URL)) == "A2"


async def test_keys_that_may_not_read_are_not_asked_for_again(identity: WebIdentity, service: Service) -> None:
    await identity.renew(Rejection(URL, ""), service)
    shown = await identity.headers(URL)
    assert not await identity.renew(Rejection(URL, "", shown), service)
    assert len(service.asked) == 1


@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (400, Denied), (503, ConnectionFailed)])
async def test_a_service_that_gives_none_is_told(
    identity: WebIdentity, service: Service, status: int, kind: type[Exception]
) -> None:
    service.status = status
    with pytest.raises(kind, match=rf"sts\.example.*{status}"):
        await identity.renew(Rejection(URL, ""), service)


async def test_a_pod_without_a_token_is_told(service: Service, tmp_path: Path) -> None:
    role = Role("arn:aws:iam::1:role/r", tmp_path / "none", "https://sts.example")
    with pytest.raises(Denied, match="No such file or directory"):
        await WebIdentity(role, "us-east-1", lambda: BEGIN).renew(Rejection(URL, ""), service)
