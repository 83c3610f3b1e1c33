"""What a response means: bytes in, verdict out. Nothing here opens, reads or waits.

The way of a response::

    bytes ─ HeadParser ─▶ Head ─ judge(request, head, expectation) ─▶ Verdict ─ TAKE ─▶ Body (the framing) ─▶ content

The rules, after RFC 9110 and RFC 9112 (section numbers stand beside the code):

- A response is judged by status, Content-Range start, end and total, length, coding and validator, every time.
- A verdict names the row of the catalogue of hostile servers that it comes from; 0 is the well-behaved server.
- Framing is strict: what two readers could understand differently is refused and its connection closed.
- Content counts: more than was announced is refused, less keeps the prefix.
- Nothing is unbounded: head, header lines, interim responses, chunk-size lines and trailers have caps.
"""

from modelferry.engine.wire.framing import Body, keeps_alive
from modelferry.engine.wire.head import HeadParser
from modelferry.engine.wire.judge import ended, judge
from modelferry.engine.wire.model import (
    Action,
    Expectation,
    Framing,
    Head,
    Origin,
    ProtocolError,
    Request,
    Verdict,
)

__all__ = [
    "Action",
    "Body",
    "Expectation",
    "Framing",
    "Head",
    "HeadParser",
    "Origin",
    "ProtocolError",
    "Request",
    "Verdict",
    "ended",
    "judge",
    "keeps_alive",
]
