"""Events as they arrive on an ordinary day, and on this one: nested, irregular, and a few without a field."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import Any

VENDORS = (
    *("globex", "initech", "umbrella", "hooli", "stark_industries", "wayne_enterprises", "wonka", "tyrell"),
    *("cyberdyne", "soylent", "massive_dynamic", "vandelay", "dunder_mifflin", "pied_piper", "oscorp"),
)
VENDOR_WEIGHTS = tuple(1 / rank for rank in range(1, len(VENDORS) + 1))
REGIONS = ("eu", "us", "apac", "latam")
CURRENCIES = {"eu": "EUR", "us": "USD", "apac": "SGD", "latam": "BRL"}
PLANS = ("free", "team", "business", "enterprise")
WORDS = ("north", "river", "amber", "cedar", "delta", "ember", "flint", "grove", "harbor", "iris")

LACKS_A_FIELD = 1 / 4000
"""The share of the vendors' events that an older client sent, without `vendor_id`."""


def vendor_sync(random: Random, moment: datetime) -> dict[str, Any]:
    vendor = random.choices(VENDORS, VENDOR_WEIGHTS)[0]
    return _vendor_event(random, moment, vendor, random.choice(("api", "schedule", "webhook")))


def looping_vendor_sync(random: Random, moment: datetime) -> dict[str, Any]:
    return _vendor_event(random, moment, "acme_inc", "webhook")


def _vendor_event(random: Random, moment: datetime, vendor: str, source: str) -> dict[str, Any]:
    region = random.choices(REGIONS, (5, 3, 2, 1))[0]
    items: list[dict[str, Any]] = [
        {
            "sku": f"{random.choice(WORDS)}-{random.randrange(1000)}",
            "quantity": random.randrange(1, 9),
            "price": random.randrange(199, 9999) / 100,
        }
        for _ in range(random.randrange(1, 4))
    ]
    data: dict[str, Any] = {
        "vendor_id": vendor,
        "amount": round(sum(item["quantity"] * item["price"] for item in items), 2),
        "currency": CURRENCIES[region],
        "source": source,
        "region": region,
        "items": items,
        "sync": {"kind": random.choice(("delta", "delta", "full")), "cursor": random.randrange(10**9)},
    }
    if random.random() < LACKS_A_FIELD:
        del data["vendor_id"]
    return _event(random, moment, "vendor/sync", data)


def invoice(random: Random, moment: datetime) -> dict[str, Any]:
    region = random.choice(REGIONS)
    data: dict[str, Any] = {
        "invoice_id": f"inv_{random.randrange(10**8):08}",
        "amount": random.randrange(900, 250_000) / 100,
        "currency": CURRENCIES[region],
        "region": region,
        "customer": {"id": f"cus_{random.randrange(10**5):05}", "plan": random.choice(PLANS)},
        "overdue": random.random() < 0.1,
    }
    if random.random() < 0.002:
        del data["amount"]
    return _event(random, moment, "invoice/due", data)


def contact_import(random: Random, moment: datetime) -> dict[str, Any]:
    data = {
        "upload_id": f"upl_{random.randrange(10**6):06}",
        "source": random.choice(("csv", "csv", "hubspot", "salesforce")),
        "rows": random.randrange(1, 5000),
        "tags": random.sample(WORDS, random.randrange(0, 3)),
        "region": random.choice(REGIONS),
    }
    return _event(random, moment, "contacts/uploaded", data)


def signup(random: Random, moment: datetime) -> dict[str, Any]:
    data = {"plan": random.choice(PLANS), "locale": random.choice(("en", "de", "fr", "pt", "ja")), "trial": True}
    return _event(random, moment, "user/created", data)


def lead(random: Random, moment: datetime) -> dict[str, Any]:
    data = {
        "lead_id": f"lead_{random.randrange(10**6):06}",
        "score": random.choice((None, round(random.random(), 3))),
        "campaign": {"name": f"{random.choice(WORDS)}-{random.randrange(2020, 2027)}", "paid": random.random() < 0.4},
        "region": random.choice(REGIONS),
    }
    return _event(random, moment, "lead/changed", data)


def digest(random: Random, moment: datetime) -> dict[str, Any]:
    data = {"team_id": f"team_{random.randrange(5000):04}", "sections": random.sample(WORDS, 3)}
    return _event(random, moment, "digest/due", data)


def _event(random: Random, moment: datetime, name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"evt_{random.getrandbits(64):016x}",
        "name": name,
        "ts": int(moment.timestamp() * 1000),
        "data": data,
        "user": {"id": f"usr_{random.randrange(20_000):05}"},
    }
