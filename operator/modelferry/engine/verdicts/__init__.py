"""What a response means for a download: head in, verdict out. Nothing here opens, reads or waits.

::

    Head ─ judge(request, head, expectation) ─▶ Verdict ─ TAKE ─▶ content ─ ended(...) ─▶ None or Verdict

- A response is judged by status, Content-Range start, end and total, length, coding and validator, every time.
- A verdict names the server behavior of docs/hostile-servers.md that it is for.
- More content than was announced is refused; of less, the prefix is kept.
"""

from modelferry.engine.verdicts.judge import ended, judge
from modelferry.engine.verdicts.verdict import Action, Expectation, Verdict

__all__ = ["Action", "Expectation", "Verdict", "ended", "judge"]
