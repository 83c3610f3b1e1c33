"""The limit of a running download, read from the files that the kubelet keeps."""

from __future__ import annotations

from pathlib import Path

from modelferry.agent.bandwidth_limiter import BandwidthLimiter, configured_limits
from modelferry.http.transport.throttle import Throttle
from modelferry.resource.bandwidth_limits import Limits
from modelferry.resource.parse import parse_artifact
from modelferry.resource.spec import Spec


def spec(**transfer: str) -> Spec:
    """A mirror with a limit, and one without."""
    source = {"http": {"files": [{"path": "a", "url": "https://source/a"}]}}
    mirrors = [
        {"name": "lab", "url": "https://lab/{path}", "bandwidth": "1MB"},
        {"name": "b", "url": "https://b/{path}"},
    ]
    body = {"apiVersion": "modelferry.dev/v1alpha1", "kind": "ModelArtifact", "metadata": {"name": "m"}}
    return parse_artifact(body | {"spec": {"source": source, "mirrors": mirrors, "transfer": transfer}}).spec


def test_the_command_line_takes_the_place_of_the_downloads_limit_and_leaves_the_mirrors_theirs() -> None:
    assert configured_limits(None, spec(bandwidth="2MB")) == Limits(2_000_000, mirrors=(("lab", 1_000_000),))
    assert configured_limits("3MB", spec(bandwidth="2MB")) == Limits(3_000_000, mirrors=(("lab", 1_000_000),))


def test_what_the_files_say_of_mirrors_holds_from_the_next_update_on(tmp_path: Path) -> None:
    throttle = Throttle()
    limiter = BandwidthLimiter(throttle, configured_limits(None, spec()), tmp_path)
    (tmp_path / "share").write_text("")
    for text, limits in (
        ('{"mirrors":{"lab":"1MB"}}', (None, 1_000_000, None)),
        ('{"bandwidth":"9MB","mirrors":{"lab":"2MB","b":"3MB"}}', (9_000_000, 2_000_000, 3_000_000)),
        ("{}", (None, None, None)),
    ):
        (tmp_path / "limits").write_text(text)
        limiter.update()
        assert (throttle.limit, throttle.for_mirror("lab").limit, throttle.for_mirror("b").limit) == limits


def test_files_that_cannot_be_read_leave_every_limit_as_it_is(tmp_path: Path) -> None:
    throttle = Throttle()
    limiter = BandwidthLimiter(throttle, configured_limits(None, spec(bandwidth="2MB")), tmp_path)
    (tmp_path / "limits").write_text('{"mirrors":{"lab":"fast"}}')
    limiter.update()
    assert (throttle.limit, throttle.for_mirror("lab").limit) == (2_000_000, 1_000_000)
