"""Who is the same person, whichever of the two asked and whichever approves."""

import pytest

from mlops.tenancy.persons import Party, same_person

KIM = Party("kim@shop.example", account="11")
LEE = Party("lee@shop.example", account="22")
ADMIN_FOR_JANE = Party("root@shop.example", "jane@shop.example", "33")
KEY = Party("key:ci")
KEY_FOR_JANE = Party("key:ci", "jane@shop.example")
KEY_FOR_KIM = Party("key:ci", "KIM@shop.example")
KEY_FOR_KIMS_ID = Party("key:ci", "11")
KEY_FOR_KIMS_OLD_NAME = Party("key:ci", "kim@old.example", named="11")
KIMS_KEY = Party("key:robot", key_makers=frozenset({"Kim@shop.example"}))
KIMS_KEY_FOR_JANE = Party("key:robot", "jane@shop.example", key_makers=frozenset({"kim@shop.example"}))
KIMS_OTHER_KEY = Party("key:second", key_makers=frozenset({"kim@shop.example"}))
LEES_KEY_MADE_BY_KIM = Party("lee@shop.example", account="22", key="7", key_makers=frozenset({"kim@shop.example"}))
MAX_ADDED_BY_KIM = Party("max@shop.example", account="44", adders=frozenset({"kim@shop.example"}))
JANE_ADDED_BY_KIM = Party("jane@shop.example", account="55", adders=frozenset({"kim@shop.example"}))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (KIM, LEE, False),
        (KIM, KIM, True),
        (KIM, Party("KIM@shop.example"), True),
        (KIM, Party("renamed@shop.example", account="11"), True),
        (KIM, KEY, False),
        (KIM, KEY_FOR_KIM, True),
        (KIM, KEY_FOR_KIMS_ID, True),
        (KIM, KEY_FOR_KIMS_OLD_NAME, True),
        (KIM, Party("ＫＩＭ@shop.example"), True),
        (KIM, KEY_FOR_JANE, False),
        (KEY, KEY, True),
        (KEY, KEY_FOR_JANE, True),
        (KEY_FOR_JANE, KEY_FOR_JANE, True),
        (ADMIN_FOR_JANE, Party("root@shop.example", account="33"), True),
        (ADMIN_FOR_JANE, Party("root@shop.example", "kim@shop.example", "33"), True),
        (ADMIN_FOR_JANE, Party("jane@shop.example", account="55"), True),
        (ADMIN_FOR_JANE, LEE, False),
        (KIM, KIMS_KEY, True),
        (KIM, KIMS_KEY_FOR_JANE, True),
        (LEE, KIMS_KEY, False),
        (KIM, LEES_KEY_MADE_BY_KIM, True),
        (KIMS_KEY, LEES_KEY_MADE_BY_KIM, True),
        (KIMS_KEY, KIMS_OTHER_KEY, True),
        (KIM, MAX_ADDED_BY_KIM, True),
        (KIMS_KEY, MAX_ADDED_BY_KIM, True),
        (LEE, MAX_ADDED_BY_KIM, False),
        (JANE_ADDED_BY_KIM, MAX_ADDED_BY_KIM, False),
    ],
)
def test_whoever_may_stand_behind_both_is_one_person(one: Party, other: Party, same: bool, turned: bool) -> None:
    assert same_person(*((other, one) if turned else (one, other))) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (KEY_FOR_JANE, KEY_FOR_KIM, False),
        (KEY_FOR_JANE, KEY_FOR_JANE, True),
        (KEY_FOR_KIMS_ID, KEY_FOR_KIMS_OLD_NAME, True),
        (Party("key:ci", "straße"), Party("key:other", "STRASSE"), True),
        (KEY_FOR_JANE, KEY, True),
        (KIMS_KEY_FOR_JANE, Party("key:second", "lee@shop.example", key_makers=frozenset({"kim@shop.example"})), False),
        (ADMIN_FOR_JANE, Party("root@shop.example", "kim@shop.example", "33"), True),
        (KIM, KIMS_KEY_FOR_JANE, True),
    ],
)
def test_a_program_may_vouch_for_two_people_it_names_and_for_nobody_else(one: Party, other: Party, same: bool) -> None:
    assert same_person(one, other, vouching=True) is same
    assert same_person(other, one, vouching=True) is same


def test_without_vouching_a_credential_is_one_person_whomever_it_names() -> None:
    assert same_person(KEY_FOR_JANE, KEY_FOR_KIM)


def test_a_party_is_kept_without_its_makers_and_read_back() -> None:
    kept = LEES_KEY_MADE_BY_KIM.to_json()

    assert Party.from_json(KEY_FOR_KIMS_OLD_NAME.to_json()) == KEY_FOR_KIMS_OLD_NAME
    assert Party.from_json(kept) == Party("lee@shop.example", account="22", key="7")
    assert Party.from_json({"account": "22", "actor": "lee@shop.example", "person": ""}) == LEE
