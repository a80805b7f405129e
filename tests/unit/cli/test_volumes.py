"""volflow.cli.volumes: make, list, show and delete."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from tests.unit.cli.conftest import INITIATOR, Shell

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_volume_is_made_shown_listed_and_deleted(sh: Shell) -> None:
    """When all goes well, each command tells the volume's id and state."""
    made = sh.ok("volume", "create", "--size", "2", "--backend", "lab", "--name", "data")
    volume_id = made.split()[1]
    assert "available" in made
    assert volume_id in sh.ok("volume", "list")
    assert sh.ok("volume", "show", volume_id) == made
    assert f"volume {volume_id} is deleted\n" == sh.ok("volume", "delete", volume_id)
    assert [] == sh.json("volume", "list")


def test_json_has_the_fields_of_the_record(sh: Shell) -> None:
    """When JSON is asked for, times are ISO-8601 in UTC and nothing is left out."""
    found = sh.json("volume", "create", "--size", "1", "--backend", "lab", "--multiattach")
    assert set(found) == {
        *("id", "name", "size_gib", "backend", "status", "attach_status", "multiattach"),
        *("readonly", "provider_location", "encryption_key_id", "qos_specs", "operation_id"),
        *("created_at", "updated_at", "attachments"),
    }
    assert found["created_at"].endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(found["created_at"])
    assert abs(age.total_seconds()) < 60
    assert sh.json("volume", "show", found["id"]) == found
    del found["attachments"]
    assert [found] == sh.json("volume", "list")
    assert {"id": found["id"], "deleted": True} == sh.json("volume", "delete", found["id"])


def test_a_creation_with_an_own_id_may_be_repeated(sh: Shell) -> None:
    key = str(uuid.uuid4())
    assert key == sh.volume("--id", key) == sh.volume("--id", key)
    words = ("volume", "create", "--size", "9", "--backend", "lab", "--id", key)
    assert "with other arguments" in sh.refused(4, *words)


def test_qos_specs_are_json(sh: Shell) -> None:
    volume_id = sh.volume("--qos-specs", '{"iops": 100}')
    assert {"iops": 100} == sh.json("volume", "show", volume_id)["qos_specs"]


def test_a_list_is_filtered_and_paged(sh: Shell) -> None:
    ids = [sh.volume(), sh.volume(), sh.volume(backend="faulty")]
    assert ids[:1] == [v["id"] for v in sh.json("volume", "list", "--limit", "1")]
    assert ids[1:] == [v["id"] for v in sh.json("volume", "list", "--marker", ids[0])]
    assert ids[2:] == [v["id"] for v in sh.json("volume", "list", "--backend", "faulty")]
    assert [] == sh.json("volume", "list", "--status", "in-use")


def test_an_empty_table_leaves_the_output_empty(sh: Shell) -> None:
    """When there is nothing, scripts that count lines count none."""
    sh.ok("db", "upgrade")
    done = sh("volume", "list")
    assert (0, "", "no volumes\n") == (done.exit_code, done.stdout, done.stderr)


def test_tables_fit_80_columns_and_keep_ids_in_one_piece(sh: Shell) -> None:
    """When names are long or steer the terminal, they are folded and shown as text."""
    volume_id = sh.volume("--name", "a\x1b[31m [bold]long[/bold] name " * 4)
    sh.attach(volume_id)
    operation_id = sh.operations(volume_id)[0]["id"]
    for words, kept in [
        (("volume", "list"), volume_id),
        (("volume", "show", volume_id), volume_id),
        (("operation", "list"), operation_id),
        (("operation", "show", operation_id), operation_id),
    ]:
        for columns in ("80", "40"):
            done = sh(*words, env={"COLUMNS": columns})
            assert kept in done.stdout
            assert "\x1b" not in done.stdout
            assert max(map(len, done.stdout.splitlines())) <= 80
    assert "[bold]" in sh.ok("volume", "list")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, ["volume", "create"]),
        (2, ["volume", "create", "--size", "x", "--backend", "lab"]),
        (2, ["volume", "create", "--size", "0", "--backend", "lab"]),
        (2, ["volume", "create", "--size", "1", "--backend", "lab", "--name", "x" * 300]),
        (2, ["volume", "create", "--size", "1", "--backend", "lab", "--qos-specs", "[1]"]),
        (2, ["volume", "create", "--size", "1", "--backend", "lab", "--qos-specs", "{"]),
        (2, ["volume", "create", "--size", "1", "--backend", "lab", "--id", "x"]),
        (3, ["volume", "create", "--size", "1", "--backend", "other"]),
        (2, ["volume", "list", "--status", "bogus"]),
        (2, ["volume", "list", "--limit", "0"]),
        (2, ["volume", "list", "--marker", "x"]),
        (2, ["volume", "show"]),
        (2, ["volume", "show", "x"]),
        (3, ["volume", "show", UNKNOWN]),
        (2, ["volume", "delete", "x"]),
        (3, ["volume", "delete", UNKNOWN]),
        (2, ["volume", "bogus"]),
        (2, ["volume", "list", "--bogus"]),
    ],
)
def test_bad_input_has_its_exit_code_and_changes_nothing(
    sh: Shell, code: int, words: list[str]
) -> None:
    sh.volume()
    before = sh.state()
    sentence = sh.refused(code, *words)
    assert sentence == sh.refused_json(code, *words)["message"]
    assert before == sh.state()


def test_a_volume_in_use_is_not_deleted(sh: Shell) -> None:
    volume_id = sh.volume()
    sh.attach(volume_id)
    before = sh.state()
    assert "is in-use" in sh.refused(4, "volume", "delete", volume_id)
    assert before == sh.state()


def test_a_refused_creation_leaves_nothing(sh: Shell) -> None:
    sh.faults("create_volume refuse")
    words = ("volume", "create", "--size", "1", "--backend", "faulty")
    assert "no create_volume today" in sh.refused(5, *words)
    assert [] == sh.json("volume", "list")


def test_attachments_are_shown_live_or_all(sh: Shell) -> None:
    volume_id = sh.volume()
    attachment = sh.attach(volume_id)
    assert [attachment["id"]] == [
        a["id"] for a in sh.json("volume", "show", volume_id)["attachments"]
    ]
    assert INITIATOR in sh.ok("volume", "show", volume_id)
    sh.ok("detach", volume_id)
    assert [] == sh.json("volume", "show", volume_id)["attachments"]
    assert 1 == len(sh.json("volume", "show", volume_id, "--all")["attachments"])


def test_queries_answer_while_a_backend_is_down(sh: Shell) -> None:
    volume_id = sh.volume(backend="faulty")
    sh.faults("check_for_setup_error refuse")
    assert [volume_id] == [v["id"] for v in sh.json("volume", "list")]
    assert volume_id in sh.ok("volume", "show", volume_id)
    assert "no check_for_setup_error today" in sh.refused(5, "volume", "delete", volume_id)
    assert sh.volume(backend="lab")
