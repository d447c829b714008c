"""The verdict where mail arrives: thin shells around `filters.judge` that pass mail on, whatever becomes of the judging."""
