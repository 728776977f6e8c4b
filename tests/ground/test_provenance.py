"""Digests follow imports and are blind to what changes no result."""

import hashlib
from pathlib import Path

import pytest

from mind_animator import provenance


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mind_animator" / "metrics").mkdir(parents=True)
    (tmp_path / "workflow_scripts").mkdir()
    (tmp_path / "mind_animator" / "__init__.py").write_text("")
    (tmp_path / "mind_animator" / "metrics" / "__init__.py").write_text("")
    (tmp_path / "mind_animator" / "metrics" / "a.py").write_text("def a():\n    return 1\n")
    (tmp_path / "mind_animator" / "metrics" / "b.py").write_text(
        "def b():\n    from .a import a\n    return a()\n"
    )
    (tmp_path / "mind_animator" / "other.py").write_text("x = 1\n")
    (tmp_path / "workflow_scripts" / "run.py").write_text("from mind_animator.metrics.b import b\nb()\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance.code_digest.cache_clear()
    provenance._parsed.cache_clear()
    provenance._files_of.cache_clear()
    return tmp_path


def digest() -> str:
    provenance.code_digest.cache_clear()
    provenance._parsed.cache_clear()
    provenance._files_of.cache_clear()
    return provenance.code_digest("workflow_scripts/run.py")


def test_comments_docstrings_and_formatting_change_nothing(project: Path):
    before = digest()
    path = project / "mind_animator" / "metrics" / "a.py"
    path.write_text('"""Text."""\n\n\ndef a():\n    """More text."""\n    # a comment\n    return  1\n')
    assert digest() == before


def test_logic_two_imports_away_changes_the_digest(project: Path):
    before = digest()
    (project / "mind_animator" / "metrics" / "a.py").write_text("def a():\n    return 2\n")
    assert digest() != before


def test_modules_that_are_not_reached_change_nothing(project: Path):
    before = digest()
    (project / "mind_animator" / "other.py").write_text("x = 2\n")
    assert digest() == before


def test_fingerprint_ignores_order_and_sees_values():
    assert provenance.fingerprint(a=1, b=[2]) == provenance.fingerprint(b=[2], a=1)
    assert provenance.fingerprint(a=1) != provenance.fingerprint(a=2)


def test_file_sha256_equals_hashlib(tmp_path: Path):
    content = bytes(range(256)) * 9000
    (tmp_path / "file").write_bytes(content)
    assert provenance.file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_versions_name_what_is_absent():
    versions = provenance.package_versions(["numpy", "no-such-distribution"])
    assert versions["no-such-distribution"] == "absent" and versions["numpy"][0].isdigit()
