"""A small backlog with a flood in it, as events and as the shape that a sample of it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secateur.cel.authoring.shapes import Sampler, Shape

VENDORS = ("acme_inc", "acme_inc", "acme_inc", "globex", "initech")
REGIONS = ("eu", "us", "eu")


def _event(number: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        "vendor_id": VENDORS[number % 5],
        "amount": number % 90 + (0.5 if number % 4 == 0 else 0),
        "code": str(number % 7),
        "region": REGIONS[number % 3],
        "live": number % 2 == 0,
        "order id": number,
        "received": "2024-01-21T00:00:00Z",
        "items": [{"sku": f"sku-{number % 3}", "quantity": 1 + number % 2}],
    }
    event = {"id": f"event-{number}", "name": "vendor/sync", "ts": 1_705_795_200_000 + number, "data": data}
    return event | ({"user": {"plan": "pro"}} if number % 2 else {})


EVENTS = [_event(number) for number in range(1_000)]


def summarise(payloads: Iterable[Any]) -> Shape:
    sampler = Sampler()
    for payload in payloads:
        sampler.add(payload)
    return sampler.shape()


SHAPE = summarise(EVENTS)
