"""Building the index: CPU, wall, memory, log and size."""

from __future__ import annotations

from benches.index import servers
from benches.index.servers import Cluster, Config, Work


def build(cluster: Cluster, config: Config, dbname: str | None = None, settings: tuple[str, ...] = ()) -> dict:
    """A new index in the configuration's database, or in another one, with settings of its own."""
    session = servers.connect(cluster, dbname or config.key)
    try:
        for setting in settings:
            session.must(setting)
        session.must("DROP INDEX IF EXISTS embedding_idx")
        session.must("CHECKPOINT")
        # A build reads the whole table: the first to run must not pay for a cold cache.
        session.must("SELECT count(*) FROM items WHERE embedding IS NULL")
        notices: list[str] = []
        session.conn.notice_handler = lambda result: notices.append(result.error_message.decode().strip())
        with Work(session) as work:
            session.must(config.index_sql)
        for notice in notices:
            servers.note(notice)
        budget = servers.number(
            session, "SELECT setting::bigint * 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'"
        )
        return work.figures() | {
            "budget_bytes": budget,
            "notices": notices,
            "index_bytes": servers.number(session, "SELECT pg_relation_size('embedding_idx')"),
            "table_bytes": servers.number(session, "SELECT pg_table_size('items')"),
        }
    finally:
        session.close()


def middle(builds: list[dict]) -> dict:
    """Of several builds the one with the median CPU, with what each of them cost."""
    return sorted(builds, key=lambda b: b["cpu_s"])[len(builds) // 2] | {"cpu_s_builds": [b["cpu_s"] for b in builds]}
