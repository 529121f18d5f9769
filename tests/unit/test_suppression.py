"""What a text may hold of those who were erased."""

import pytest

from log_ingest.suppression import MESSAGE, RECIPIENT, VISITOR, _values_in


@pytest.mark.parametrize("text", ["recipient_id=-294967296", '{"id": -294967296}', "x,-294967296,y"])
def test_ids_with_a_sign_are_those_without(text: str) -> None:
    assert {(RECIPIENT, "4000000000"), (MESSAGE, "4000000000")} <= set(_values_in(text))


def test_a_visitor_is_no_number() -> None:
    found = set(_values_in("0aaaaaaa-1111-4111-8111-111111111111"))
    assert (VISITOR, "0aaaaaaa-1111-4111-8111-111111111111") in found
    assert not {kind for kind, _ in found} & {RECIPIENT}
