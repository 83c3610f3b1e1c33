"""What a response means for a download: head in, verdict out. Nothing here opens, reads or waits.

::

    Head ─ judge(request, head, expectation) ─▶ Verdict ─ TAKE ─▶ content ─ ended(...) ─▶ None or Verdict

- A response is judged by status, Content-Range start, end and total, length, coding and validator, every time.
- A verdict names the row of the catalogue of hostile servers that it comes from; 0 is the well-behaved server.
- Content counts: more than was announced is refused, less keeps the prefix.
"""

from modelferry.engine.response.judge import ended, judge
from modelferry.engine.response.verdict import Action, Expectation, Verdict

__all__ = ["Action", "Expectation", "Verdict", "ended", "judge"]
