"""The page and the tables of an audit, from the content of audit.json."""
