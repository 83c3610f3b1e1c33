"""URLs: what a person sees of them, which are refused, and how they go over the wire."""

from __future__ import annotations

import pytest

from modelferry.values.urls import ascii_url, redact_url, url_error


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://user:secret@h.example:8443/a/b?sig=secret#part", "https://h.example:8443/a/b"),
        ("https://[2001:db8::1]:9/a?x", "https://[2001:db8::1]:9/a"),
        ("https://h.example/a", "https://h.example/a"),
        ("https://[broken/a?secret", "(a URL that cannot be read)"),
        ("https://h.example:port/a?secret", "(a URL that cannot be read)"),
    ],
)
def test_only_scheme_host_port_and_path_of_a_url_are_shown(url: str, seen: str) -> None:
    assert redact_url(url) == seen


@pytest.mark.parametrize("url", ["https://h.example/a?x=%2F", "http://127.0.0.1:1/", "https://bücher.example/ü"])
def test_an_ordinary_url_is_valid(url: str) -> None:
    assert url_error(url) is None


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://h.example/a", "https://"),
        ("file:///etc/passwd", "https://"),
        ("https:///a", "names no host"),
        ("https://u:p@h.example/a", "user name or password"),
        ("https://h.example:0/a", "port 0"),
        ("https://h.example:99999/a", "cannot be read"),
        ("https://h.example/a b", "percent-encode"),
        ("https://h.example/a\r\nX: y", "percent-encode"),
        (f"https://{'ü' * 80}.example/", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_fetched_is_refused_with_its_error(url: str, error: str) -> None:
    assert error in str(url_error(url))


@pytest.mark.parametrize(
    "url", ["https://u:pl4nted/p@h.example/", "https://h.example:pl4nted/", "https://u:pl4nted\u2100@h/"]
)
def test_the_error_of_a_url_has_no_part_of_it(url: str) -> None:
    """arrow-rs-object-store#52: the library's own message has the value."""
    assert "pl4nted" not in str(url_error(url))
    assert url_error(url) == "cannot be read: its host or port is not valid"


def test_a_signed_url_goes_over_the_wire_to_the_letter() -> None:
    signed = "https://h.example/a%2fb/%7Ec?X-Amz-Signature=a%2Bb+c&d=%c3%bc'*~"
    assert ascii_url(signed) == signed


def test_other_letters_are_spelt_in_ascii_and_the_rest_stays() -> None:
    assert ascii_url("https://[2001:db8::1]:9/ü") == "https://[2001:db8::1]:9/%C3%BC"
    assert ascii_url("https://bücher.example:8443/ä%2F?q=ö+%20#ß") == (
        "https://xn--bcher-kva.example:8443/%C3%A4%2F?q=%C3%B6+%20"
    )
