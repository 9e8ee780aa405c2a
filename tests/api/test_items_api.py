"""Items for machines: published and revised as an import does, repeated without harm, listed in pages that stay."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from house import START, House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from newsletter.machines.answers import KEPT
from newsletter.tables import items, lists, requests

KEYED = {"Idempotency-Key": "one"}


def item(**values: Any) -> dict[str, Any]:
    return {"title": "Corinto", "summary": "One queue.", "url": "https://e.example/1", **values}


def count(house: House, table: Any = items) -> int:
    with house.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def faults(answer: httpx.Response) -> dict[str, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == answer.status_code
    assert told["detail"].endswith((".", "`errors`."))
    return {
        fault.get("pointer") or fault.get("parameter") or fault.get("header", ""): fault["detail"]
        for fault in told.get("errors", ())
    }


def test_publishing_and_revising(house: House, api: httpx.Client) -> None:
    """New is 201, just so again 200; a change is a revision that keeps number and position. Names become codes."""
    sent = item(countries=["Guatemala"], regions=["Central America"], themes=["Children"], body="<p onclick=x>Hi</p>")
    first = api.post("/api/v1/items", json=sent)
    assert (first.status_code, first.json()["outcome"]) == (201, "added")
    made = first.json()["item"]
    assert (made["countries"], made["regions"], made["themes"]) == (["GT"], ["013"], ["children"])
    assert made["body"] == "<p>Hi</p>"
    again = api.post("/api/v1/items", json=sent)
    assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
    changed = api.post("/api/v1/items", json={**sent, "title": "Corinto II"}).json()
    assert changed["outcome"] == "revised"
    assert changed["item"]["title"] == "Corinto II"
    assert [changed["item"][name] for name in ("id", "position", "revision")] == [made["id"], made["position"], 2]
    assert api.get(f"/api/v1/items/{made['id']}").json() == changed["item"]
    assert count(house) == 1


def test_a_picture(api: httpx.Client) -> None:
    """A picture is kept and shown; what is none is named and left out, and its item is kept, alone and in a batch."""
    made = api.post("/api/v1/items", json=item(image="https://rutas.example/a.jpg", image_alt="A bridge")).json()
    assert (made["item"]["image"], made["item"]["image_alt"]) == ("https://rutas.example/a.jpg", "A bridge")
    assert made["left_out"] == []
    wrong = item(image="ftp://rutas.example/a.jpg")
    told = api.post("/api/v1/items", json=wrong).json()
    assert (told["outcome"], told["item"]["image"], told["left_out"][0]["pointer"]) == ("revised", None, "/image")
    (one,) = api.post("/api/v1/items", json={"items": [wrong]}).json()["results"]
    assert (one["outcome"], one["left_out"][0]["pointer"]) == ("unchanged", "/items/0/image")


def test_an_undated_title_with_another_text(api: httpx.Client) -> None:
    """A title that came today with another text is asked about (409), as an import does."""
    api.post("/api/v1/items", json={"title": "Notes", "summary": "One."})
    answer = api.post("/api/v1/items", json={"title": "Notes", "summary": "Two."})
    assert answer.status_code == 409
    assert "external_id" in answer.json()["detail"]
    told = api.post("/api/v1/items", json={"items": [{"title": "Notes", "summary": "Two."}]}).json()
    assert (told["refused"], told["results"][0]["errors"][0]["pointer"]) == (1, "/items/0/title")


def test_a_dated_title_with_two_texts(api: httpx.Client) -> None:
    """Of two texts under one title and date a batch keeps the first and names the other; a later request corrects."""
    one, two = ({"title": "Notes", "summary": text, "published_at": "2026-06-30"} for text in ("One.", "Two."))
    told = api.post("/api/v1/items", json={"items": [one, two]}).json()
    assert (told["added"], told["refused"], told["results"][1]["errors"][0]["pointer"]) == (1, 1, "/items/1/title")
    assert api.post("/api/v1/items", json=two).json()["outcome"] == "revised"


def test_a_batch(house: House, api: httpx.Client) -> None:
    """What cannot be published is refused by itself, each field named; the others are kept. 101 are too many."""
    wrong = item(url="ftp://x", themes=["protecton"], countries=["Guatemalla"], published_at="soon", language="?")
    told = api.post("/api/v1/items", json={"items": [item(), wrong, item(), item(title="B")]}).json()
    assert [told[name] for name in ("added", "revised", "unchanged", "refused")] == [1, 1, 1, 1]
    assert [result["outcome"] for result in told["results"]] == ["added", "refused", "unchanged", "revised"]
    named = {fault["pointer"]: fault["detail"] for fault in told["results"][1]["errors"]}
    assert {*named} == {f"/items/1/{name}" for name in ("url", "themes", "countries", "published_at", "language")}
    assert "Did you mean protection?" in named["/items/1/themes"]
    assert count(house) == 1
    answer = api.post("/api/v1/items", json={"items": [item()] * 101})
    assert (answer.status_code, faults(answer)) == (422, {"/items": "It has too many parts: at most 100."})


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"{", 400, None),
        (b"\xff\xfe", 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"title": ' + b"9" * 5000 + b"}", 400, None),
        (b"", 422, ""),
        (b"[]", 422, ""),
        (b'"x"', 422, ""),
        (b'{"titel": "x", "title": "\\ud800"}', 422, "/title"),
        (b'{"title": NaN}', 422, "/title"),
        (b'{"title": "\\u0000", "summary": "s"}', 422, "/title"),
        (b'{"title": "x"}', 422, "/summary"),
        (b'{"title": "x", "summary": "s", "url": "https://e.example/\\u0000"}', 422, "/url"),
        (b'{"title": "x", "summary": "s", "published_at": "0001-01-01T00:00:00+14:00"}', 422, "/published_at"),
        (b'{"items": []}', 422, "/items"),
    ],
)
def test_bad_bodies(api: httpx.Client, body: bytes, status: int, where: str | None) -> None:
    """Whatever is sent gets a sentence, and the field that is wrong its own."""
    answer = api.post("/api/v1/items", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert (where is None) or where in faults(answer)


def test_other_content_types(api: httpx.Client) -> None:
    """A body that is not announced as JSON is told so; one beyond 2 MB is refused."""
    answer = api.post("/api/v1/items", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 422
    assert "application/json" in answer.json()["detail"]
    assert api.post("/api/v1/items", json={"items": [item(body="x" * 90_000)] * 3}).status_code == 200
    for path, size in (("/api/v1/items", 2_000_001), ("/api/v1/lists/rutas/subscriptions", 70_000)):
        connection = HTTPConnection(api.base_url.host, api.base_url.port or 0)
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        large = connection.getresponse()
        assert (large.status, large.headers["content-type"]) == (413, "application/problem+json")
        connection.close()


def test_pages_and_filters(house: House, api: httpx.Client) -> None:
    """Filters: places as readers' picks match them, themes with what is below them, since, withdrawn."""
    house.publish("gt", countries=("GT",), themes=("children",))
    house.publish("region", regions=("013",), themes=("trade",))
    house.pass_time(days=1)
    house.publish("fr", countries=("FR",))

    def titles(query: str) -> list[str]:
        return [found["title"] for found in api.get(f"/api/v1/items?{query}").json()["items"]]

    assert titles("") == ["fr", "region", "gt"]
    assert titles("country=Honduras") == ["region"]
    assert titles("country=013") == ["region", "gt"]
    assert titles("country=GT&country=FR") == ["fr", "region", "gt"]
    assert titles("theme=protection") == ["gt"]
    assert titles("theme=trade&country=FR") == []
    assert titles("since=2026-11-25") == ["fr"]
    number = api.get("/api/v1/items?country=GT&theme=children").json()["items"][0]["id"]
    house.pass_time(days=1)
    withdrawn = api.post(f"/api/v1/items/{number}/withdraw")
    assert withdrawn.json()["withdrawn_at"] == "2026-11-26T08:00:00Z"
    assert api.post(f"/api/v1/items/{number}/withdraw").json() == withdrawn.json()
    assert titles("country=GT&theme=children") == []
    assert titles("since=2026-11-26&withdrawn=true") == ["gt"]
    wrong = api.get("/api/v1/items?country=Guatemalla&theme=x&since=soon&limit=0&after=x&list=%00")
    assert {*faults(wrong)} == {"limit", "after", "list"}
    assert {*faults(api.get("/api/v1/items?country=x%00&theme=x&since=soon"))} == {"country", "theme", "since"}
    for missing in ("999", str(2**63 - 1)):
        assert api.get(f"/api/v1/items/{missing}").status_code == 404
    assert api.get(f"/api/v1/items/{2**63}").status_code == 422


@given(
    st.lists(st.sampled_from("ax."), min_size=1, max_size=12),
    st.lists(st.integers(0, 3), max_size=8),
    st.integers(1, 4),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_are_stable(house: House, api: httpx.Client, tags: list[str], added: list[int], limit: int) -> None:
    """Read page after page, each item that was there at the start comes once, whatever is added between the pages."""

    def publish(tag: str) -> None:
        titles.append(f"t{len(titles)}-{house.now:%H%M%S}")
        house.pass_time(seconds=1)
        house.publish(titles[-1], **({"countries": ("GT",)} if tag == "a" else {}))

    titles: list[str] = []
    with house.engine.begin() as connection:
        connection.execute(items.delete())
    for tag in tags:
        publish(tag)
    wanted = [title for title, tag in zip(titles, tags, strict=True) if tag == "a"]
    more = iter(added)
    seen: list[str] = []
    query = f"/api/v1/items?country=GT&limit={limit}"
    page = api.get(query).json()
    while True:
        assert len(page["items"]) <= limit
        seen += [found["title"] for found in page["items"]]
        for _ in range(next(more, 0)):
            publish("a")
        if page["next"] is None:
            break
        page = api.get(f"{query}&after={page['next']}").json()
    assert seen == wanted[::-1]


def test_idempotency(both: House, machine: Any) -> None:
    """The same key and body: the same answer, nothing done. Another body: 422. Another machine's key is its own.
    After 24 hours it is forgotten, and gone from the table."""
    api = machine()
    first = api.post("/api/v1/items", json=item(), headers=KEYED)
    with both.engine.begin() as connection:
        connection.execute(items.update().values(title="changed meanwhile"))
    again = api.post("/api/v1/items", json=item(), headers=KEYED)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    other = api.post("/api/v1/items", json=item(title="B"), headers=KEYED)
    assert other.status_code == 422
    assert "Idempotency-Key" in faults(other)
    assert machine().post("/api/v1/items", json=item(), headers=KEYED).json()["outcome"] == "revised"
    assert count(both, requests) == 2
    both.now += KEPT + timedelta(seconds=1)
    assert api.post("/api/v1/items", json=item(), headers={"Idempotency-Key": "two"}).json()["outcome"] == "unchanged"
    assert count(both, requests) == 1
    assert api.post("/api/v1/items", json=item(title="C"), headers=KEYED).json()["outcome"] == "revised"
    for bad in ("", "x" * 201, "a b"):
        assert api.post("/api/v1/items", json=item(), headers={"Idempotency-Key": bad}).status_code == 422


def test_a_refusal_is_not_kept(house: House, api: httpx.Client) -> None:
    """What was refused did nothing: the key is free for the mended request."""
    assert api.post("/api/v1/items", json=item(themes=["x"]), headers=KEYED).status_code == 422
    assert api.post("/api/v1/items", json=item(), headers=KEYED).status_code == 201


def test_at_the_same_time(both: House, machine: Any) -> None:
    """Of requests with one key that come at once one does the work, and all get its answer."""
    first = machine()
    token = first.headers["authorization"].removeprefix("Bearer ")
    clients = [first, *(machine(token=token) for _ in range(3))]
    answers: list[httpx.Response] = []
    barrier = threading.Barrier(len(clients))

    def send(client: httpx.Client) -> None:
        barrier.wait()
        answers.append(client.post("/api/v1/items", json=item(), headers=KEYED))

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == len(clients) - 1
    assert count(both) == 1


def test_only_its_own_list(house: House, machine: Any) -> None:
    """A token for one list sees and changes no other; one for all has to say which, once there are several."""
    (number,) = house.publish("one")
    first = house.list_id
    with house.engine.begin() as connection:
        row = connection.execute(select(lists)).one()._asdict()
        other = {**row, "id": first + 1, "slug": "other", "last_position": 0}
        connection.execute(lists.insert().values(**other))
    outside = machine(list_id=first + 1)
    assert outside.get(f"/api/v1/items/{number}").status_code == 404
    assert outside.post(f"/api/v1/items/{number}/withdraw").status_code == 404
    assert outside.get("/api/v1/items?list=rutas").status_code == 404
    assert outside.get("/api/v1/lists/rutas").status_code == 404
    assert [found["slug"] for found in outside.get("/api/v1/lists").json()["lists"]] == ["other"]
    assert outside.post("/api/v1/items", json=item()).json()["item"]["list"] == "other"
    everything = machine()
    assert {*faults(everything.post("/api/v1/items", json=item()))} == {"list"}
    assert everything.post("/api/v1/items?list=rutas", json=item()).json()["item"]["position"] == 2
    with house.engine.begin() as connection:
        connection.execute(lists.update().where(lists.c.slug == "other").values(archived_at=START))
    assert outside.post("/api/v1/items", json=item()).status_code == 409
    assert json.loads(outside.get("/api/v1/items").text)["items"]
