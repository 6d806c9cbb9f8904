"""Checks a certificate offline: signature, hashes, tree, sums and exceptions.

It needs nothing but the folder's files, and says what does not fit in sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ocp_ingest.core.errors import Damaged, OcpIngestError
from ocp_ingest.core.proof import Tree, root_of, sha256
from ocp_ingest.core.statement import CERTIFICATE, parse
from ocp_ingest.evidence.bundle import SUMS
from ocp_ingest.evidence.findings import UNREADABLE
from ocp_ingest.evidence.keys import check

Read = Callable[[str], bytes]  # a file of the folder; raises OSError


def problems(read: Read, names: set[str], key: str = "") -> list[str]:
    """What is wrong; nothing: the certificate is good. `key`: the id that its owner told you."""
    try:
        return list(_problems(read, names, key))
    except OcpIngestError as broken:
        return [broken.text]
    except (OSError, *UNREADABLE):
        return ["A file is missing or can't be read."]


def _problems(read: Read, names: set[str], key: str) -> Iterator[str]:
    statement = read("certificate.txt")
    said = parse(statement, CERTIFICATE)
    check(statement, read("certificate.txt.sig"), read("key.pem"), said["key"])
    if key and said["key"] != key:
        yield "It was signed by another key than the one that you named."
    listed = read(SUMS)
    if sha256(listed) != said["files"]:
        raise Damaged("The list of files is not the one that was signed.")
    sums = {name: digest for digest, name in map(_sum, listed.decode("ascii").splitlines())}
    for name, digest in sorted(sums.items()):
        if name not in names or sha256(read(name)) != digest:
            yield f"{name} is not what was certified."
    unlisted = names - set(sums) - {SUMS, "certificate.txt", "certificate.txt.sig"}
    for name in sorted(unlisted):
        yield f"{name} is none of the certificate's files."
    yield from _tree(read, said)
    yield from _figures(read, said)


def _sum(line: str) -> tuple[str, str]:
    digest, name = line.split("  ", 1)
    return digest, name


def _tree(read: Read, said: dict[str, str]) -> Iterator[str]:
    whole, count = Tree(), 0
    for line in read("parts.txt").decode("ascii").splitlines():
        name, _, leaves, root = line.split(" ")
        lines = read(name).splitlines(keepends=True)
        if root_of(map(sha256, lines)) != root or len(lines) != int(leaves):
            yield f"{name} does not give the root of its part."
        whole.add(root)
        count += len(lines)
    if (whole.root, str(count)) != (said["root"], said["leaves"]):
        yield "The calls do not give the root that was signed."
    if said["leaves"] != said["started"]:
        yield "There are not as many calls in the tree as were counted."


def _figures(read: Read, said: dict[str, str]) -> Iterator[str]:
    figures: dict[str, Any] = msgspec.json.decode(read("figures.json"))
    total = figures["total"]
    for term in ("started", "stored", "absent", "quarantined", "lost", "in_flight"):
        if str(total[term]) != said[term]:
            yield f"The figures and the certificate differ in `{term}`."
        if sum(line[term] for line in figures["lines_of_business"]) != total[term]:
            yield f"The lines of business do not add up to the total of `{term}`."
    states: Counter[str] = Counter()
    for file in figures["exceptions"]["files"]:
        for line in read(file["name"]).splitlines():
            states[msgspec.json.decode(line)["state"]] += 1
    for state in ("absent", "quarantined", "lost", "in_flight"):
        if states[state] != total[state]:
            yield f"{states[state]} exceptions are `{state}`, {total[state]} were counted."
    if said["law"] != "holds":
        yield "The law of conservation is broken on this day."
