"""What runs: source.sql, ledger.sql, ledger_schema.sql. What a DBA runs: clienthist.sql, grants.sql, index.sql."""
