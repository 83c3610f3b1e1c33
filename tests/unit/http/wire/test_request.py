"""Requests as they are sent."""

from __future__ import annotations

from modelferry.http.wire import Request

URL = "https://h.example/a%2fb?c=d"


def lines(request: Request) -> list[str]:
    head, _, _ = request.encode().partition(b"\r\n\r\n")
    return head.decode().split("\r\n")


def test_a_range_of_a_file() -> None:
    sent = lines(Request(URL, 5, 10, fresh=True))
    assert sent[:2] == ["GET /a%2fb?c=d HTTP/1.1", "Host: h.example"]
    assert {"Range: bytes=5-9", "Accept: */*", "Accept-Encoding: identity", "Cache-Control: no-cache"} < set(sent)


def test_a_field_of_the_caller_replaces_the_default_accept() -> None:
    sent = lines(Request(URL, fields=(("Accept", "application/json"), ("X-A", "1"))))
    assert [line for line in sent if line.startswith("Accept:")] == ["Accept: application/json"]
    assert "X-A: 1" in sent


def test_a_credential_is_sent_and_never_shown() -> None:
    request = Request(URL, method="HEAD", credential=(("Authorization", "Bearer planted"),))
    assert lines(request)[0] == "HEAD /a%2fb?c=d HTTP/1.1"
    assert "Authorization: Bearer planted" in lines(request)
    assert "planted" not in repr(request)


def test_a_form_is_posted_with_its_length() -> None:
    sent = Request(URL, method="POST", form=b"a=1&b=2").encode()
    assert sent.startswith(b"POST ")
    assert b"\r\nContent-Length: 7\r\n" in sent
    assert sent.endswith(b"\r\n\r\na=1&b=2")


def test_a_proxy_gets_the_absolute_form() -> None:
    assert lines(Request("http://h.example:8080/a", absolute=True))[0] == "GET http://h.example:8080/a HTTP/1.1"
