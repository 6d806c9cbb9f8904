"""`python -m bench [names…] [--write]`: measures, prints markdown, keeps it in docs/benchmarks.md.

A row of the page is a module of this package with `run() -> Section`. Without names all are
measured. Each measured section carries its own command, date and machine, so a section that was
not measured again keeps saying when and where it was.
"""

import argparse
import importlib
import pkgutil
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import bench
from bench.harness import ROOT, Section, machine

PAGE: Final = ROOT / "docs" / "benchmarks.md"
END: Final = "<!-- bench: new sections above -->"


def main(arguments: Sequence[str]) -> None:
    """Runs what is asked for, in the order of names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures and prints.")
    parser.add_argument("names", nargs="*", help="measurements; all when none is named")
    parser.add_argument("--write", action="store_true", help=f"rewrite {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args(arguments)
    runs = measurements(asked.names)
    if not runs:
        parser.error("nothing of that name can be measured")
    for name, run in runs.items():
        text = measured(name, run)
        print(text, flush=True)
        if asked.write:
            keep(name, text)


def measurements(names: Sequence[str]) -> dict[str, Callable[[], Section]]:
    """The named modules that measure something, by name; exits on a name that is none."""
    files = {module.name for module in pkgutil.iter_modules(bench.__path__)} - {"__main__"}
    if unknown := sorted(set(names) - files):
        raise SystemExit(f"Nothing is called {', '.join(unknown)}: see the files of bench/.")
    modules = {name: importlib.import_module(f"bench.{name}") for name in sorted(names or files)}
    return {name: module.run for name, module in modules.items() if hasattr(module, "run")}


def measured(name: str, run: Callable[[], Section]) -> str:
    """The section as markdown, with command, date and machine."""
    began = time.monotonic()
    section = run()
    took_s = time.monotonic() - began
    facts = (
        f"`python -m bench {name}`",
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"took {took_s:,.0f} s",
        machine(section.libraries),
    )
    return f"{section.markdown()}\nMeasured: {' · '.join(facts)}.\n"


def keep(name: str, text: str) -> None:
    """Replaces the section on the page, or adds it at the end of the measured part."""
    page = PAGE.read_text(encoding="utf-8")
    first, last = f"<!-- bench: {name} -->", f"<!-- end of {name} -->"
    block = f"{first}\n{text}{last}"
    pattern = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    if pattern.search(page):
        page = pattern.sub(lambda _: block, page)
    elif END in page:
        page = page.replace(END, f"{block}\n\n{END}")
    else:
        raise SystemExit(f"{PAGE.relative_to(ROOT)} has no line `{END}`: put it back.")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    # Ended from outside, too, it removes its gigabytes and its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    main(sys.argv[1:])
