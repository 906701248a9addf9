"""What is said of the machine that a process runs on."""

import sys

import pytest

from voxqueue import machine

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (("x86_64", "AMD EPYC 9454", 16, []), "x86_64, 16 x AMD EPYC 9454"),
        (("x86_64", "AMD EPYC 9454", 16, ["NVIDIA H200"]), "x86_64, 16 x AMD EPYC 9454, NVIDIA H200"),
        (("aarch64", "Neoverse-N1", 4, ["B", "A", "B"]), "aarch64, 4 x Neoverse-N1, A, 2 x B"),
    ],
)
def test_machines_that_are_alike_have_one_name(facts: tuple[str, str, int, list[str]], name: str) -> None:
    assert machine.host_class(*facts) == name


def test_what_this_machine_is_has_a_size() -> None:
    found = machine.look()
    assert 0 < found.process_memory < found.memory
    assert 0 < found.memory_available <= found.memory
    assert found.cores >= 1
    assert found.host_class == machine.look().host_class, "the same at every look"


def test_versions_are_read_without_importing_anything() -> None:
    assert machine.versions()["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert machine.versions()["voxqueue"]
    assert "nonesuch" not in machine.versions()
