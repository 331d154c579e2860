"""A Citus cluster, where a Postgres with Citus is installed: a coordinator, and two nodes that have the apps."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from secateur.postgres.embedded import EmbeddedPostgres

SCRIPT = Path(__file__).parents[2] / "docs" / "citus.sql"
SETTINGS = {"fsync": "off", "shared_preload_libraries": "citus", "citus.shard_count": "8", "max_connections": "100"}
SECONDS = 120


def citus_binaries() -> Path | None:
    """Of the newest Postgres on this machine that has Citus."""
    for binaries in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (binaries.parent / "lib" / "citus.so").exists() and (binaries / "psql").exists():
            return binaries
    return None


@dataclass(frozen=True, slots=True)
class Cluster:
    coordinator: EmbeddedPostgres
    workers: dict[str, EmbeddedPostgres]
    """By the name that Citus has for them."""
    binaries: Path

    def run(self, *statements: str, on: EmbeddedPostgres | None = None) -> str:
        """What the statements print, without any decoration."""
        return self._psql(on, *(part for statement in statements for part in ("-c", statement)))

    def distribute(self) -> None:
        """As operations.md says: after an install."""
        self._psql(None, "-f", str(SCRIPT))

    def node_of(self, app_id: str) -> EmbeddedPostgres:
        """The node that has the app's rows, or will."""
        name = self.run(
            "select node.nodename from pg_dist_placement join pg_dist_node as node using (groupid)"
            f" where shardid = get_shard_id_for_distribution_column('secateur.apps', '{app_id}'::text)"
        )
        return self.workers[name]

    def _psql(self, on: EmbeddedPostgres | None, *arguments: str) -> str:
        url = (on or self.coordinator).url
        ran = subprocess.run(
            [self.binaries / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()


@contextmanager
def running_cluster(binaries: Path) -> Iterator[Cluster]:
    """Nodes know each other by their sockets' directories: no network, no password."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(EmbeddedPostgres(binaries=binaries, settings=SETTINGS)) for _ in range(3)]
        coordinator, *workers = nodes
        cluster = Cluster(coordinator, {str(node.socket_directory): node for node in workers}, binaries)
        for node in nodes:
            cluster.run(
                f"alter system set citus.local_hostname = '{node.socket_directory}'",
                "select pg_reload_conf()",
                "create extension citus",
                on=node,
            )
        cluster.run(
            f"select citus_set_coordinator_host('{coordinator.socket_directory}', 5432)",
            *(f"select citus_add_node('{name}', 5432)" for name in cluster.workers),
        )
        yield cluster
