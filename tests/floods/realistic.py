"""Floods as they are told in postmortems: payloads of a shop, a mailer, webhooks and an import, and what went wrong.

Made independently of `synthetic`, and not used to tune the search. Here the payloads have a meaning: fields depend on
each other, identifiers and times are everywhere, and the usual traffic changes over the day.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from synthetic import UNSEEN, Flood

Event = dict[str, Any]
EPOCH = datetime(2026, 9, 14, tzinfo=UTC)
FOLDERS = ("crm", "erp", "legacy")
BEFORE, DURING = 4 * 3600.0, 900.0


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _iso(at: float) -> str:
    return (EPOCH + timedelta(seconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def order(random: Random, at: float) -> Event:
    country = random.choices(("DE", "FR", "US", "GB", "JP", "BR"), (30, 20, 25, 10, 10, 5))[0]
    lines = [
        {
            "sku": f"{random.choice('ABCD')}-{int(random.paretovariate(0.6)) % 400:04}",
            "qty": random.choice((1, 1, 1, 2, 3, 10)),
            "price_cents": random.choice((499, 999, 1999, 4999, 12900)),
        }
        for _ in range(random.choice((1, 1, 2, 3, 5)))
    ]
    event: Event = {
        "id": _uuid(random),
        "name": "order/placed",
        "ts": int(at * 1000),
        "data": {
            "order": {
                "number": 500_000 + int(at * 9) + random.randrange(4),
                "placed_at": _iso(at - random.random()),
                "total_cents": sum(line["qty"] * line["price_cents"] for line in lines),
                "currency": {"US": "USD", "GB": "GBP", "JP": "JPY", "BR": "BRL"}.get(country, "EUR"),
                "lines": lines,
                "coupon": random.choice((None, None, None, "WELCOME10", "SUMMER26")),
            },
            "customer": {
                "id": f"cus_{random.randrange(10**9):09}",
                "email": f"{random.choice(('ann', 'bob', 'li', 'omar'))}{random.randrange(9999)}@"
                + random.choice(("gmail.com", "web.de", "outlook.com", "orange.fr")),
                "country": country,
                "tier": random.choices(("free", "plus", "pro"), (70, 20, 10))[0],
                "returning": random.random() < 0.6,
            },
            "channel": random.choices(("web", "ios", "android", "pos"), (50, 20, 20, 10))[0],
            "checksum": hashlib.sha256(str(random.random()).encode()).hexdigest(),
        },
    }
    if random.random() < 0.15:
        event["data"]["gift"] = {"wrap": random.choice(("red", "blue")), "note": "Happy birthday!"}
    return event


def mail(random: Random, at: float) -> Event:
    template = random.choices(("receipt", "digest", "reset", "invite", "alert"), (40, 30, 10, 10, 10))[0]
    return {
        "id": _uuid(random),
        "name": "mail/send",
        "data": {
            "template": template,
            "version": random.choice((3, 3, 3, 4)),
            "to": f"user{random.randrange(10**6)}@" + random.choice(("acme.com", "initech.io", "hooli.com", "web.de")),
            "from": "noreply@example.com",
            "subject": f"{template.title()} #{random.randrange(10**5)}",
            "locale": random.choices(("en", "de", "fr", "pt-BR"), (60, 20, 15, 5))[0],
            "attempt": random.choices((0, 1, 2, 3), (90, 6, 3, 1))[0],
            "size_kb": round(random.lognormvariate(2.5, 0.8), 1),
            "headers": {
                "x-campaign": random.choice(("none", "sept", "welcome")),
                "list-unsubscribe": random.random() < 0.5,
            },
            "tags": random.sample(("bulk", "transactional", "eu", "vip", "test"), random.randrange(3)),
            "track": random.random() < 0.8,
        },
        "user": {"id": random.randrange(10**7), "plan": random.choice(("basic", "team", "enterprise"))},
    }


def webhook(random: Random, at: float) -> Event:
    provider = random.choices(("stripe", "github", "shopify", "slack"), (40, 30, 20, 10))[0]
    return {
        "id": f"evt_{random.getrandbits(96):024x}",
        "name": "webhook/received",
        "ts": int(at * 1000) + random.randrange(1000),
        "data": {
            "provider": provider,
            "type": f"{provider}.{random.choice(('created', 'updated', 'deleted', 'ping'))}",
            "delivery": {"id": _uuid(random), "attempt": random.choice((1, 1, 1, 1, 2, 3)), "sent_at": _iso(at)},
            "http": {
                "user-agent": f"{provider.title()}-Hook/{random.choice(('1.0', '1.1', '2.3'))}",
                "path": f"/hooks/{provider}/{random.randrange(300)}",
                "ip": f"10.{random.randrange(4)}.{random.randrange(256)}.{random.randrange(256)}",
                "status": random.choices((200, 202, 400, 500), (80, 15, 3, 2))[0],
                "latency_ms": int(random.gammavariate(2, 60)),
            },
            "account": f"acct_{int(random.paretovariate(0.8)) % 60:03}",
            "livemode": random.random() < 0.9,
            "payload_bytes": int(random.lognormvariate(7, 1)),
            "signature": f"{random.getrandbits(256):064x}",
        },
    }


def record(random: Random, at: float) -> Event:
    """A row of an import."""
    event: Event = {
        "id": _uuid(random),
        "name": "import/row",
        "data": {
            "job": f"job-{int(at / 1800)}",
            "file": f"s3://uploads/{random.choice(FOLDERS)}/{_iso(at)[:10]}/{random.randrange(50)}.csv",
            "line": int(at * 30) % 100_000,
            "source": random.choices(("crm", "erp", "sheet"), (50, 40, 10))[0],
            "schema": random.choices(("v1", "v2"), (30, 70))[0],
            "columns": random.choice((12, 12, 14, 31)),
            "dry_run": random.random() < 0.1,
            "errors": [
                {"code": random.choice(("E_DATE", "E_NULL", "E_DUP")), "column": random.randrange(12)}
                for _ in range(random.choices((0, 1, 2), (85, 10, 5))[0])
            ],
            "value": round(random.expovariate(1 / 300), 2),
            "birthday": (EPOCH - timedelta(days=random.uniform(6000, 30000))).strftime("%Y-%m-%d"),
            "region": {"zone": random.choice(("a", "b", "c")), "dc": random.choice(("fra1", "iad2", "sin1"))},
        },
    }
    if random.random() < 0.4:
        event["data"]["operator"] = random.choice(("ann", "joe", "system"))
    return event


@dataclass
class Story:
    kind: str
    schema: Callable[[Random, float], Event]
    spoil: Callable[[Random, Event, int], None]
    """Makes an ordinary event one of the flood; the number chooses one of several such stories."""
    is_of: Callable[[Event, int], bool]


def _line(event: Event, sku: str) -> bool:
    return any(line["sku"] == sku for line in event["data"]["order"]["lines"])


def _set(*path: str, to: Callable[[Random, int], Any]) -> Callable[[Random, Event, int], None]:
    def spoil(random: Random, event: Event, number: int) -> None:
        for key in path[:-1]:
            event = event[key]
        event[path[-1]] = to(random, number)

    return spoil


def _all(*spoils: Callable[[Random, Event, int], None]) -> Callable[[Random, Event, int], None]:
    def spoil(random: Random, event: Event, number: int) -> None:
        for each in spoils:
            each(random, event, number)

    return spoil


def _pick(*values: Any) -> Callable[[Random, int], Any]:
    return lambda random, number: values[number % len(values)]


def _drop(*path: str) -> Callable[[Random, Event, int], None]:
    def spoil(random: Random, event: Event, number: int) -> None:
        for key in path[:-1]:
            event = event[key]
        event.pop(path[-1], None)

    return spoil


ACCOUNTS = ("acct_001", "acct_017", "acct_new")
COUNTRIES = ("BR", "JP", "DE")
HOSTS = ("hooli.com", "mailinator.com", "acme.com")
SKUS = ("A-0001", "B-0042", "PROMO-1")


def _mail_to(random: Random, event: Event, number: int) -> None:
    event["data"]["to"] = f"x{random.randrange(10**6)}@{HOSTS[number % 3]}"


def _add_line(random: Random, event: Event, number: int) -> None:
    event["data"]["order"]["lines"].append({"sku": SKUS[number % 3], "qty": 1, "price_cents": 1})


def _tag(random: Random, event: Event, number: int) -> None:
    event["data"]["tags"] = sorted({*event["data"]["tags"], ("vip", "bulk", "replay")[number % 3]})


def _slow(random: Random, number: int) -> int:
    return random.randrange((400, 800, 2000)[number % 3], 9000)


STORIES = (
    Story(
        "one account",
        webhook,
        _set("data", "account", to=_pick(*ACCOUNTS)),
        lambda event, number: event["data"]["account"] == ACCOUNTS[number % 3],
    ),
    Story(
        "a country and a channel",
        order,
        _all(
            _set("data", "customer", "country", to=_pick(*COUNTRIES)), _set("data", "channel", to=_pick("ios", "pos"))
        ),
        lambda event, number: (
            event["data"]["customer"]["country"] == COUNTRIES[number % 3]
            and event["data"]["channel"] == ("ios", "pos")[number % 2]
        ),
    ),
    Story(
        "template, locale and campaign",
        mail,
        _all(
            _set("data", "template", to=_pick("digest", "invite")),
            _set("data", "locale", to=_pick("de", "pt-BR")),
            _set("data", "headers", "x-campaign", to=_pick("sept", "welcome")),
        ),
        lambda event, number: (
            event["data"]["template"] == ("digest", "invite")[number % 2]
            and event["data"]["locale"] == ("de", "pt-BR")[number % 2]
            and event["data"]["headers"]["x-campaign"] == ("sept", "welcome")[number % 2]
        ),
    ),
    Story(
        "slow calls",
        webhook,
        _set("data", "http", "latency_ms", to=_slow),
        lambda event, number: event["data"]["http"]["latency_ms"] >= (400, 800, 2000)[number % 3],
    ),
    Story("a mail host", mail, _mail_to, lambda event, number: event["data"]["to"].endswith("@" + HOSTS[number % 3])),
    Story("a product", order, _add_line, lambda event, number: _line(event, SKUS[number % 3])),
    Story("a tag", mail, _tag, lambda event, number: ("vip", "bulk", "replay")[number % 3] in event["data"]["tags"]),
    Story(
        "without a source",
        record,
        _drop("data", "source"),
        lambda event, number: "source" not in event["data"],
    ),
    Story(
        "null coupon of one tier",
        order,
        _all(_set("data", "order", "coupon", to=_pick(None)), _set("data", "customer", "tier", to=_pick("pro"))),
        lambda event, number: event["data"]["order"]["coupon"] is None and event["data"]["customer"]["tier"] == "pro",
    ),
    Story(
        "a null value",
        record,
        _set("data", "value", to=_pick(None)),
        lambda event, number: event["data"]["value"] is None,
    ),
    Story(
        "numbers as texts",
        record,
        _set("data", "columns", to=_pick("12", "31")),
        lambda event, number: isinstance(event["data"]["columns"], str),
    ),
    Story(
        "not live",
        webhook,
        _set("data", "livemode", to=_pick(False)),
        lambda event, number: event["data"]["livemode"] is False,
    ),
    Story(
        "files of one folder",
        record,
        _set("data", "file", to=lambda random, number: f"s3://uploads/reimport/{random.randrange(10**6)}.csv"),
        lambda event, number: event["data"]["file"].startswith("s3://uploads/reimport/"),
    ),
    Story(
        "an agent",
        webhook,
        _set("data", "http", "user-agent", to=_pick("curl/8.5", "Stripe-Hook/1.0")),
        lambda event, number: event["data"]["http"]["user-agent"] == ("curl/8.5", "Stripe-Hook/1.0")[number % 2],
    ),
    Story(
        "retries",
        mail,
        _set("data", "attempt", to=lambda random, number: random.randrange(2, 9)),
        lambda event, number: event["data"]["attempt"] >= 2,
    ),
    Story(
        "birthdays in the future",
        record,
        _set(
            *("data", "birthday"),
            to=lambda random, number: (EPOCH + timedelta(days=random.uniform(1, 9000))).strftime("%Y-%m-%d"),
        ),
        lambda event, number: event["data"]["birthday"] > EPOCH.strftime("%Y-%m-%d"),
    ),
)


def make_flood(seed: int, sampled: int) -> Flood:
    """As `synthetic.make_flood`; the story goes round."""
    random = Random(f"story {seed}")
    story, number = STORIES[seed % len(STORIES)], seed // len(STORIES)
    share = 1 / (1 + math.exp(random.uniform(-3.9, 3.9)))

    def usual(at: float) -> Event:
        return story.schema(random, at)

    def arrival(at: float) -> Event:
        event = story.schema(random, at)
        if random.random() < share:
            story.spoil(random, event, number)
        return event

    before = sorted(random.uniform(0, BEFORE) for _ in range(sampled))
    during = sorted(random.uniform(BEFORE, BEFORE + DURING) for _ in range(sampled))
    unseen = [random.uniform(BEFORE, BEFORE + DURING) for _ in range(UNSEEN)]
    return Flood(
        story.kind,
        [usual(at) for at in before],
        [arrival(at) for at in during],
        [arrival(at) for at in unseen],
        f"{story.kind} ({number})",
        lambda event: story.is_of(event, number),
        share,
        lambda count: (
            [arrival(random.uniform(BEFORE, BEFORE + DURING)) for _ in range(count)],
            [usual(random.uniform(0, BEFORE)) for _ in range(count)],
        ),
    )
