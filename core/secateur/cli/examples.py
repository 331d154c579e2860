"""Two examples for each command, shown at the end of its help. Each is run by a test."""

A_RUN = "0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b"
A_PROPOSAL = "2b1d7f3e-5a64-4d0c-9b63-0f2f6f1f3c55"
A_CANCELLATION = "8f14e45f-ceea-467f-9a36-dd4a2c6f1b7e"

EXAMPLES: dict[str, tuple[str, str]] = {
    "forget": ("secateur forget billing old-syncs", "secateur forget retired --yes"),
    "engines": ("secateur engines", "secateur engines --database postgresql://on_call@db.internal/shop"),
    "doctor": ("secateur doctor", "secateur doctor --context production --json"),
    "gate": (
        "secateur gate install --engine procrastinate",
        "secateur gate check --engine procrastinate --json",
    ),
    "install": (
        "secateur install --database postgresql://admin@db.internal/jobs",
        "secateur install --engine procrastinate --check --json",
    ),
    "demo": ("secateur demo", "secateur demo --runs 50000"),
    "worker": (
        "secateur worker jobs:billing --concurrency 20",
        "secateur worker jobs:billing --grace 60s --name billing-1",
    ),
    "serve": ("secateur serve", "secateur serve --port 8080"),
    "watch": ("secateur watch --check", "secateur watch --context production --once --json"),
    "token": ("secateur token list", "secateur token create ci --scope operator --expires 30d"),
    "completion": ("secateur completion bash", "secateur completion fish"),
    "depth": ("secateur depth --watch", "secateur depth --history 2h --app billing"),
    "history": (
        "secateur history --limit 10",
        "secateur history --app billing --state active --since yesterday",
    ),
    "export": (
        "secateur export --app billing --function vendor-syncs",
        "secateur export --app billing --if 'event.data.n > 7' --status any",
    ),
    "send": (
        """secateur send --name vendor/sync --data '{"vendor_id": "globex"}'""",
        "secateur send --event event.json --idempotency-key 4211",
    ),
    "enqueue": (
        """secateur enqueue billing vendor-syncs --data '{"n": 1}'""",
        "secateur enqueue billing vendor-syncs --event event.json --json",
    ),
    "runs": (
        "secateur runs --app billing",
        "secateur runs --app billing --status queued --if 'event.data.id == 7'",
    ),
    "run": (f"secateur run {A_RUN}", f"secateur run {A_RUN} --json"),
    "why": (f"secateur why {A_RUN}", f"secateur why {A_RUN} --json"),
    "suggest": (
        "secateur suggest --app billing",
        "secateur suggest --app billing --function vendor-syncs --since -30m",
    ),
    "advise": (
        "secateur advise --app billing --if 'event.data.amount > 100'",
        "secateur advise --list --json",
    ),
    "postmortem": (
        f"secateur postmortem {A_CANCELLATION}",
        f"secateur postmortem --context production {A_CANCELLATION}",
    ),
    "show": (f"secateur show {A_CANCELLATION}", f"secateur show {A_RUN} --json"),
    "preview": (
        "secateur preview --app billing --if 'event.data.amount > 100'",
        "secateur preview --request body.json --json",
    ),
    "cancel": (
        "secateur cancel --app billing --function vendor-syncs --after -2h",
        "secateur cancel --request body.json --yes --wait --json",
    ),
    "retry": (
        "secateur retry --app billing --after yesterday",
        "secateur retry --app billing --cancelled --dry-run",
    ),
    "propose": (
        "secateur propose --app billing --function vendor-syncs --after -2h",
        "secateur propose --request body.json --reasoning 'acme floods' --json",
    ),
    "proposals": ("secateur proposals", "secateur proposals --all --json"),
    "approve": (f"secateur approve {A_PROPOSAL}", f"secateur approve {A_PROPOSAL} --yes --json"),
    "reject": (f"secateur reject {A_PROPOSAL}", f"secateur reject {A_PROPOSAL} --json"),
    "budget": ("secateur budget", "secateur budget --app payments --runs 10000"),
    "mcp": ("secateur mcp", "secateur mcp --context production"),
    "stop": (f"secateur stop {A_CANCELLATION}", f"secateur stop {A_CANCELLATION} --json"),
    "undo": (
        f"secateur undo {A_CANCELLATION}",
        f"secateur undo {A_CANCELLATION} --yes --wait",
    ),
    "cancel-run": (
        f"secateur cancel-run {A_RUN}",
        f"secateur cancel-run {A_RUN} --reason 'a typo'",
    ),
    "restore-run": (
        f"secateur restore-run {A_RUN}",
        f"secateur restore-run {A_RUN} --requeue-stopped",
    ),
    "pause": ("secateur pause billing", "secateur pause billing vendor-syncs --yes"),
    "resume": ("secateur resume billing", "secateur resume billing vendor-syncs --yes"),
    "audit": ("secateur audit", "secateur audit --app billing --limit 20"),
    "retention": ("secateur retention", "secateur retention --finished 30d"),
    "eval": (
        "secateur eval 'event.data.amount > 100' --event event.json",
        "secateur eval '1 + 1 == 2' --in both",
    ),
}
