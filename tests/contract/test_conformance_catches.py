"""The conformance kit finds drivers that break a promise, and says what broke."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.contract.broken_drivers import DRIVERS

pytest_plugins = "pytester"

CAUGHT_BY = {
    "LacksAMethod": "test_it_has_every_method",
    "SetsUpAnew": "test_setting_up_may_be_repeated",
    "ExportsAtOnce": "test_making_a_volume_may_be_repeated",
    "DeletesOnce": "test_deleting_a_volume_may_be_repeated",
    "BreaksOnQuotes": "test_a_name_is_only_a_name and shell",
    "DetachesWhenTold": "test_notifications_may_be_repeated",
    "OpensToAll": "test_an_export_gives_access_to_nobody",
    "ExportsOnce": "test_making_an_export_may_be_repeated",
    "MakesItsOwnCredentials": "test_the_given_credentials_are_used",
    "RegeneratesCredentials": "test_a_lost_export_is_restored_as_it_was",
    "RegeneratesSilently": "test_a_lost_export_is_restored_as_it_was",
    "KeepsOldCredentials": "test_ensuring_restores_the_recorded_credentials",
    "RemovesOnce": "test_removing_an_export_may_be_repeated",
    "NeedsItsLocation": "test_an_export_is_found_by_the_volumes_id",
    "ForgetsWhatItExported": "test_an_export_is_found_by_the_volumes_id",
    "LosesTheAccount": "test_what_is_repeated_cuts_nobody_off and create_export",
    "TrustsWhatIsThere": "half_way_is_repeated and create_export",
    "RemovesTheNameFirst": "half_way_is_repeated and remove_export",
    "LeavesTheLun": "test_removing_an_export_may_be_repeated",
    "LeavesTheAcl": "test_a_removed_export_takes_its_acl_along",
    "RemovesAll": "test_removing_one_export_leaves_the_others",
    "ListsAll": "test_what_is_not_volflows_is_left_alone",
    "TouchesOthers": "test_what_is_not_volflows_is_left_alone",
    "EnsuresAnew": "test_ensuring_what_is_there_changes_nothing",
    "ReturnsATuple": "test_the_answer_is_a_connection_info",
    "ReturnsAnotherColumn": "test_an_export_gives_access_to_nobody",
    "HasOnePath": "test_the_answer_is_a_connection_info and multipath",
    "WritesReadonly": "test_a_readonly_volume_connects",
    "AnswersAnew": "test_connecting_may_be_repeated",
    "DropsTheWholeAcl": "test_hosts_have_access_independently",
    "DropsTheHostEverywhere": "test_access_is_of_one_volume",
    "TerminatesOnce": "test_taking_access_away_may_be_repeated",
    "MindsTheCase": "test_the_case_of_an_initiator_makes_no_other_one",
    "InventsExports": "test_a_removed_export_connects_nobody",
    "EditsTheConnector": "test_arguments_are_left_as_they_are",
    "ForgetsWithItsProcess": "test_the_next_process_goes_on",
    "LetsAllIn": "test_only_who_has_access_gets_in",
    "AsksNoPassword": "test_only_the_right_secret_opens",
    "CutsWhatIsThere": "test_what_is_repeated_cuts_nobody_off and initialize",
    "LeavesTheSession": "test_taking_access_away_ends_the_session",
    "ShowsNoSession": "test_an_attach_in_use_is_not_undone",
    "CutsOffWhoIsInUse": "test_a_host_in_use_is_refused_to_be_cut_off",
    "TakesAnyConnector": "test_a_bad_connector_is_refused",
    "StumblesOverConnectors": "test_a_bad_connector_is_refused",
    "HasAKeyError": "test_a_volume_that_is_not_there_is_a_driver_error",
    "TellsTheSecret": "test_no_error_names_a_secret",
    "TellsTheSecretBehind": "test_no_error_names_a_secret",
    "SharesAScratchFile": "test_volumes_do_not_disturb_each_other",
    "PretendsWhenAway": "test_a_backend_that_is_away_is_a_driver_error",
}
OUT_OF_ORDER = """\
from tests.contract.broken_drivers import DRIVERS, Kit

class TestDriver(Kit):
    driver_class = DRIVERS[{name!r}]
"""


def run(pytester: pytest.Pytester, text: str, wanted: str) -> pytest.RunResult:
    pytester.makepyfile(text)
    return pytester.runpytest_inprocess(
        "-k", wanted, "-p", "no:cacheprovider", "-rs", "--tb=short"
    )


def test_every_broken_driver_is_tried():
    """When a broken driver is added, the table above says what has to find it."""
    assert DRIVERS.keys() == CAUGHT_BY.keys()


@pytest.mark.parametrize(("name", "wanted"), CAUGHT_BY.items(), ids=CAUGHT_BY)
def test_a_broken_driver_is_caught(pytester, name, wanted):
    """When a driver breaks a promise, the test of that promise fails."""
    result = run(pytester, OUT_OF_ORDER.format(name=name), wanted)

    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) > 0
    assert outcomes.keys() <= {"failed", "deselected"}


GUARANTEES = {
    "a leak after a death": (
        "ForgetsWhatItExported",
        "a_death_leaves and attach-refused-after-create_export",
        "*create_export: death at * (remove_export before): G2: volume * is exported for nobody",
    ),
    "a volume that is stuck": (
        "ForgetsWhatItExported",
        "a_death_leaves and attach-refused-after-create_export",
        "*create_export: death at * (remove_export before): G1: * could not be detached and *",
    ),
    "a host without access": (
        "DropsTheWholeAcl",
        "a_death_leaves and detach-one",
        "detach-one: no death: G2: volume * lets [[][]] in; entitled are *",
    ),
    "a host without a way in": (
        "LosesTheAccount",
        "a_death_in_recovery and attach",
        "attach: death at * and then at *: G3: volume * is attached, and its host cannot log in",
    ),
    "a leak after a refusal": (
        "NeedsItsLocation",
        "a_refused_attach_is_undone and create_export and after and volflow",
        "E * 'G2: volume * is exported for nobody'",
    ),
    "no way in after a refusal": (
        "RegeneratesSilently",
        "a_refused_detach_leaves_a_working_connection and remove_export and volflow",
        "E * G3: no way in",
    ),
    "what cannot be repeated": (
        "RemovesOnce",
        "a_call_is_repeated_after_its_effect and remove_export",
        "E * can't find the target of volume *",
    ),
}


@pytest.mark.parametrize(("name", "wanted", "said"), GUARANTEES.values(), ids=GUARANTEES)
def test_a_report_names_what_broke(pytester, name, wanted, said):
    """When a death or a refusal leaves a mess: the scenario, the point and the guarantee."""
    result = run(pytester, OUT_OF_ORDER.format(name=name), wanted)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([said])


THREE_LINES = """\
from volflow.drivers.local import LocalDriver
from volflow.testing import DriverConformance

class TestLocal(DriverConformance):
    {hooks}
    def make_driver(self, tmp_path):
        return LocalDriver(tmp_path)
"""


def test_a_hook_that_is_missing_is_named(pytester):
    """When a subclass has no more than make_driver, what is not tried says what it needs."""
    result = run(pytester, THREE_LINES.format(hooks=""), "not refus and not death")

    assert result.parseoutcomes().get("failed", 0) == 0
    for hook in ("login", "restart_target", "foreign", "make_broken_driver"):
        result.stdout.fnmatch_lines([f"SKIPPED * TestLocal has no {hook}(): write it, *"])


def test_a_hook_that_is_none_has_no_tests(pytester):
    """When a subclass says that its backend has no sessions, no test asks for them."""
    hooks = "login = restart_target = foreign = make_broken_driver = None"
    result = run(pytester, THREE_LINES.format(hooks=hooks), "not refus and not death")

    assert result.parseoutcomes().keys() == {"passed", "deselected"}


def test_without_make_driver_nothing_is_tried(pytester):
    """When a subclass forgot make_driver, each test says so."""
    text = "from volflow.testing import DriverConformance\nclass TestIt(DriverConformance): ..."
    result = run(pytester, text, "test_it_has_every_method")

    result.stdout.fnmatch_lines(["E * NotImplementedError: TestIt has no make_driver"])


def test_the_kit_alone_needs_pytest():
    """When volflow.testing is imported, pytest is not; a name that is not there is an error."""
    code = (
        "import sys, volflow.testing\n"
        "assert 'pytest' not in sys.modules\n"
        "assert not hasattr(volflow.testing, 'DriverConformity')\n"
        "volflow.testing.DriverConformance\n"
        "assert 'pytest' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
