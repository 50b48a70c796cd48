"""How much, and how often."""

import pytest

from tf_transfer.serving.http.limits import Held, Limits, Rate, RequestError, whom


def test_a_token_bucket_for_each_address():
    now = [0.0]
    rate = Rate(2.0, lambda: now[0])
    rate.take("a")
    rate.take("a")
    with pytest.raises(RequestError, match="more than 2 requests a second") as error:
        rate.take("a")
    assert (error.value.status, error.value.retry_after) == (429, 1)
    rate.take("b")
    now[0] = 0.5
    rate.take("a")
    with pytest.raises(RequestError):
        rate.take("a")
    # However long it was quiet, no more come at once than in a second.
    now[0] = 100.0
    rate.take("a")
    rate.take("a")
    with pytest.raises(RequestError):
        rate.take("a")


def test_slow_rates_and_many_addresses():
    now = [0.0]
    rate = Rate(0.1, lambda: now[0])
    rate.take("a")
    with pytest.raises(RequestError) as error:
        rate.take("a")
    assert error.value.retry_after == 10
    others = [f"10.0.{i // 256}.{i % 256}" for i in range(10_001)]
    for address in others:
        rate.take(address)
    # Ten thousand are remembered: all but the one not seen for longest.
    with pytest.raises(RequestError):
        rate.take(others[1])
    rate.take(others[0])


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x", "x"),
    ],
)
def test_what_a_client_is_known_by(address, client):
    assert whom(address) == client


def test_no_rate_is_no_limit():
    rate = Rate(0.0, lambda: pytest.fail("nobody is counted"))
    for _ in range(1000):
        rate.take("a")


def test_bodies_of_all_requests_are_counted():
    held = Held(Limits(request_bytes=10 << 20, held_bytes=15 << 20))
    held.check(None)
    held.check(10 << 20)
    with pytest.raises(RequestError, match="more than 10 MB") as error:
        held.check((10 << 20) + 1)
    assert error.value.status == 413
    held.add(10 << 20, 10 << 20)
    with pytest.raises(RequestError, match="too many large") as error:
        held.add(6 << 20, 6 << 20)
    assert (error.value.status, error.value.retry_after) == (503, 1)
    assert held.bytes == 10 << 20
