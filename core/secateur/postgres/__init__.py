"""One Postgres database: its address, sessions, errors and statements; and an embedded one."""
