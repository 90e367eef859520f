"""Programs: flags in, files and tables out."""
