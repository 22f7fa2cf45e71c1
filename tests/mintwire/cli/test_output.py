"""The command's output: quoted text cannot control a terminal, JSON stays JSON, and a closed pipe is quiet."""

import ast
import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import pytest

from mintwire.cli.client import Answer, refusal
from mintwire.cli.output import show, show_many, tell
from mintwire.terminal import FileOutput, OutputClosed, json_text, printable, write_json, write_line, write_text
from tests.mintwire.cli.conftest import Mintwire
from tests.servers import ROOT

# Clear the screen, move the cursor, reverse the line, ring, end a line; both forms of the control sequence.
HOSTILE = "\x1b[2J\x9b1A\u202egnp.exe\u2066\a\r\nok: all is well\u2028\x7f\U000e0041"
JOINERS = "\u200c\u200d"


def is_unseen(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in JOINERS


def test_no_character_that_cannot_be_seen_is_printed() -> None:
    """A list of characters would miss some; this checks all of them."""
    for character in map(chr, range(sys.maxunicode + 1)):
        shown = printable(character)
        assert not any(map(is_unseen, shown)), hex(ord(character))
        if character.isprintable() or character in JOINERS:
            assert shown == character


def test_json_with_escapes_says_the_same() -> None:
    value = {HOSTILE: [HOSTILE, {"é": "\ud800 日本 \\x1b"}]}
    text = json_text(value)
    assert not any(map(is_unseen, text.replace("\n", "")))
    assert json.loads(text) == value
    assert "é" in text
    assert json_text(value, None).count("\n") == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Escapes that the stream would use are not valid JSON."""
    value = {"é\ufffd": HOSTILE}
    raw = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(raw, encoding=encoding, errors="backslashreplace"))
    write_json(value)
    assert json.loads(raw.getvalue().decode(encoding)) == value


def test_tables_and_lists_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a line end in it must not pass for another row, nor shift the columns."""
    rows: list[dict[str, Any]] = [{"id": "1", "name": HOSTILE}, {"id": "2", "name": [HOSTILE, {HOSTILE: None}]}]
    show_many(rows, ("id", "name"), as_json=False)
    show({"name": HOSTILE, HOSTILE: "x"}, as_json=False)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 5
    assert not any(map(is_unseen, out.replace("\n", "")))
    assert "\\x1b[2J\\x9b1A\\u202egnp.exe" in out


def test_refusals_are_told_without_their_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"detail": HOSTILE, "code": HOSTILE, "errors": {HOSTILE: [HOSTILE]}}
    tell(refusal(Answer(422, {}, value)))
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 2
    assert not any(map(is_unseen, err.replace("\n", "")))


async def test_names_from_a_service_cannot_steer_the_terminal(mintwire: Mintwire) -> None:
    """End to end: a partner's name, in a table, in a list of members and as JSON."""
    hostile = "Evil\x1b]0;owned\a \u202emoc.rotut"
    made = await mintwire.json("partner", "create", hostile, "--prefix", "EVIL")
    assert made["name"] == hostile
    for arguments in (("partner", "list"), ("partner", "show", made["id"]), ("audit", "list")):
        for more in ((), ("--json",)):
            out = (await mintwire(*arguments, *more)).out
            assert not any(map(is_unseen, out.replace("\n", ""))), arguments
    assert "Evil\\x1b]0;owned\\x07 \\u202emoc.rotut" in (await mintwire("partner", "list")).out
    refused = await mintwire("partner", "show", hostile, code=1)
    assert not any(map(is_unseen, refused.err.replace("\n", "")))


def test_commands_write_through_one_door() -> None:
    """A plain `print` would bring both faults back: control sequences, and tracebacks at a closed pipe."""
    found = []
    for path in (ROOT / "mintwire" / "cli").rglob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        found += [f"{path.name}: {name}" for name in names & {"print", "stdout", "stderr", "__stdout__", "__stderr__"}]
    assert found == []


def test_a_file_goes_to_a_pipe_as_it_is_and_to_a_terminal_as_text(tmp_path: Path) -> None:
    """A code's customer may have a name that controls a terminal; output piped into a file must stay unchanged."""
    content = "code,customer_name\nA1,Ev\x1b[2Jil é\n".encode()
    program = "import sys; from mintwire.terminal import FileOutput; f = FileOutput()\n"
    program += f"for n in range({len(content)}): f.write({content!r}[n:n+1])"
    piped = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    assert piped.stdout == content
    outer, inner = pty.openpty()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=inner)
    os.close(inner)
    shown = os.read(outer, 10_000).decode()
    os.close(outer)
    assert shown.splitlines() == ["code,customer_name", "A1,Ev\\x1b[2Jil é"]


class TestClosedPipes:
    def test_a_reader_that_is_gone_is_told_from_other_faults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for write in (write_line, write_json, write_text, lambda text: FileOutput().write(text.encode())):
            with broken_pipe() as pipe, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", pipe)
                with pytest.raises(OutputClosed):
                    write("text")

    @pytest.mark.parametrize(
        ("arguments", "stream"),
        [
            (("stack", "status"), "stdout"),
            (("stack", "status", "--json"), "stdout"),
            (("--help",), "stdout"),
            (("code", "list", "--help"), "stdout"),
            (("--version",), "stdout"),
            (("doctor",), "stdout"),
            (("code", "list"), "stderr"),
            (("no-such-command",), "stderr"),
        ],
    )
    def test_a_command_whose_reader_is_gone_ends_without_a_traceback(
        self, arguments: tuple[str, ...], stream: str, tmp_path: Path
    ) -> None:
        with broken_pipe() as pipe:
            code, said = run_into(pipe, arguments, stream, tmp_path)
        assert said == ""
        assert code in (1, 2, 141)

    def test_a_full_disk_is_told(self, tmp_path: Path) -> None:
        """A truncated export would look complete."""
        with Path("/dev/full").open("w") as full:
            code, said = run_into(full, ("stack", "status"), "stdout", tmp_path)
        assert (code, said) == (1, "mintwire: the output cannot be written: No space left on device\n")

    def test_a_terminal_of_another_encoding_shows_escapes(self, tmp_path: Path) -> None:
        finished = subprocess.run(
            [sys.executable, "-c", "from mintwire.__main__ import main; main()", "code", "show", "é"],
            env={"PATH": os.environ["PATH"], "STACK_DIR": str(tmp_path), "PYTHONIOENCODING": "ascii"},
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in finished.stderr


@contextmanager
def broken_pipe() -> Iterator[TextIO]:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w")
    yield file
    # The unwritten rest is still in the buffer.
    with suppress(BrokenPipeError):
        file.close()


def run_into(output: TextIO, arguments: tuple[str, ...], stream: str, folder: Path) -> tuple[int, str]:
    """Run the command with one stream redirected, and return its exit code and the text on the other."""
    is_out = stream == "stdout"
    finished = subprocess.run(
        [sys.executable, "-m", "mintwire", *arguments],
        env={**os.environ, "STACK_DIR": str(folder), "MINTWIRE_CODES_URL": "http://127.0.0.1:1"},
        cwd=ROOT,
        check=False,
        text=True,
        stdout=output if is_out else subprocess.PIPE,
        stderr=subprocess.PIPE if is_out else output,
    )
    return finished.returncode, finished.stderr if is_out else finished.stdout
