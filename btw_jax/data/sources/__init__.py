"""One file per source: what it yields knows no model and no batch."""
