"""The completion scripts, the bash one in a real shell; a database that is away says nothing, and at once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from billing import CULPRIT
from command_line import Here, environment, run, write

from secateur.cli.commands import completion


@pytest.fixture
def url(billing_url: str) -> str:
    return billing_url


def test_names_come_from_the_database(here: Here, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "AT_LEAST", 30.0)  # the machine may be busy
    made = here("cancel", "--app", "billing", "--if", CULPRIT, "--yes", "--json", url=url).json["id"]
    waiting = here("runs", "--app", "billing", "--status", "queued", "--json", url=url).json[0]["id"]
    config = write(tmp_path, "c.toml", f'[contexts.prod]\ndatabase = "{url}"\n')
    for line, found in (
        ("secateur cancel --app b", ["billing"]),
        ("secateur pause billing v", ["vendor-syncs\tbilling"]),
        (f"secateur undo {made[:8]}", [f"{made}\tactive billing {CULPRIT}"]),
        (f"secateur run {waiting}", [f"{waiting}\tqueued billing vendor-syncs"]),
        (f"secateur --config {config} --context ", ["prod"]),
        (f"secateur --config {config} --context prod cancel --app ", ["billing"]),
    ):
        done = here("completion", "fish", "--line", line, url=url)
        assert (done.code, done.err) == (0, "")
        if "run " in line:
            assert done.out.startswith(waiting)
        else:
            assert done.out.splitlines() == found, line


@pytest.mark.parametrize("line", ["secateur cancel --app b", "secateur undo ", "secateur --engine "])
def test_a_database_that_does_not_answer_says_nothing(line: str, here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"postgresql://a@127.0.0.1:{silent.getsockname()[1]}/b"
        for url in (silent_url, "postgresql://a@127.0.0.1:1/b", "mysql://x", None):
            done = here("completion", "bash", "--line", line, url=url)
            assert (done.code, done.out, done.err) == (0, "", "")


def test_bash_completes(url: str) -> None:
    script = f"""
secateur() {{ "{sys.executable}" -m secateur.cli "$@"; }}
source <(secateur completion bash)
COMP_LINE='secateur hist'; COMP_POINT=13; _secateur; echo "${{COMPREPLY[*]}}"
COMP_LINE='secateur runs --status=q'; COMP_POINT=24; _secateur; echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment(url), check=True)
    assert (done.stdout, done.stderr) == ("history\nqueued\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    done = run("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"secateur completion {shell} --line" in done.out


ZSH = """
autoload -Uz compinit && compinit -D
source <(secateur completion zsh)
_describe() { print -l -- "${(@P)2}" }
_files() { print files }
words=(secateur hist); CURRENT=2; _secateur
words=(secateur token create x --scope ''); CURRENT=6; _secateur
words=(secateur nonsense x); CURRENT=3; _secateur
"""
FISH = """
secateur completion fish | source
complete -C "secateur hist"; complete -C "secateur token create x --scope "
"""


@pytest.mark.parametrize(
    ("command", "script", "found"),
    [
        (["zsh", "-f", "-c"], ZSH, "history:list cancellations, newest first\nviewer\noperator\nfiles\n"),
        (["fish", "--no-config", "-c"], FISH, "history\tlist cancellations, newest first\noperator\nviewer\n"),
    ],
)
def test_other_shells_complete(command: list[str], script: str, found: str, url: str, tmp_path: Path) -> None:
    """In the shells themselves, where they are installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    program = tmp_path / "secateur"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m secateur.cli "$@"\n')
    program.chmod(0o755)
    variables = environment(url)
    variables |= {"PATH": f"{tmp_path}:{variables['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([*command, script], capture_output=True, text=True, env=variables, check=True)
    assert (done.stdout, done.stderr) == (found, "")
