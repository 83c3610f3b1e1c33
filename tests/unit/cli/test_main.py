"""The one entry point: commands, errors and exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from modelferry import __version__
from modelferry.cli import main as entry
from modelferry.cli.main import COMMANDS, Command, main
from modelferry.errors import DigestMismatch, InsufficientSpace, InvalidSpec, ServerBusy, Waiting
from modelferry.messages import Outcome


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command ``test`` whose module raises what is put into its ``error``."""
    module = ModuleType("a_command")
    module.error = None  # type: ignore[attr-defined]

    def command(_args: object) -> int:
        if module.error is not None:
            raise module.error
        return 0

    module.add_arguments = lambda parser: None  # type: ignore[attr-defined]
    module.main = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_command", module)
    monkeypatch.setattr(entry, "COMMANDS", (Command("test", "a_command", "a command"),))
    return module


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"modelferry {__version__}\n"


def test_the_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(command.help in out for command in COMMANDS if not command.name.startswith("agent "))
    assert re.findall(r"^  (\d+)  ", out, re.MULTILINE) == ["0", "2", "3", "4", "130", "1"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_command_has_its_module_and_its_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    module = import_module(command.module)
    assert callable(module.main)
    with pytest.raises(SystemExit) as ended:
        main([*command.name.split(), "--help"])
    assert ended.value.code == 0
    assert f"usage: modelferry {command.name}" in capsys.readouterr().out


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "download a model onto this machine" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["agent"], ["sink"], ["agent", "sink"], ["wait"]])
def test_a_command_line_that_is_wrong_is_the_users_fault(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: modelferry" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InvalidSpec("spec.a: is wrong"), 2, "modelferry: InvalidSpec: spec.a: is wrong\n"),
        (DigestMismatch("a.bin: wrong"), 3, "modelferry: DigestMismatch: a.bin: wrong\n"),
        (ServerBusy("a.bin: 503"), 3, "modelferry: ServerBusy: a.bin: 503\n"),
        (InsufficientSpace("5 bytes short", shortfall=5), 4, "modelferry: InsufficientSpace: 5 bytes short\n"),
        (Waiting("not yet", reason="NotReady"), 4, "modelferry: NotReady: not yet\n"),
        (KeyboardInterrupt(), 130, "modelferry: interrupted\n"),
        (None, 0, ""),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    raising: ModuleType, capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int, said: str
) -> None:
    raising.error = error  # type: ignore[attr-defined]
    assert main(["test"]) == code
    assert capsys.readouterr().err == said


def test_a_bug_keeps_its_traceback(raising: ModuleType) -> None:
    raising.error = ZeroDivisionError()  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        main(["test"])


@pytest.mark.parametrize("words", ["agent prepare", "agent fetch", "agent checkpoint", "wait"])
def test_an_agent_does_not_load_what_only_the_operator_needs(words: str) -> None:
    script = (
        "import sys; from modelferry.cli.main import main\n"
        f"try: main({[*words.split(), '--help']!r})\n"
        "except SystemExit: pass\n"
        "print('loaded:', sorted({'kopf', 'kubernetes', 'rich', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_output_that_nobody_reads_any_more_is_no_bug(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [str(Path(sys.executable).with_name("modelferry")), "wait", str(tmp_path)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("command", "redirect", "code", "said"),
    [
        ("inspect", ">/dev/full", 4, "modelferry: OutputLost: standard output: No space left on device;"),
        ("inspect --json", ">/dev/full", 4, "modelferry: OutputLost: standard output: No space left on device;"),
        ("inspect", ">&-", 0, ""),
        ("inspect --json", ">&- 2>&-", 0, ""),
        ("verify", "2>&-", 2, ""),
        ("verify", "2>/dev/full", 2, ""),
    ],
)
def test_output_that_cannot_be_written_keeps_the_exit_code_sane(
    tmp_path: Path, command: str, redirect: str, code: int, said: str
) -> None:
    (tmp_path / ".modelferry").mkdir()
    program = Path(sys.executable).with_name("modelferry")
    shell = ["sh", "-c", f'exec "{program}" {command} "$1" {redirect}', "sh", str(tmp_path)]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said) if said else done.stderr == ""


def test_a_file_never_gets_the_number_of_a_closed_stream() -> None:
    """Otherwise what is printed to number 2 would be written into it."""
    show = (
        "import os; from modelferry.cli.standard_streams import open_closed_streams as o; o();"
        "os.write(int(os.environ['OUT']), str(os.open('/dev/zero', os.O_RDONLY) > 2).encode())"
    )
    shell = ["sh", "-c", 'exec 9>&1; OUT=9 exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, show]
    assert subprocess.run(shell, capture_output=True, text=True).stdout == "True"


def test_the_helper_commands_make_and_remove_a_directory_and_leave_their_outcome(tmp_path: Path) -> None:
    outcome, root = tmp_path / "outcome", tmp_path / "root"
    root.mkdir()
    where = ["--root", str(root), "--path", "speech/chattts", "--outcome", str(outcome)]
    owner = ["--uid", str(os.getuid()), "--gid", str(os.getgid())]
    assert main(["agent", "prepare", *where, *owner]) == 0
    assert (root / "speech" / "chattts").is_dir()
    assert Outcome.decode(outcome.read_text()) == Outcome(True)
    assert main(["agent", "remove", *where]) == 0
    assert list(root.iterdir()) == []
    assert Outcome.decode(outcome.read_text()) == Outcome(True)


@pytest.mark.parametrize("agent", ["prepare", "remove"])
def test_a_helper_command_outside_of_its_root_is_refused(
    agent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = tmp_path / "outcome"
    words = ["agent", agent, "--root", str(tmp_path), "--path", "../etc", "--outcome", str(outcome)]
    assert main(words) == 2
    left = Outcome.decode(outcome.read_text())
    assert left is not None
    assert (left.ok, left.reason) == (False, "InvalidSpec")
    assert "NAMESPACE/NAME" in capsys.readouterr().err
