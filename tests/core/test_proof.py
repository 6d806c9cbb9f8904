"""Laws of chains and trees: what holds for any of them, and that any change is found."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core import proof
from ocp_ingest.core.proof import (
    PART_LEAVES,
    ZERO,
    Entry,
    Link,
    Step,
    Tip,
    Tree,
    broken_at,
    climb,
    encoded,
    extend,
    leaf_line,
    link_line,
    node,
    order_of,
    prove,
    root_of,
    sha256,
    start,
)
from tests.contracts import samples

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
entries = st.builds(
    Entry, st.just("c 1"), texts, hashes, st.sampled_from(["stream", "system"]),
    st.integers(0, 2**48), st.sampled_from(["", "ab" * 32]),
)  # fmt: skip
DAY = "2026-11-23"


def leaves(count: int) -> list[str]:
    return [sha256(f"leaf {n}\n".encode()) for n in range(count)]


def rfc_6962(nodes: list[str]) -> str:
    """The tree of RFC 6962 section 2.1 with our nodes: split at the largest power of two."""
    if len(nodes) == 1:
        return nodes[0]
    half = 1
    while half * 2 < len(nodes):
        half *= 2
    return node(rfc_6962(nodes[:half]), rfc_6962(nodes[half:]))


# -- chains ----------------------------------------------------------------------------------------


@given(st.lists(entries, max_size=8), st.data())
def test_a_chain_made_in_pieces_is_the_chain_made_at_once(
    given_: list[Entry], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(given_)))
    first = extend(start("c 1"), given_[:cut], DAY)
    tip = Tip("c 1", first[-1].n, first[-1].link) if first else start("c 1")
    assert first + extend(tip, given_[cut:], DAY) == extend(start("c 1"), given_, DAY)


@given(st.lists(entries, min_size=1, max_size=6), st.data())
def test_any_change_of_a_link_breaks_the_chain(given_: list[Entry], data: st.DataObject) -> None:
    links = extend(start("c 1"), given_, DAY)
    assert broken_at(links) is None
    at = data.draw(st.integers(0, len(links) - 1))
    field = data.draw(
        st.sampled_from(["event_hash", "source", "received_at_ms", "body_hash", "link", "n"])
    )
    changed = list(links)
    changed[at] = _changed(links[at], field)
    assert broken_at(changed) is not None
    assert broken_at(links[:at] + links[at + 1 :]) is not None or at == len(links) - 1
    assert broken_at([*links[:at], links[at], links[at], *links[at + 1 :]]) is not None


def _changed(link: Link, field: str) -> Link:
    replace = msgspec.structs.replace
    if field == "n":
        return replace(link, n=link.n + 1)
    if field == "link":
        return replace(link, link=ZERO)
    held = getattr(link.entry, field)
    return replace(link, entry=replace(link.entry, **{field: held + 1 if held.__class__ is int else
                                                      f"{held}x"}))  # fmt: skip


@given(texts, texts)
def test_calls_never_share_a_line_an_order_or_an_encoding(one: str, other: str) -> None:
    same = one == other or {one, other} == {"", "-"}
    assert (encoded(one) == encoded(other)) is same
    assert encoded(one).isascii()
    assert not set(encoded(one)) & set(" \n\t")
    assert (order_of(one) == order_of(other)) is same


def test_a_very_long_name_still_has_an_order_of_its_own() -> None:
    one, other = "x" * 5_000, "x" * 5_000 + "y"
    assert order_of(one) != order_of(other)
    assert len(order_of(one)) < 1_000


def test_lines_are_what_the_documentation_says() -> None:
    event = samples.received()
    [link] = extend(start("c1"), [proof.entry_of(event)], DAY)
    line = link_line(1, ZERO, link.entry)
    assert line == (f"link 1 c1 {ZERO} {link.entry.event_hash} stream 0 -\n".encode())
    assert link.link == hashlib.sha256(line).hexdigest()
    assert leaf_line(Tip("a b", 3, "ab" * 32)) == f"leaf a%20b {'ab' * 32} 3\n".encode()


def test_printf_and_sha256sum_give_the_same(tmp_path: Path) -> None:
    left, right = leaves(2)
    said = subprocess.run(
        ["sh", "-c", f"printf 'node %s %s\\n' {left} {right} | sha256sum"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split()[0] == node(left, right)


# -- trees -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [*range(1, 70), 127, 128, 129, 255, 256, 257])
def test_the_tree_of_any_size_is_that_of_rfc_6962(count: int) -> None:
    assert root_of(leaves(count)) == rfc_6962(leaves(count))


@pytest.mark.parametrize("count", [*range(1, 34), 64, 65, 100])
def test_every_leaf_of_a_tree_of_any_size_is_proved(count: int) -> None:
    all_leaves = leaves(count)
    root = root_of(all_leaves)
    for index, leaf in enumerate(all_leaves):
        steps = prove(all_leaves, index)
        assert climb(leaf, steps) == root
        assert len(steps) <= (count - 1).bit_length()


@given(st.integers(1, 200), st.data())
def test_a_proof_proves_no_other_leaf_and_no_other_root(count: int, data: st.DataObject) -> None:
    all_leaves = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    steps = prove(all_leaves, index)
    root = root_of(all_leaves)
    assert climb(sha256(b"another"), steps) != root
    if steps:
        at = data.draw(st.integers(0, len(steps) - 1))
        other = steps[at].other
        flipped = f"{int(other[0], 16) ^ 1:x}{other[1:]}"
        assert climb(all_leaves[index], _with(steps, at, Step(steps[at].side, flipped))) != root
        turned = Step("left" if steps[at].side == "right" else "right", other)
        assert climb(all_leaves[index], _with(steps, at, turned)) != root
        assert climb(all_leaves[index], steps[:at] + steps[at + 1 :]) != root


def _with(steps: list[Step], at: int, step: Step) -> list[Step]:
    return [*steps[:at], step, *steps[at + 1 :]]


@given(st.integers(1, 60), st.data())
def test_a_changed_added_moved_or_dropped_leaf_changes_the_root(
    count: int, data: st.DataObject
) -> None:
    all_leaves = leaves(count)
    root = root_of(all_leaves)
    at = data.draw(st.integers(0, count - 1))
    assert root_of([*all_leaves[:at], sha256(b"x"), *all_leaves[at + 1 :]]) != root
    assert root_of([*all_leaves, all_leaves[at]]) != root
    assert root_of([*all_leaves[:at], *all_leaves[at + 1 :]]) != root
    if at:
        all_leaves[at - 1], all_leaves[at] = all_leaves[at], all_leaves[at - 1]
        assert root_of(all_leaves) != root


@given(st.integers(1, 100), st.integers(0, 5), st.data())
def test_a_tree_over_parts_of_a_power_of_two_is_the_tree(
    count: int, power: int, data: st.DataObject
) -> None:
    all_leaves, size = leaves(count), 2**power
    parts = [all_leaves[at : at + size] for at in range(0, count, size)]
    assert root_of(map(root_of, parts)) == root_of(all_leaves)
    index = data.draw(st.integers(0, count - 1))
    inside = prove(parts[index // size], index % size)
    above = prove(map(root_of, parts), index // size)
    assert inside + above == prove(all_leaves, index)


def test_parts_of_a_day_are_a_power_of_two() -> None:
    assert PART_LEAVES & (PART_LEAVES - 1) == 0


def test_asking_for_the_root_changes_nothing() -> None:
    tree = Tree(watch=0)
    assert tree.root == ZERO
    for leaf in leaves(5):
        tree.add(leaf)
        assert tree.root == tree.root
        assert climb(leaves(1)[0], tree.proof) == tree.root


def test_a_leaf_is_no_node_and_a_node_no_leaf() -> None:
    """Domain separation: a line says by its first word what it is."""
    left, right = leaves(2)
    assert sha256(f"leaf {left} {right}\n".encode()) != node(left, right)
