import pytest
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError

from features.access import AccessRefused
from features.redis_access import is_admitted, raise_if_refused, refusal_of
from features.settings import Connections

SHOP = Connections(redis_url="redis://ada:s3cret@shop:6380/2")


async def test_a_store_that_answers_lets_in(redis_url):
    assert await is_admitted(Connections(redis_url=redis_url))


async def test_a_store_that_is_away_may_come():
    assert not await is_admitted(Connections(redis_url="redis://127.0.0.1:9/0"))


async def test_a_user_that_the_store_does_not_know_is_refused(redis_url):
    with pytest.raises(AccessRefused, match=r"refused user 'stranger' .* check user and password in REDIS_URL"):
        await is_admitted(Connections(redis_url=redis_url.replace("//", "//stranger:s3cret@")))


@pytest.mark.parametrize("error", [AuthenticationError("WRONGPASS"), NoPermissionError("no 'time'")])
def test_a_refusal_says_what_to_change_and_no_password(error):
    told = str(refusal_of(error, SHOP))
    assert "REDIS_URL" in told
    assert "redis://shop:6380/2" in told
    assert "s3cret" not in told


def test_a_fault_that_may_pass_is_no_refusal():
    raise_if_refused(BusyLoadingError("loading"))
    raise_if_refused(ConnectionRefusedError("connect"))
    assert refusal_of(ConnectionResetError("reset"), SHOP) is None


def test_a_password_that_was_changed_ends_the_work():
    with pytest.raises(AccessRefused, match="no longer lets us in"):
        raise_if_refused(AuthenticationError("WRONGPASS"))
