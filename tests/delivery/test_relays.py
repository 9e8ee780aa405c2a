"""Relays as they are configured: several in one file or the environment, fairly shared, and never showing a secret."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stack import wait_until

from newsletter.delivery.relays import Rate, Relay, parse_relay, relays_of
from newsletter.delivery.shares import Shares, Turns, usable_for
from newsletter.delivery.smtp import tokens
from newsletter.delivery.smtp.tokens import forget_token, safe_reason, secret_of
from newsletter.errors import SettingsError, StateError
from newsletter.settings import Settings, load_settings

SECRET = "geheim-wort"


def from_toml(text: str) -> tuple[Relay, ...]:
    Path("newsletter.toml").write_text(text, "utf-8")
    return relays_of(load_settings())


def from_urls(urls: str) -> tuple[Relay, ...]:
    return relays_of(load_settings(smtp_url=urls))


def test_none_configured() -> None:
    """Without a relay the built-in inbox is one."""
    (inbox,) = relays_of(load_settings(inbox_smtp_port=2525))
    assert (inbox.name, str(inbox), inbox.user) == ("inbox", "smtp://127.0.0.1:2525", "")


def test_one_url_as_ever() -> None:
    """A single URL means what it always meant; its name is its host."""
    (relay,) = from_urls(f"smtp+starttls://news:{SECRET}%2F@mail.example.org")
    assert relay == parse_relay(f"smtp+starttls://news:{SECRET}%2F@mail.example.org")
    assert (relay.name, relay.port, relay.security) == ("mail.example.org", 587, "starttls")
    assert (relay.user, relay.password, relay.connections, relay.weight) == ("news", f"{SECRET}/", 8, 1)
    assert [parse_relay(f"{s}://h").port for s in ("smtp", "smtps")] == [25, 465]
    assert str(parse_relay("smtps://[2001:db8::1]")) == "smtps://[2001:db8::1]:465"


def test_several_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several URLs stand in one variable, each with its options."""
    monkeypatch.setenv(
        "NEWSLETTER_SMTP_URL",
        f"smtp+starttls://user:{SECRET}@mail.example.org:587?connections=8&rate=600/min,20000/day&weight=2"
        "&lists=rutas,prensa&messages=100&name=main  smtp://127.0.0.1:2525",
    )
    main, local = relays_of(load_settings())
    assert (main.name, main.connections, main.weight, main.messages_per_connection) == ("main", 8, 2, 100)
    assert main.rates == (Rate(600, 60), Rate(20000, 86400))
    assert main.lists == {"rutas", "prensa"}
    assert (local.name, local.port, local.lists) == ("127.0.0.1", 2525, frozenset())


def test_tables(tmp_path: Path) -> None:
    """The same relays as tables of newsletter.toml; a password can lie in a file, a token come from a command."""
    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / "ca.pem").write_text("x")
    main, spare, cloud = from_toml(
        """
        [relays.main]
        host = "mail.example.org"
        user = "news"
        password_file = "password"
        connections = 8
        messages_per_connection = 100
        rate = ["10/s", "20000/day"]
        weight = 3
        lists = ["rutas"]
        ca_file = "ca.pem"

        [relays.spare]
        host = "10.0.0.7"
        port = 2525
        security = "none"
        rate = "600/min"

        [relays.cloud]
        host = "smtp.example.com"
        security = "tls"
        user = "news@example.com"
        token_command = ["print-token", "--for", "smtp"]
        """
    )
    assert main == Relay(
        *("main", "mail.example.org", 587, "starttls", "news", SECRET, (), 8, 100),
        *((Rate(10, 1), Rate(20000, 86400)), 3, frozenset({"rutas"}), Path("ca.pem")),
    )
    assert (spare.port, spare.security, [str(rate) for rate in spare.rates]) == (2525, "none", ["600/min"])
    assert cloud.token_command == ("print-token", "--for", "smtp")


def test_the_environment_can_leave_tables_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """NEWSLETTER_RELAYS=none makes a URL of the environment (the demo's) possible beside tables in the file."""
    Path("newsletter.toml").write_text('[relays.main]\nhost = "mail.example.org"\n')
    monkeypatch.setenv("NEWSLETTER_SMTP_URL", "smtp://localhost")
    with pytest.raises(SettingsError, match="both name relays"):
        relays_of(load_settings())
    monkeypatch.setenv("NEWSLETTER_RELAYS", "none")
    assert [relay.name for relay in relays_of(load_settings())] == ["localhost"]
    monkeypatch.setenv("NEWSLETTER_RELAYS", '{"main": {}}')
    with pytest.raises(SettingsError, match=r"NEWSLETTER_RELAYS is not usable: relays are tables"):
        load_settings()


def test_a_relay_in_a_table_needs_an_address_for_links() -> None:
    """Where there is a relay there are readers, and links have to lead somewhere."""
    from_toml('[relays.main]\nhost = "mail.example.org"\n')
    with pytest.raises(SettingsError, match="NEWSLETTER_BASE_URL is not set"):
        assert load_settings().site


def test_a_file_that_is_no_toml() -> None:
    """A slip in newsletter.toml is a sentence with its line."""
    with pytest.raises(SettingsError, match=r"newsletter.toml is no TOML: .*line 1"):
        from_toml("[relays.main\n")


HOST = 'host = "mail.example.org"\n'


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", "names no host"),
        (HOST + f'pasword = "{SECRET}"', "'pasword' is no option; there are host"),
        (HOST + f'password = "{SECRET}"', "a password but no user"),
        (HOST + 'user = "news"', "a user but no password"),
        (HOST + 'user = "news"\npassword = ""', "its password is empty"),
        (HOST + f'user = "news"\npassword = "{SECRET}"\npassword_file = "x"', "password and password_file"),
        (HOST + 'user = "news"\npassword_file = "x"', "password_file names a file that is not there"),
        (HOST + 'user = "news"\ntoken_command = "print-token"', "token_command has to be a list"),
        (HOST + 'user = "news"\ntoken_command = []', "token_command has to be a list"),
        (HOST + f'user = "news"\npassword = "{SECRET}\\n"', "control character"),
        (HOST + f'user = "news"\npassword = "{SECRET}"\nsecurity = "none"', "password in clear"),
        (HOST + 'user = "news"\ntoken_command = ["x"]\nsecurity = "none"', "password in clear"),
        (HOST + 'security = "ssl"', "none, starttls or tls"),
        (HOST + "weight = 0", "weight is not a number from 1"),
        (HOST + "weight = true", "weight is not a number from 1"),
        (HOST + "connections = 0", "connections is not a number from 1"),
        (HOST + "port = 70000", "port is not a number from 1 to 65535"),
        (HOST + 'rate = "fast"', "rate has to look like 10/s"),
        (HOST + 'rate = "0/s"', "rate has to look like 10/s"),
        (HOST + 'rate = ["1/s", "2/s"]', "two limits for the same period"),
        (HOST + "rate = 10", "rate has to be a list"),
        (HOST + 'lists = ["Rutas"]', "cannot be the slug"),
        (HOST + 'ca_file = "x"', "ca_file names a file that is not there"),
        ('host = "mail example"', "host is not the name"),
        ("host = 7", "host has to be text"),
    ],
)
def test_tables_refused(table: str, sentence: str) -> None:
    """A table that cannot be used is refused by its name, with the reason and without its secrets."""
    with pytest.raises(SettingsError) as caught:
        from_toml(f"[relays.main]\n{table}\n")
    assert "[relays.main] in newsletter.toml is not usable" in str(caught.value)
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("urls", "sentence"),
    [
        ("smtp://smtp.example..org", "host is not the name"),
        (f"smtp://{'a' * 64}.example.org", "host is not the name"),
        ("smtp://h?speed=7", "no option, or one twice"),
        ("smtp://h?weight=1&weight=2", "no option, or one twice"),
        ("smtp://h?weight=0", "weight is not a number"),
        ("smtp://h?weight=x", "weight is not a number"),
        ("smtp://h?rate=", "rate has to look like"),
        ("smtp://h?lists=ru/tas", "slug of a list"),
        ("smtp://h?lists=", "slug of a list"),
        ("smtp://h?name=a%20b", "its name has to be"),
        ("smtp://h smtps://h", "the same name"),
        (f"smtp://h smtp://u:{SECRET}@other", "URL number 2: it would send a password in clear"),
        (f"smtps://user:pa {SECRET}@h", "URL number 1"),
        (f"smtps://user:12?{SECRET}@h", "no option, or one twice"),
        (f"smtps://user:12#{SECRET}@h", "write / in a password as %2F, # as %23"),
        (f"smtps://user:12/{SECRET}@h", "write / in a password"),
        (f"{SECRET}", "has to begin with"),
        (f"smtps://u:{SECRET}@h?password_file=none", "password and password_file"),
    ],
)
def test_urls_refused(urls: str, sentence: str) -> None:
    """URLs that cannot be used are refused with the reason, also when a bad character puts the password elsewhere."""
    with pytest.raises(SettingsError) as caught:
        from_urls(urls)
    assert "NEWSLETTER_SMTP_URL is not usable" in str(caught.value)
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value)


def test_no_secret_is_shown() -> None:
    """Neither a relay nor the settings show password, token command or URL."""
    relays = from_toml(
        f'[relays.a]\nhost = "h"\nuser = "u"\npassword = "{SECRET}"\n'
        f'[relays.b]\nhost = "h"\nuser = "u"\ntoken_command = ["x", "{SECRET}"]\n'
    )
    shown = f"{relays!r} {[*map(str, relays)]} {load_settings()!r} {Settings(smtp_url=f'smtps://u:{SECRET}@h')!r}"
    assert SECRET not in shown


# --- sharing

weights = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@given(weights, st.integers(1, 300))
def test_turns_are_exact_to_within_one(shares: list[int], count: int) -> None:
    """After every single turn, each has had its exact share by weight to within less than one."""
    turns, had, total = Turns(shares), [0] * len(shares), sum(shares)
    for turn in range(1, count + 1):
        had[turns.next()] += 1
        assert all(abs(had[i] - Fraction(turn * w, total)) < 1 for i, w in enumerate(shares))


def relay(name: str, weight: int = 1, *lists: str) -> Relay:
    return Relay(name, "h", 25, weight=weight, lists=frozenset(lists))


relay_sets = st.lists(
    st.builds(lambda w, ls: (w, ls), st.integers(1, 9), st.sets(st.sampled_from("abc"))), min_size=1, max_size=5
).map(lambda drawn: [relay(f"r{n}", weight, *lists) for n, (weight, lists) in enumerate(drawn)])


@given(relay_sets, st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=40))
def test_many_small_batches_are_shared_fairly(relays: list[Relay], batches: list[list[str]]) -> None:
    """Over batches of any size: each delivery goes to one relay that may carry its list, and none is lost or moved
    about; those that nobody may carry are named; relays for the same lists have their shares to within one each."""
    shares = Shares()
    carried: dict[tuple[str, ...], dict[str, int]] = {}
    for number, batch in enumerate(batches):
        deliveries = [(number, place, slug) for place, slug in enumerate(batch)]
        boxes, left = shares.allot(deliveries, lambda delivery: delivery[2], relays)
        assert sorted([*left, *(d for box in boxes.values() for d in box)]) == deliveries
        assert all(box == sorted(box) and box for box in boxes.values())
        assert left == [d for d in deliveries if not usable_for(relays, d[2])]
        for chosen, box in boxes.items():
            for delivery in box:
                able = usable_for(relays, delivery[2])
                assert chosen in able
                counts = carried.setdefault(tuple(r.name for r in able), dict.fromkeys((r.name for r in able), 0))
                counts[chosen.name] += 1
    by_name = {r.name: r for r in relays}
    for names, counts in carried.items():
        total, weight = sum(counts.values()), sum(by_name[name].weight for name in names)
        assert all(abs(counts[n] - Fraction(total * by_name[n].weight, weight)) < 1 for n in names)


def test_while_one_rests_the_others_share() -> None:
    """A relay that is left out of one batch leaves its share to the others, and has its own again afterwards."""
    a, b, c = relay("a", 2), relay("b", 1), relay("c", 1)
    shares = Shares()
    for able, expected in (((a, b, c), {a: 20, b: 10, c: 10}), ((b, c), {b: 20, c: 20}), ((a, b, c), {a: 20, b: 10})):
        boxes, left = shares.allot(range(40), lambda _: "x", able)
        assert not left
        assert expected.items() <= {r: len(box) for r, box in boxes.items()}.items()
    assert shares.allot(range(3), lambda _: "x", ()) == ({}, [0, 1, 2])


# --- tokens


def with_command(*words: str) -> Relay:
    return Relay("cloud", "h", 465, "tls", "news", token_command=(sys.executable, "-c", *words))


def test_tokens_are_kept_for_minutes(tmp_path: Path) -> None:
    """The command runs once in five minutes, and again after a refused login; a password needs none."""
    count = "import pathlib; p = pathlib.Path('runs'); p.open('a').write('x'); print('token-%d' % p.stat().st_size)"
    cloud, seconds = with_command(count), [0.0]

    def ask() -> str:
        return secret_of(cloud, lambda: seconds[0])

    assert [ask(), ask()] == ["token-1", "token-1"]
    seconds[0] = 299.0
    assert ask() == "token-1"
    seconds[0] = 301.0
    assert ask() == "token-2"
    forget_token(cloud)
    assert ask() == "token-3"
    assert secret_of(Relay("a", "h", 465, "tls", "u", SECRET)) == SECRET


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (f"import sys; print('{SECRET}'); sys.exit(3)", "ended with 3"),
        (f"print('{SECRET} more')", "printed no token"),
        ("", "printed no token"),
        ("import subprocess as s; s.run(['sleep', '60'])", "took more than"),
    ],
)
def test_token_commands_that_fail(command: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that fails, hangs (with children of its own) or prints something else is named, not its output."""
    monkeypatch.setattr(tokens, "PATIENCE", 0.5 if "sleep" in command else 10)
    with pytest.raises(StateError, match="token command of relay cloud") as caught:
        secret_of(with_command(command))
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_command_that_fails_is_not_asked_by_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections of a relay ask at once: a command that fails is run for all of them, and again some seconds
    later; to forget its token waits for nobody."""
    monkeypatch.chdir(tmp_path)
    failing = with_command("import pathlib, time; pathlib.Path('runs').open('a').write('x'); time.sleep(1); exit(3)")
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(secret_of, failing) for _ in range(8)]
        wait_until((tmp_path / "runs").exists, 10)
        began = time.monotonic()
        forget_token(failing)
        assert time.monotonic() - began < 0.5
        for one in asked:
            with pytest.raises(StateError, match="ended with 3"):
                one.result()
    assert (tmp_path / "runs").read_text() == "x"
    with pytest.raises(StateError, match="ended with 3"):
        secret_of(failing, lambda: time.monotonic() + tokens.FAILED_SECONDS)
    assert (tmp_path / "runs").read_text() == "xx"


def test_a_command_that_hangs_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command started ends with it."""
    monkeypatch.setattr(tokens, "PATIENCE", 0.5)
    hangs = "import subprocess as s; p = s.Popen(['sleep', '60']); open('child', 'w').write(str(p.pid)); p.wait()"
    with pytest.raises(StateError, match="took more than"):
        secret_of(with_command(hangs))

    def ended() -> bool:
        state = Path(f"/proc/{Path('child').read_text()}/stat")
        return not state.exists() or state.read_text().split()[2] == "Z"

    assert wait_until(ended, 5)


def test_a_command_that_is_not_there() -> None:
    """A program that does not exist is a sentence."""
    with pytest.raises(StateError, match="cannot be run: No such file"):
        secret_of(Relay("cloud", "h", 465, "tls", "news", token_command=("no-such-program",)))


def test_reasons_are_safe() -> None:
    """A reason is one line of at most 500 characters; a secret that the relay echoed is taken out, also in base64."""
    own = Relay("a", "h", 465, "tls", "news", SECRET)
    plain, login = "AG5ld3MAZ2VoZWltLXdvcnQ=", "Z2VoZWltLXdvcnQ="
    told = safe_reason(own, f"535 no:\r\n{SECRET} \x1b[31m\0 AUTH PLAIN {plain} {login} " + "x" * 900)
    assert told.startswith("535 no: [secret] [31m AUTH PLAIN [secret] [secret] xxx")
    assert len(told) == 500
    spaced = Relay("a", "h", 465, "tls", "news", "pass  word")
    for echoed in ("pass  word", "pass word", "pas\r\ns word"):
        assert safe_reason(spaced, f"535 no: {echoed}.") == "535 no: [secret]."
    short = Relay("a", "h", 465, "tls", "u", "p")
    told = safe_reason(short, "smtp://u:p@h cannot be reached: 'p' AHUAcA== is no password, stop.")
    assert told == "smtp://u:[secret]@h cannot be reached: '[secret]' [secret] is no password, stop."
    cloud = with_command("print('tok3n-abc')")
    assert secret_of(cloud) == "tok3n-abc"
    assert safe_reason(cloud, "bad tok3n-abc") == "bad [secret]"
