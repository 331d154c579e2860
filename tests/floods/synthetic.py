"""Floods of known cause: what usually arrives, and what arrives while a cause adds to it.

Everything is made of one seed: the form of the payloads (some fields of many kinds, nested, sparse, mixed), how their
values are spread, the cause, and how much of the arrivals it makes up.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

Event = dict[str, Any]
Draw = Callable[[Random, float], Any]
"""A value, at a time in seconds since the beginning."""

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HISTORY = 6 * 3600.0
"""Seconds of ordinary arrivals before a flood."""
LASTING = 1200.0
"""Seconds that a flood lasts."""

WORDS = (
    *("north", "river", "amber", "cedar", "delta", "ember", "flint", "grove", "harbor", "iris", "jade", "karst"),
    *("lotus", "maple", "noon", "opal", "pine", "quartz", "reef", "slate", "tidal", "umber", "vale", "willow"),
)
KEYS = (
    *("vendor_id", "region", "plan", "source", "amount", "currency", "customer", "channel", "kind", "priority"),
    *("tenant", "locale", "device", "status", "score", "rows", "retries", "weight", "campaign", "carrier", "store"),
    *("category", "shard", "method", "path", "agent", "email", "host", "label", "color", "size", "mode", "stage"),
)
ODD_KEYS = ("user-agent", "x:trace", "a b", "größe", "in", "2fa", "it's", "a.b")


@dataclass
class Flood:
    kind: str
    baseline: list[Event]
    arrivals: list[Event]
    """The sample of what arrives; in order, as the baseline is."""
    unseen: list[Event]
    """More of what arrives, for the judgement."""
    cause: str
    """In words."""
    is_of: Callable[[Event], bool]
    share: float
    more: Callable[[int], tuple[list[Event], list[Event]]]
    """So many further events of what arrives, and of the baseline, for a second look."""


@dataclass
class Form:
    """How events look: by path, how a value is drawn, and how often there is one."""

    draws: dict[tuple[str, ...], tuple[Draw, float]] = field(default_factory=dict)
    kinds: dict[tuple[str, ...], str] = field(default_factory=dict)
    values: dict[tuple[str, ...], list[Any]] = field(default_factory=dict)

    def event(self, random: Random, at: float) -> Event:
        event: Event = {
            "id": f"{random.getrandbits(64):016x}",
            "name": "thing/changed",
            "ts": int((START + timedelta(seconds=at)).timestamp() * 1000),
            "data": {},
        }
        for path, (draw, presence) in self.draws.items():
            if random.random() < presence:
                put(event, path, draw(random, at))
        return event

    def of(self, *kinds: str) -> list[tuple[str, ...]]:
        return [path for path, kind in self.kinds.items() if kind in kinds]


def put(event: Event, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        event = event.setdefault(key, {})
    event[path[-1]] = value


def take(event: Event, path: tuple[str, ...]) -> Any:
    """The value, or `MISSING`."""
    found: Any = event
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return MISSING
        found = found[key]
    return found


def drop(event: Event, path: tuple[str, ...]) -> None:
    above = take(event, path[:-1])
    if isinstance(above, dict):
        above.pop(path[-1], None)


UNSEEN = 2000
"""Events to judge a filter on."""

MISSING: Any = object()


def make_form(random: Random, fields: int, *, sparse: bool) -> Form:
    form = Form()
    parents: list[tuple[str, ...]] = [("data",), ("data",), ("data",)]
    for _ in range(random.choice((0, 1, 2, 3))):
        parents.append((*random.choice(parents), random.choice(WORDS)))
    for _ in range(random.choice((0, 0, 1))):
        parents.append(("user",))
    while len(form.draws) < fields:
        key = random.choice(ODD_KEYS) if random.random() < 0.08 else random.choice(KEYS)
        if random.random() < 0.3:
            key = f"{key}_{random.choice(WORDS)}"
        path = (*random.choice(parents), key)
        above = any(other[: len(path)] == path for other in (*form.draws, *parents))
        if above or any(path[: len(other)] == other for other in form.draws):
            continue
        kind = random.choices(
            (
                "enum",
                "bool",
                "number",
                "id",
                "sequence",
                "time",
                "due",
                "tags",
                "items",
                "text",
                "email",
                "route",
                "few",
            ),
            (10, 3, 6, 2, 1, 1, 2, 2, 2, 2, 2, 2, 3),
        )[0]
        presence = (
            random.uniform(0.05, 0.7) if sparse and random.random() < 0.6 else random.choice((1, 1, 1, 0.98, 0.8))
        )
        draw, values = _draw(random, kind)
        form.draws[path] = draw, presence
        form.kinds[path] = kind
        form.values[path] = values
    return form


def _draw(random: Random, kind: str) -> tuple[Draw, list[Any]]:
    if kind == "enum":
        names = random.sample(WORDS, random.randrange(2, 20))
        values: list[Any] = [f"{name}_{random.randrange(100)}" if random.random() < 0.3 else name for name in names]
        weights = [1 / (rank + 1) ** random.choice((0, 1, 1.5)) for rank in range(len(values))]
        return (lambda r, at: r.choices(values, weights)[0]), values
    if kind == "few":
        numbers: list[Any] = list(range(random.randrange(2, 7)))
        return (lambda r, at: r.choice(numbers)), numbers
    if kind == "bool":
        share = random.uniform(0.05, 0.95)
        return (lambda r, at: r.random() < share), [True, False]
    if kind == "number":
        return _number(random), []
    if kind == "id":
        return (lambda r, at: f"{r.getrandbits(80):020x}"), []
    if kind == "sequence":
        first, pace = random.randrange(10**6), random.uniform(1, 40)
        return (lambda r, at: first + int(at * pace) + r.randrange(3)), []
    if kind == "time":
        form = random.choice(("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d", "%H:%M", "%H"))
        return (lambda r, at: (START + timedelta(seconds=at - r.random())).strftime(form)), []
    if kind == "due":
        days = random.randrange(5, 400)
        form = random.choice(("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"))
        return (lambda r, at: (START + timedelta(days=r.uniform(-days, days))).strftime(form)), [days]
    if kind == "tags":
        tags = random.sample(WORDS, 10)
        return (lambda r, at: r.sample(tags, r.randrange(0, 4))), list(tags)
    if kind == "items":
        skus = [f"sku-{random.randrange(1000)}" for _ in range(random.randrange(4, 200))]

        def items(r: Random, at: float) -> Any:
            return [{"sku": r.choice(skus), "quantity": r.randrange(1, 9)} for _ in range(r.randrange(1, 4))]

        return items, list(skus)
    if kind == "email":
        hosts = [f"{word}.example" for word in random.sample(WORDS, 6)]
        return (lambda r, at: f"{r.choice(WORDS)}{r.randrange(10**5)}@{r.choice(hosts)}"), list(hosts)
    if kind == "route":
        roots = random.sample(WORDS, 5)
        return (lambda r, at: f"/{r.choice(roots)}/{r.choice(WORDS)}/{r.randrange(10**6)}"), list(roots)
    return (lambda r, at: " ".join(r.choice(WORDS) for _ in range(r.randrange(2, 9)))), []


def _number(random: Random) -> Draw:
    spread = random.choice(("uniform", "lognormal", "normal", "fraction"))
    top = 10 ** random.randrange(1, 7)
    if spread == "uniform":
        return lambda r, at: r.randrange(top + 5)
    if spread == "lognormal":
        return lambda r, at: round(r.lognormvariate(0, 1) * top, 2)
    if spread == "normal":
        return lambda r, at: int(r.gauss(top, top / 5))
    return lambda r, at: round(r.random(), 4)


@dataclass
class Cause:
    words: str
    force: Callable[[Random, Event], None]
    is_of: Callable[[Event], bool]


def _equal(path: tuple[str, ...], value: Any) -> Cause:
    def is_of(event: Event) -> bool:
        found = take(event, path)
        return found is not MISSING and type(found) is type(value) and found == value

    return Cause(f"{'.'.join(path)} == {value!r}", lambda r, event: put(event, path, value), is_of)


def _any_equal(random: Random, form: Form, *, known: bool | None = None) -> Cause:
    """Of a value that is usual (`known`), or has never been."""
    path = random.choice(form.of("enum"))
    if known is None:
        known = random.random() < 0.5
    return _equal(path, random.choice(form.values[path]) if known else f"{random.choice(WORDS)}_inc")


def _both(causes: list[Cause]) -> Cause:
    def force(random: Random, event: Event) -> None:
        for each in causes:
            each.force(random, event)

    return Cause(" && ".join(c.words for c in causes), force, lambda event: all(c.is_of(event) for c in causes))


def _several(random: Random, form: Form, number: int) -> Cause:
    paths = random.sample(form.of("enum", "few", "bool"), number)
    return _both([_equal(path, random.choice(form.values[path])) for path in paths])


def _nested(random: Random, form: Form) -> Cause:
    path = ("data", *random.sample(WORDS, random.randrange(2, 5)), random.choice(KEYS))
    values = random.sample(WORDS, 6)
    form.draws[path] = (lambda r, at: r.choice(values)), 1.0
    return _equal(path, random.choice([*values, "looping"]))


def _range(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("number"))
    draw = form.draws[path][0]
    dice = Random(random.random())
    drawn = sorted(draw(dice, 0.0) for _ in range(2000))
    form.draws[path] = draw, 1.0
    side = random.choice(("above", "below", "between", "beyond"))
    at = random.uniform(0.05, 0.3)
    low = drawn[int(2000 * (1 - at))] if side == "above" else drawn[int(2000 * random.uniform(0.1, 0.7))]
    high = drawn[int(2000 * at)] if side == "below" else drawn[-1]
    if side == "below":
        low = drawn[0]
    if side == "between":
        high = drawn[min(1999, int(2000 * random.uniform(0.05, 0.2)) + drawn.index(low))]
    if side == "beyond":
        low, high = drawn[-1] * 1.5 + 1, drawn[-1] * 4 + 2
    whole = isinstance(drawn[0], int)
    if random.random() < 0.6 and low > 20 and side != "below":
        step = 10 ** (math.floor(math.log10(low)) - 1)
        low = round(low / step) * step
    if side == "above":
        high = max(high, low * 1.5 + 3)

    def force(r: Random, event: Event) -> None:
        put(event, path, r.randint(math.ceil(low), math.floor(high)) if whole else round(r.uniform(low, high), 4))

    def is_of(event: Event) -> bool:
        found = take(event, path)
        return isinstance(found, int | float) and low <= found and (found <= high or side in ("above", "beyond"))

    return Cause(f"{'.'.join(path)} in [{low}, {high}] ({side})", force, is_of)


def _due(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("due"))
    (days,) = form.values[path]
    draw = form.draws[path][0]
    form.draws[path] = draw, 1.0
    length = len(draw(Random(1), 0.0))
    written = "%Y-%m-%d" if length == 10 else "%Y-%m-%dT%H:%M:%SZ"
    edge = START.replace(hour=0) + timedelta(days=round(random.uniform(0.3, 0.8) * days))

    def force(r: Random, event: Event) -> None:
        put(event, path, (edge + timedelta(days=r.uniform(0, days))).strftime(written))

    text = edge.strftime(written)
    return Cause(f"{'.'.join(path)} >= {text}", force, lambda event: take(event, path) >= text)


def _prefix(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("text", "id", "route"))
    form.draws[path] = form.draws[path][0], 1.0
    prefix = random.choice(("load-test-", "import:", "tmp_", "/v9/export/", "Timeout after ", "bulk"))

    def force(r: Random, event: Event) -> None:
        put(event, path, f"{prefix}{r.getrandbits(32)}")

    return Cause(f"{'.'.join(path)} begins with {prefix}", force, lambda event: take(event, path).startswith(prefix))


def _suffix(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("email"))
    form.draws[path] = form.draws[path][0], 1.0
    host = "@" + random.choice([*form.values[path], "spam.example", "mailinator.com"])

    def force(r: Random, event: Event) -> None:
        put(event, path, f"{r.choice(WORDS)}{r.randrange(10**6)}{host}")

    return Cause(f"{'.'.join(path)} ends in {host}", force, lambda event: take(event, path).endswith(host))


def _member(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("tags"))
    form.draws[path] = form.draws[path][0], 1.0
    tag = random.choice([*form.values[path], "retry-storm"])

    def force(r: Random, event: Event) -> None:
        tags = [*take(event, path), tag]
        put(event, path, r.sample(tags, len(tags)))

    return Cause(f"{tag} in {'.'.join(path)}", force, lambda event: tag in take(event, path))


def _item(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("items"))
    form.draws[path] = form.draws[path][0], 1.0
    sku = random.choice([*form.values[path], "sku-x"])

    def force(r: Random, event: Event) -> None:
        put(event, path, [*take(event, path), {"sku": sku, "quantity": 1}])

    def is_of(event: Event) -> bool:
        return any(item["sku"] == sku for item in take(event, path))

    return Cause(f"{'.'.join(path)} has {sku}", force, is_of)


def _absent(random: Random, form: Form) -> Cause:
    path = random.choice([each for each in form.draws if form.draws[each][1] > 0.75])
    form.draws[path] = form.draws[path][0], random.choice((1.0, 0.99, 0.9))

    def is_of(event: Event) -> bool:
        return take(event, path) is MISSING and isinstance(take(event, path[:-1]), dict)

    def force(r: Random, event: Event) -> None:
        put(event, (*path[:-1], "kept"), 1)
        drop(event, path)

    form.draws[(*path[:-1], "kept")] = (lambda r, at: 1), 1.0
    return Cause(f"no {'.'.join(path)}", force, is_of)


def _null(random: Random, form: Form) -> Cause:
    path = random.choice([each for each in form.draws if form.draws[each][1] > 0.5])
    return Cause(
        f"{'.'.join(path)} is null", lambda r, event: put(event, path, None), lambda event: take(event, path) is None
    )


def _type(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("number", "few"))
    form.draws[path] = form.draws[path][0], 1.0

    def force(r: Random, event: Event) -> None:
        put(event, path, str(take(event, path)))

    return Cause(f"{'.'.join(path)} is a string", force, lambda event: isinstance(take(event, path), str))


def _boolean(random: Random, form: Form) -> Cause:
    path = random.choice(form.of("bool"))
    rare = random.uniform(0.01, 0.4)
    value = random.random() < 0.5
    form.draws[path] = (lambda r, at: value if r.random() < rare else not value), 1.0
    return _equal(path, value)


def _brackets(random: Random, form: Form) -> Cause:
    path = ("data", random.choice(("user-agent", "x:trace", "a b", "größe", "in", "it's", "a.b/c", "ключ")))
    values = random.sample(WORDS, 5)
    form.draws[path] = (lambda r, at: r.choice(values)), 1.0
    return _equal(path, random.choice([*values, "curl/8"]))


def _mixed(random: Random, form: Form) -> Cause:
    """A value in one field and a range in another."""
    return _both([_any_equal(random, form), _range(random, form)])


KINDS: dict[str, Callable[[Random, Form], Cause]] = {
    "equality": _any_equal,
    "usual value": lambda random, form: _any_equal(random, form, known=True),
    "two conjuncts": lambda random, form: _several(random, form, 2),
    "three conjuncts": lambda random, form: _several(random, form, 3),
    "nested": _nested,
    "range": _range,
    "times": _due,
    "prefix": _prefix,
    "suffix": _suffix,
    "member": _member,
    "element": _item,
    "absent": _absent,
    "null": _null,
    "type": _type,
    "boolean": _boolean,
    "brackets": _brackets,
    "value and range": _mixed,
    "decoys": _any_equal,
    "sparse": _any_equal,
    "two shapes": _any_equal,
}


def make_flood(seed: int, sampled: int = 4000) -> Flood:
    """The flood of that number: its kind goes round."""
    random = Random(f"flood {seed}")
    kind = list(KINDS)[seed % len(KINDS)]
    form = make_form(random, random.choice((3, 6, 10, 16, 25, 40, 60)), sparse=kind == "sparse")
    _complete(random, form)
    cause = KINDS[kind](random, form)
    if kind == "decoys":
        _add_decoys(random, form)
    other = make_form(random, 8, sparse=False) if kind == "two shapes" else None
    share = 1 / (1 + math.exp(random.uniform(-3.9, 3.9)))

    def usual(at: float) -> Event:
        if other is not None and random.random() < 0.5:
            return {**other.event(random, at), "name": "other/made"}
        return form.event(random, at)

    def arrival(at: float) -> Event:
        if random.random() >= share:
            return usual(at)
        event = copy.deepcopy(form.event(random, at))
        cause.force(random, event)
        return event

    before = sorted(random.uniform(0, HISTORY) for _ in range(sampled))
    during = [HISTORY + random.uniform(0, LASTING) for _ in range(sampled + UNSEEN)]
    return Flood(
        kind,
        [usual(at) for at in before],
        [arrival(at) for at in sorted(during[:sampled])],
        [arrival(at) for at in sorted(during[sampled:])],
        cause.words,
        _guarded(cause.is_of),
        share,
        lambda count: (
            [arrival(HISTORY + random.uniform(0, LASTING)) for _ in range(count)],
            [usual(random.uniform(0, HISTORY)) for _ in range(count)],
        ),
    )


def _complete(random: Random, form: Form) -> None:
    """At least one field of each kind that a cause may want."""
    wanted = {"enum": 3, "few": 1, "bool": 1, "number": 1, "due": 1, "tags": 1, "items": 1, "text": 1, "email": 1}
    for kind, number in wanted.items():
        while len(form.of(kind)) < number:
            path = ("data", f"{random.choice(KEYS)}_{random.randrange(1000)}")
            draw, values = _draw(random, kind)
            form.draws[path] = draw, 1.0
            form.kinds[path], form.values[path] = kind, values


def _add_decoys(random: Random, form: Form) -> None:
    """Fields that change with the time of arrival, whatever arrives."""
    day = timedelta(days=1)

    def version(r: Random, at: float) -> str:
        return "2.1" if at >= HISTORY - 60 else "2.0"

    def gradual(r: Random, at: float) -> str:
        return f"build-{int(at // 900)}"

    decoys: dict[str, Draw] = {
        "order_no": lambda r, at: f"order-{int(at * 3)}",
        "serial": lambda r, at: int(at * 7) + r.randrange(20),
        "created_at": lambda r, at: (START + timedelta(seconds=at)).isoformat(),
        "epoch": lambda r, at: round((START + timedelta(seconds=at)).timestamp(), 3),
        "day": lambda r, at: (START + day * int(at // 7200)).strftime("%Y-%m-%d"),
        "hour": lambda r, at: (START + timedelta(seconds=at)).hour,
        "minute": lambda r, at: (START + timedelta(seconds=at)).minute,
        "ulid": lambda r, at: f"{int(at * 1000):010X}{r.getrandbits(40):010X}",
        "build": gradual,
        "version": version,
    }
    for name in random.sample(list(decoys), random.randrange(3, len(decoys) + 1)):
        form.draws[("data", name)] = decoys[name], 1.0


def _guarded(is_of: Callable[[Event], bool]) -> Callable[[Event], bool]:
    def guarded(event: Event) -> bool:
        try:
            return is_of(event)
        except (AttributeError, TypeError):  # of events of another shape
            return False

    return guarded
