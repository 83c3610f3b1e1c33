"""Which proxy stands on the way to a URL."""

from __future__ import annotations

import pytest

from modelferry.errors import InvalidSpec
from modelferry.http.proxy.proxies import NoProxy, Proxies, Proxy, from_environment, with_credentials
from modelferry.values.proxy_urls import no_proxy_error, proxy_error


@pytest.mark.parametrize(
    ("entry", "url", "direct"),
    [
        ("h.example", "https://h.example/a", True),
        ("h.example", "https://H.Example./a", True),
        ("h.example", "https://x.h.example/a", True),
        ("h.example", "https://xh.example/a", False),
        (".h.example", "https://h.example/a", False),
        (".h.example", "https://x.h.example/a", True),
        ("h.example:8443", "https://h.example:8443/a", True),
        ("h.example:8443", "https://h.example/a", False),
        ("h.example:443", "https://h.example/a", True),
        ("h.example:80", "http://h.example/a", True),
        ("10.0.0.0/8", "https://10.1.2.3/a", True),
        ("10.0.0.0/8", "https://11.1.2.3/a", False),
        ("10.0.0.1/8", "https://10.1.2.3/a", True),
        ("10.0.0.0/8", "https://h.example/a", False),
        ("10.1.2.3", "https://10.1.2.3/a", True),
        ("0.0.0.3", "https://10.0.0.0.3/a", False),
        ("2.3", "https://10.1.2.3/a", False),
        ("10.1.2.3:443", "https://10.1.2.3/a", True),
        ("fd00::/8", "https://[fd00::1]/a", True),
        ("fd00::1", "https://[fd00:0::1]/a", True),
        ("[fd00::1]", "https://[fd00::1]/a", True),
        ("[fd00::1]:443", "https://[fd00::1]/a", True),
        ("[fd00::1]:444", "https://[fd00::1]/a", False),
        ("*", "https://h.example/a", True),
        ("*", "https://10.1.2.3/a", True),
        ("*:80", "https://h.example/a", False),
    ],
)
def test_what_an_entry_of_noproxy_stands_for(entry: str, url: str, direct: bool) -> None:
    assert no_proxy_error(entry) is None
    proxy = Proxy.parse("http://p:3128")
    assert (Proxies(proxy, proxy, (NoProxy.parse(entry),)).for_url(url) is None) == direct


@pytest.mark.parametrize(
    "entry", ["", "https://h", "a b", "10.0.0.0/99", "h:0", "h:x", "h:99999", "me@h", "a,b", "h/8", "é"]
)
def test_what_is_no_entry_of_noproxy(entry: str) -> None:
    assert "must be a host, .domain, address, address/prefix or host:port" in str(no_proxy_error(entry))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://p", "http://p:80"),
        ("https://P:8443/", "https://p:8443"),
        ("socks5h://p", "socks5h://p:1080"),
        ("socks5://[::1]:9", "socks5://[::1]:9"),
        ("http://me:p%40ss@p:3128", "http://p:3128"),
    ],
)
def test_a_proxy_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert str(Proxy.parse(url)) == shown
    assert "p@ss" not in repr(Proxy.parse(url))


@pytest.mark.parametrize(
    "url", ["", "p:3128", "ftp://p", "http://", "http://p:0", "http://p:x", "http://p/x", "http://p?x"]
)
def test_what_names_no_proxy(url: str) -> None:
    assert proxy_error(url)
    with pytest.raises(ValueError, match=r".") as caught:
        Proxy.parse(url)
    assert "secret" not in str(caught.value)


def test_credentials_go_to_the_proxy_as_basic() -> None:
    proxy = with_credentials(Proxy.parse("http://p:3128"), "me", "secret", "spec.transfer.proxy.auth")
    assert proxy.fields == (("Proxy-Authorization", "Basic bWU6c2VjcmV0"),)
    assert Proxy.parse("http://p").fields == ()


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [("socks5h://p", "", "x"), ("socks5h://p", "x", ""), ("socks5h://p", "x", "ü" * 128), ("http://p", "a:b", "x")],
)
def test_credentials_that_cannot_be_sent_are_refused(url: str, username: str, password: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.transfer\.proxy\.auth: .*RFC"):
        with_credentials(Proxy.parse(url), username, password, "spec.transfer.proxy.auth")


def shown_by(environment: dict[str, str], url: str) -> str:
    return str(from_environment(environment).for_url(url) or "direct")


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, "direct", "direct"),
        ({"http_proxy": "http://a:1"}, "http://a:1", "direct"),
        ({"https_proxy": "http://a:1"}, "direct", "http://a:1"),
        ({"HTTPS_PROXY": "http://a:1", "all_proxy": "socks5h://b:2"}, "socks5h://b:2", "http://a:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, "direct", "http://a:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:2"}, "direct", "http://b:2"),
        ({"all_proxy": "a:1"}, "http://a:1", "http://a:1"),
        ({"HTTP_PROXY": "http://a:1"}, "http://a:1", "direct"),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, "direct", "direct"),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, "http://a:1", "direct"),
        ({"all_proxy": "http://a:1", "no_proxy": "x.test, <local> h.test"}, "direct", "direct"),
        ({"all_proxy": "http://a:1", "NO_PROXY": "h.test:443"}, "http://a:1", "direct"),
    ],
)
def test_the_environment(environment: dict[str, str], http: str, https: str) -> None:
    assert (shown_by(environment, "http://h.test/"), shown_by(environment, "https://h.test/")) == (http, https)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8443", "[::1]"])
def test_the_environment_does_not_come_between_this_machine_and_itself(host: str) -> None:
    assert shown_by({"all_proxy": "http://a:1"}, f"https://{host}/") == "direct"


def test_a_wrong_variable_is_named_without_what_it_holds() -> None:
    with pytest.raises(InvalidSpec, match=r"environment's HTTPS_PROXY does not begin with http://") as caught:
        from_environment({"HTTPS_PROXY": "ftp://me:secret@p"})
    assert "secret" not in caught.value.message


def test_credentials_of_the_environment_are_decoded() -> None:
    proxy = from_environment({"https_proxy": "http://me:p%40s%3As@p:1"}).for_url("https://h/")
    assert proxy is not None
    assert (proxy.username, proxy.password, proxy.host) == ("me", "p@s:s", "p")
