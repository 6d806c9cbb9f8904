"""`ocp-sim serve` as a process: ready line, settings, a clean end."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-c", "from ocp_sim.cli import main; main()", "serve", "--port", "0"]


def started(*options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def status(ready: dict[str, Any]) -> dict[str, Any]:
    with urllib.request.urlopen(f"{ready['url']}/_sim/status", timeout=10) as response:
        return dict(json.load(response))


def test_it_listens_says_so_and_ends_at_once_when_told() -> None:
    process, ready = started("--calls", "5", "--seed", "9", "--calm")
    try:
        assert ready["event"] == "sim.ready"
        assert ready["clock_scale"] == 1
        assert status(ready)["world"]["calls"] == 5
        assert status(ready)["world"]["seed"] == 9
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_two_processes_given_the_same_clock_live_in_the_same_moment_and_world() -> None:
    clock = ["--clock-origin-ms", "1760000400000", "--clock-scale", "3600",
             "--clock-real-origin", str(time.time() - 5)]  # fmt: skip
    both = [started("--calls", "3", *clock) for _ in range(2)]
    try:
        one, two = (status(ready) for _, ready in both)
        assert abs(one["now_ms"] - two["now_ms"]) < 3600 * 1000
        assert one["now_ms"] > 1760000400000 + 5 * 3600 * 1000
        assert one["world"] == two["world"]
    finally:
        for process, _ in both:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize(("text", "told"), [
    ("callz = 1\n", "callz"),
    ("[export_faults]\nscript = [{op = 'create', fault = 'cut'}]\n", "create.cut"),
    ("[world.faults]\nlost = 0.9\ncorrupt_stream = 0.9\n", "more calls than there are"),
])  # fmt: skip
def test_settings_that_make_no_sense_end_it_with_2_and_a_word(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "sim.toml"
    file.write_text(text)
    done = subprocess.run(
        [*COMMAND, "--config", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
