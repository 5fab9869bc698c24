"""From local files to rows: which files a path means, what they are, how they are opened, and the fields of a row."""
