"""What a run produced, as tables, figures and sentences: HTML that opens offline, Markdown, and `results.json`."""
