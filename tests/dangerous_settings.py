"""Settings of a session with which Postgres computes, parses, prints or plans otherwise, each with such a value."""

DANGEROUS = {
    "extra_float_digits": "0",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "gin_fuzzy_search_limit": "1",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "plan_cache_mode": "force_generic_plan",
}
