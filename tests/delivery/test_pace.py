"""Pace: limits that hold for all workers together, domains that recover, and what happens without Redis."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from valkeys import Valkey, running_valkey

from newsletter.delivery import pace as pace_module
from newsletter.delivery.buckets import BURST_SECONDS, FLOOR, SLICES, STEP_SECONDS, Buckets, Granted, share_out
from newsletter.delivery.pace import AWAY_SECONDS, PREFIX, Pace, local_share
from newsletter.delivery.relays import Rate, Relay

START = 1_795_000_000.0
DOMAINS = ("gmail.example", "yahoo.example", "small.example")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def valkey(server: Valkey) -> Valkey:
    """A Valkey with nothing in it."""
    server.client.flushall()
    return server


def relay(*rates: str, name: str = "main") -> Relay:
    periods = {"s": 1, "min": 60, "h": 3600, "day": 86400}
    parts = [rate.split("/") for rate in rates]
    return Relay(name, "h", 25, rates=tuple(Rate(int(count), periods[period]) for count, period in parts))


# --- the arithmetic

counts = st.dictionaries(st.sampled_from(DOMAINS), st.integers(1, 40), min_size=1)
rate_sets = st.lists(
    st.builds(Rate, st.integers(1, 60), st.sampled_from((1, 60, 3600))), max_size=3, unique_by=lambda rate: rate.seconds
)
pauses = st.one_of(st.floats(0, 2), st.floats(0, 200), st.sampled_from((0.05, 1.0, 1.05, 60.0, 3780.0)))
acts = st.one_of(
    st.tuples(st.just("grant"), counts),
    st.tuples(st.just("grant"), counts),
    st.tuples(st.just("refund"), counts),
    st.tuples(st.just("slow"), st.tuples(st.sampled_from(DOMAINS), st.floats(0, 20))),
)
histories = st.lists(st.tuples(pauses, acts), max_size=25)


@given(rate_sets, histories)
def test_no_period_holds_more_than_its_limit(rates: list[Rate], history) -> None:
    """Whatever is asked when: no period of any rate, wherever it begins, sees more messages than the rate says."""
    buckets, now, log = Buckets(), START, []
    for pause, (act, what) in history:
        now += pause
        if act == "grant":
            granted = buckets.grant("main", rates, what, now)
            assert all(0 <= granted.by_domain[domain] <= number for domain, number in what.items())
            log.append((now, sum(granted.by_domain.values())))
    for rate in rates:
        for begin, _ in log:
            assert sum(n for at, n in log if begin <= at < begin + rate.seconds) <= rate.count


@given(rate_sets, histories, counts)
def test_asking_again_in_time_gets_something(rates: list[Rate], history, last) -> None:
    """Who waits as long as was said and asks again gets at least one more; who got all need not wait."""
    buckets, now = Buckets(), START
    for pause, (act, what) in history:
        now += pause
        if act == "grant":
            buckets.grant("main", rates, what, now)
        elif act == "slow":
            buckets.slow_down(*what, now)
    granted = buckets.grant("main", rates, last, now)
    rest = {domain: number - granted.by_domain[domain] for domain, number in last.items()}
    rest = {domain: number for domain, number in rest.items() if number}
    assert granted.finish.keys() == rest.keys()
    if not rest:
        assert granted.wait == 0
        return
    assert all(granted.wait <= seconds for seconds in granted.finish.values())
    again = buckets.grant("main", rates, rest, now + granted.wait + 1e-6)
    assert sum(again.by_domain.values()) >= 1


@given(st.floats(0.05, 50), st.lists(st.tuples(st.floats(0, 30), st.integers(1, 200)), max_size=30))
def test_a_domain_never_gets_more_than_rate_and_burst(recent: float, asked) -> None:
    """From a refusal on, a domain gets at most today's rate × time + what its bucket holds."""
    buckets, now, total = Buckets(), START, 0
    buckets.slow_down("gmail.example", recent, now)
    for pause, number in asked:
        if now + pause - START >= STEP_SECONDS:
            break
        now += pause
        total += buckets.grant("main", (), {"gmail.example": number}, now).by_domain["gmail.example"]
        rate = max(FLOOR, recent / 2)
        assert total <= rate * (now - START) + max(1, rate * BURST_SECONDS) + 1e-6


def test_halving_and_recovery() -> None:
    """A refusal halves, one within 15 seconds does not count again; every 3 minutes without one brings half as much
    again, until the domain is what it was and forgotten; never below one a minute."""
    buckets = Buckets()
    buckets.grant("main", (), {"gmail.example": 1200}, START)
    assert buckets.slow_down("gmail.example", 0, START) == pytest.approx(10)
    assert buckets.slow_down("gmail.example", 0, START + 14) == pytest.approx(10)
    assert buckets.slow_down("gmail.example", 0, START + 15) == pytest.approx(5)
    rates = []
    for step in range(1, 8):
        now = START + 15 + step * STEP_SECONDS
        buckets.grant("main", (), {"gmail.example": 1}, now)
        limit = buckets.limits.get("gmail.example")
        rates.append(limit and round(limit.current(now), 3))
    assert rates == [7.5, 11.25, 16.875, None, None, None, None]
    for step in range(40):
        last = buckets.slow_down("gmail.example", 0, START + 5000 + step * 20)
    assert last == FLOOR


@given(st.lists(st.integers(0, 500), max_size=30), st.integers(0, 3000))
def test_what_is_short_is_shared_in_proportion(wanted: list[int], room: int) -> None:
    """All of the room is used, nobody gets more than wanted, and each its part to within one."""
    shares = share_out(wanted, room)
    assert sum(shares) == min(room, sum(wanted))
    for got, number in zip(shares, wanted, strict=True):
        assert got <= number
        if sum(wanted) > room:
            assert abs(got - number * room / sum(wanted)) <= 1


def test_the_rest_is_spread() -> None:
    """Deliveries of the rest are due one after the other, from the wait to the finish."""
    granted = Granted({"a": 0, "b": 0}, 2.0, {"a": 12.0})
    assert list(granted.delays("a", 3)) == [2.0, 7.0, 12.0]
    assert list(granted.delays("a", 1)) == [2.0]
    assert list(granted.delays("b", 2)) == [2.0, 2.0]


@given(st.integers(1, 10**6), st.sampled_from((1, 60, 3600, 86400)), st.integers(1, 64))
def test_local_shares(count: int, seconds: int, processes: int) -> None:
    """All processes by themselves send no more in any period than the rate, but for rounding to one message each."""
    share = local_share(Rate(count, seconds), processes)
    assert share.count >= 1
    assert share.count / share.seconds * processes <= count / seconds + 1e-9
    assert share.seconds <= 60 or share.count == 1


# --- shared through Redis


@given(rate_sets, histories)
@settings(max_examples=60)
def test_the_script_does_the_same(server: Valkey, rates: list[Rate], history) -> None:
    """The script that all workers share and the pure arithmetic grant, wait and slow down alike."""
    server.client.flushall()
    pace, oracle, now = Pace(server.url), Buckets(), START
    own = Relay("main", "h", 25, rates=tuple(rates))
    for pause, (act, what) in history:
        now += pause
        if act == "grant":
            got, expected = pace.grant(own, what, now), oracle.grant("main", rates, what, now)
            assert got.by_domain == expected.by_domain
            assert got.wait == pytest.approx(expected.wait, abs=1e-5)
            assert got.finish == pytest.approx(expected.finish, abs=1e-5)
        elif act == "refund":
            pace.refund(own, what, now)
            oracle.refund("main", rates, what, now)
        else:
            assert pace.slow_down(*what, now) == pytest.approx(oracle.slow_down(*what, now))
    alive = {d: limit.current(now) for d, limit in oracle.limits.items() if limit.current(now) < limit.origin}
    assert pace.limits(now) == pytest.approx(alive)
    assert all(server.client.ttl(key) > 0 for key in server.client.keys(PREFIX + "*"))
    pace.close()


PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import Rate, Relay
url, start = sys.argv[1], float(sys.argv[2])
relay = Relay("main", "h", 25, rates=(Rate(500, 1), Rate(1200, 60)))
pace = Pace(url)
def ask(number):
    granted = pace.grant(relay, {"a.example": 3, "b.example": 2}, start)
    return sum(granted.by_domain.values())
print("there", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(ask, range(100))))
"""


def test_processes_share_one_bucket(valkey: Valkey) -> None:
    """Three processes of four threads each, all asking at once, get together exactly what the buckets hold."""
    command = [sys.executable, "-c", PROGRAM, valkey.url, str(START)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    # They begin together, when all have imported what they need.
    for process in running:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
    for process in running:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    totals = [int(process.communicate()[0]) for process in running]
    # 3 × 100 × 5 = 1500 are asked for in the same second, in any order: beyond 500 a second.
    assert sum(totals) == 500
    cells = valkey.client.hvals(f"{PREFIX}relay:main:60")
    assert sum(map(int, cells)) == 500


def test_by_the_server_s_clock(valkey: Valkey) -> None:
    """Without a given moment Redis's own clock counts: threads of several workers stay below rate × time + bucket."""
    own, begin = relay("200/s"), time.monotonic()

    def work(_: int) -> int:
        pace, total = Pace(valkey.url), 0
        while time.monotonic() - begin < 1.3:
            granted = pace.grant(own, {"a.example": 7})
            total += sum(granted.by_domain.values())
            time.sleep(min(granted.wait, 0.1))
        pace.close()
        return total

    with ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(work, range(4)))
    passed = time.monotonic() - begin
    assert 200 <= total <= 200 * passed + 200


def test_refund(valkey: Valkey) -> None:
    """Tokens that were not used can be taken again."""
    pace, own = Pace(valkey.url), relay("10/min")
    assert pace.grant(own, {"a.example": 10}, START).by_domain == {"a.example": 10}
    assert pace.grant(own, {"a.example": 1}, START + 1).by_domain == {"a.example": 0}
    pace.refund(own, {"a.example": 4}, START + 1)
    assert pace.grant(own, {"a.example": 9}, START + 2).by_domain == {"a.example": 4}
    assert pace.grant(own, {"a.example": 9}, START + 63).by_domain == {"a.example": 6}


def test_limits_are_per_relay_and_day(valkey: Valkey) -> None:
    """Each relay has buckets of its own; a day's is not filled up by the end of its minute or second."""
    pace, own = Pace(valkey.url), relay("10/s", "25/day")
    got = [pace.grant(own, {"a.example": 10}, START + 2 * n).by_domain["a.example"] for n in range(4)]
    assert got == [10, 10, 5, 0]
    granted = pace.grant(own, {"a.example": 10}, START + 3600)
    assert granted.by_domain == {"a.example": 0}
    assert 22 * 3600 < granted.wait <= 86400 * (1 + 1 / SLICES)
    assert pace.grant(relay("10/s", name="other"), {"a.example": 10}, START).by_domain == {"a.example": 10}


def test_a_refusal_slows_all_workers_once(valkey: Valkey) -> None:
    """Refusals of the same instant, by many workers, halve what went to the domain in the last minute once; other
    domains go on at full speed."""
    paces = [Pace(valkey.url) for _ in range(8)]
    for n, pace in enumerate(paces):
        pace.grant(relay(), {"gmail.example": 60}, START + n)
    with ThreadPoolExecutor(8) as pool:
        rates = list(pool.map(lambda pace: pace.slow_down("gmail.example", 0.0, START + 8), paces))
    assert rates == pytest.approx([4.0] * 8)
    granted = paces[0].grant(relay(), {"gmail.example": 50, "small.example": 50}, START + 10)
    assert granted.by_domain == {"gmail.example": 8, "small.example": 50}
    assert paces[1].limits(START + 10) == pytest.approx({"gmail.example": 4.0})
    assert paces[1].limits(START + 10_000) == {}


def test_one_call_a_batch(valkey: Valkey) -> None:
    """A batch costs one call, however many domains it has, and leaves what expires by itself."""
    pace = Pace(valkey.url)
    pace.grant(relay(), {"a.example": 1})
    before = valkey.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    for _ in range(5):
        pace.grant(relay("9999/s"), {f"d{n}.example": 2 for n in range(300)})
    assert valkey.client.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 5
    assert all(0 < valkey.client.ttl(key) <= 180 for key in valkey.client.keys("*"))
    pace.grant(relay("1/s"), {})
    assert valkey.client.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 5


def test_very_many_domains(valkey: Valkey) -> None:
    """A batch of thousands of domains is one call as well, and each domain is counted and held back as ever."""
    pace, many = Pace(valkey.url), {f"d{n}.example": 3 for n in range(2500)}
    begin = START - START % 60
    pace.grant(relay(), many, begin)
    assert pace.slow_down("d2400.example", 0.0, begin) == pytest.approx(3 / 60 / 2)
    granted = pace.grant(relay(), many, begin + 45)
    assert {domain for domain, number in granted.by_domain.items() if number < 3} == {"d2400.example"}
    counted = valkey.client.hgetall(f"{PREFIX}sent:{int(begin) // 60}")
    assert Counter(counted.values()) == {b"6": 2499, b"4": 1}


def test_flushed_in_between(valkey: Valkey) -> None:
    """A Redis that was flushed, scripts and all, begins with full buckets; nothing fails."""
    pace, own = Pace(valkey.url), relay("10/min")
    assert pace.grant(own, {"a.example": 99}, START).by_domain == {"a.example": 10}
    valkey.client.flushall()
    valkey.client.script_flush()
    assert pace.grant(own, {"a.example": 99}, START).by_domain == {"a.example": 10}


def test_a_clock_set_back(valkey: Valkey) -> None:
    """If Redis's clock is set back, neither a relay nor a domain has to wait for the old time to come again."""
    pace, own = Pace(valkey.url), relay("10/s")
    pace.grant(own, {"a.example": 10}, START)
    pace.slow_down("a.example", 4.0, START)
    earlier = START - 7200
    assert pace.grant(own, {"a.example": 0, "b.example": 10}, earlier).by_domain["b.example"] == 10
    assert pace.grant(own, {"a.example": 9}, earlier + 2).by_domain["a.example"] == 4
    assert pace.slow_down("a.example", 0.0, earlier + 20) == pytest.approx(1.0)


def test_redis_away_and_back(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis is away, a worker keeps to its own share and to the slow domains that it knew, says so once, never
    stops; when it is back, limits are shared again."""
    monkeypatch.setattr(pace_module, "AWAY_SECONDS", 0.0)
    with running_valkey(tmp_path) as valkey, structlog.testing.capture_logs() as logs:
        pace, own = Pace(valkey.url, processes=4), relay("40/min")
        pace.slow_down("slow.example", 8.0, START)
        assert pace.grant(own, {"slow.example": 9, "a.example": 20}, START + 1).by_domain == {
            "slow.example": 4,
            "a.example": 20,
        }
        valkey.kill()
        got: Counter[str] = Counter()
        for second in range(1, 10):
            got.update(pace.grant(own, {"slow.example": 3, "a.example": 3}, START + second).by_domain)
        # A quarter of 40 a minute; a quarter of 4 a second for the slow one.
        assert got.total() == 10
        assert 0 < got["slow.example"] <= 9
        assert pace.slow_down("b.example", 2.0, START) == 1.0
        pace.refund(own, {"a.example": 2}, START + 10)
        assert pace.grant(own, {"a.example": 9}, START + 10).by_domain == {"a.example": 2}
        assert pace.limits() is None
        valkey.start()
        assert pace.grant(own, {"a.example": 99}, START + 20).by_domain == {"a.example": 40}
        assert [entry["event"].split(";")[0] for entry in logs] == ["redis is away", "redis is back"]


def test_without_redis_nothing_is_unlimited() -> None:
    """Without a URL the local share holds; a relay without a rate is not held back."""
    pace = Pace("", processes=2)
    assert pace.grant(relay("10/s"), {"a.example": 99}, START).by_domain == {"a.example": 5}
    assert pace.grant(relay(name="free"), {"a.example": 9999}, START).by_domain == {"a.example": 9999}


def test_nobody_waits_for_a_share_of_the_day() -> None:
    """While Redis is away, its share of a day's rate may be a message in minutes: what is over is asked for again as
    soon as Redis may be back, and not put off until that comes."""
    granted = Pace("redis://127.0.0.1:1").grant(relay("1000/day"), {"a.example": 50})
    assert sum(granted.by_domain.values()) == 1
    assert 0 < granted.full <= AWAY_SECONDS
    assert all(seconds <= AWAY_SECONDS for seconds in granted.delays("a.example", 49))
