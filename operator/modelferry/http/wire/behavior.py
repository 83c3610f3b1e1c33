"""What servers do to a download: the entries of docs/hostile-servers.md, by name."""

from __future__ import annotations

from enum import IntEnum


class ServerBehavior(IntEnum):
    """The value is the entry's number in docs/hostile-servers.md; a test keeps both in step."""

    WELL_BEHAVED = 0
    IGNORED_RANGE = 1
    RANGE_IN_200 = 2
    WRONG_RANGE = 3
    SHORTER_RANGE = 4
    NO_CONTENT_RANGE = 5
    SIZE_CHANGED = 6
    UNKNOWN_TOTAL = 7
    MULTIPART_RANGE = 8
    SHORT_BODY = 9
    LONG_BODY = 10
    CORRUPT_CONTENT = 11
    VALIDATOR_CHANGED = 12
    PRECONDITION_FAILED = 13
    WEAK_VALIDATOR = 14
    NO_VALIDATOR = 15
    LAST_MODIFIED_TOO_RECENT = 16
    VALIDATORS_DIFFER_ACROSS_MIRRORS = 17
    SAME_VALIDATOR_OTHER_CONTENT = 18
    CONTENT_ENCODING = 19
    CAPTIVE_PORTAL = 20
    LENGTH_AND_TRANSFER_ENCODING = 21
    CONFLICTING_LENGTHS = 22
    CHUNKED_PARTIAL_CONTENT = 23
    CLOSED_EARLY = 24
    CHUNKED_BODY_CUT = 25
    INVALID_OR_OVERSIZED_HEAD = 26
    ENDLESS_BODY = 27
    HEAD_UNSUPPORTED = 28
    ACCEPT_RANGES_NONE = 29
    RANGE_NOT_SATISFIABLE = 30
    CONNECTION_RESET = 31
    STALLED = 32
    SLOW_HEAD = 33
    SERVER_ERROR = 34
    RETRY_AFTER = 35
    ABSURD_RETRY_AFTER = 36
    UNAUTHORIZED = 37
    URL_EXPIRED = 38
    NOT_AVAILABLE = 39
    MISDIRECTED_REQUEST = 40
    REDIRECT_TO_PLAIN_HTTP = 41
    CROSS_ORIGIN_REDIRECT = 42
    REDIRECT_LOOP = 43
    REDIRECTED = 44
    PRIVATE_ADDRESS = 45
    PIN_MISMATCH = 46
    CERTIFICATE_REFUSED = 47
    CERTIFICATE_ROTATED = 48
    CLOCK_SKEW = 49
    NAME_RESOLUTION_FAILED = 50
    PROXY_AUTHENTICATION_REQUIRED = 51
    PROXY_CONNECT_FAILED = 52
    STALE_CACHE = 53
    FILE_GREW = 54
    SURPLUS_BYTES = 55
    NO_CONTENT = 56

    @classmethod
    def labels(cls) -> set[str]:
        """Those of all."""
        return {behavior.label for behavior in cls}

    @property
    def label(self) -> str:
        """As printed for people and stored with the statistics: ``IgnoredRange``."""
        return "".join(word.capitalize() for word in self.name.split("_"))
