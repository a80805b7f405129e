"""volflow.cli.reconcile."""

from __future__ import annotations

import json

from tests.unit.cli.conftest import Shell


def lose_export(sh: Shell, volume_id: str) -> None:
    """Take an export away behind volflow's back."""
    (sh.directory / "images" / "exports" / f"{volume_id}.json").unlink()


def test_nothing_differs(sh: Shell) -> None:
    sh.attach(sh.volume())
    assert "nothing differs\n" == sh.ok("reconcile")
    assert [] == sh.json("reconcile", "--backend", "lab")


def test_a_difference_is_named_with_what_helps(sh: Shell) -> None:
    volume_id = sh.volume()
    sh.attach(volume_id)
    lose_export(sh, volume_id)
    done = sh("reconcile")
    assert 6 == done.exit_code
    assert "export-missing" in done.stdout
    assert volume_id in " ".join(done.stdout.split())
    assert "volflow reconcile --repair" in done.stderr
    (found,) = json.loads(sh("reconcile", "--json").stdout)
    assert ("export-missing", volume_id, False) == (
        found["kind"],
        found["volume_id"],
        found["repaired"],
    )


def test_a_difference_is_repaired(sh: Shell) -> None:
    volume_id = sh.volume()
    sh.attach(volume_id)
    lose_export(sh, volume_id)
    assert "repaired" in sh.ok("reconcile", "--repair")
    assert "nothing differs\n" == sh.ok("reconcile")


def test_a_repair_that_is_refused_says_why(sh: Shell) -> None:
    volume_id = sh.volume(backend="faulty")
    sh.attach(volume_id)
    (sh.directory / "faulty-images" / "exports" / f"{volume_id}.json").unlink()
    sh.faults("initialize_connection refuse")
    done = sh("reconcile", "--repair")
    assert 6 == done.exit_code
    assert "no initialize_connection today" in " ".join(done.stdout.split())
    sh.faults()
    assert "nothing differs\n" == sh.ok("reconcile")  # what failed had its effect


def test_wrong_words_are_refused(sh: Shell) -> None:
    sh.volume()
    assert "--repair" in sh.refused(2, "reconcile", "--force")
    assert "nowhere" in sh.refused(3, "reconcile", "--backend", "nowhere")
