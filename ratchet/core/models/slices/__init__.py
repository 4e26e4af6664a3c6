"""Where a challenger got worse: conditions on inputs (`columns`), and the search among them (`search`)."""
