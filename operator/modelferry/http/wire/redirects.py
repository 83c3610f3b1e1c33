"""Where a redirect leads (RFC 9110 section 10.2.2)."""

from __future__ import annotations

from urllib.parse import urljoin

from modelferry.values.urls import ascii_url, url_error

#: Redirects that are followed for one request.
MAX_REDIRECTS = 5
#: Statuses that redirect a GET (RFC 9110 section 15.4).
REDIRECTS = frozenset((301, 302, 303, 307, 308))


def redirect_target(url: str, location: str | None) -> str | None:
    """The URL that a response for `url` with the field Location redirects to, as it goes over the wire: without a
    fragment, all ASCII, spaces percent-encoded. None where the field is missing, or not a URL that can be requested."""
    try:
        # A field's value is read as latin-1; the raw bytes of a URL that is not ASCII are mostly UTF-8.
        text = (location or "").encode("latin-1").decode("utf-8", "surrogateescape")
        target = ascii_url(urljoin(url, text)).replace(" ", "%20") if text else ""
    except ValueError:
        return None
    return target if target and url_error(target) is None else None
