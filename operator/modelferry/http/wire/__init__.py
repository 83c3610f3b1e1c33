"""HTTP/1.1 without I/O: request bytes out, response bytes in.

::

    Request.encode() ─▶ bytes        bytes ─ HeadParser ─▶ Head ─ framing_of ─▶ Body ─▶ content

The rules, after RFC 9110 and RFC 9112 (section numbers stand beside the code):

- Framing is strict: what two readers could understand differently is refused and its connection closed.
- Nothing is unbounded: head, header lines, interim responses, chunk-size lines and trailers have caps.
"""

from modelferry.http.wire.behavior import ServerBehavior
from modelferry.http.wire.framing import Body, framing_of, keeps_alive
from modelferry.http.wire.head import Framing, Head, ProtocolError
from modelferry.http.wire.head_parser import HeadParser
from modelferry.http.wire.request import Origin, Request

__all__ = [
    "Body",
    "Framing",
    "Head",
    "HeadParser",
    "Origin",
    "ProtocolError",
    "Request",
    "ServerBehavior",
    "framing_of",
    "keeps_alive",
]
