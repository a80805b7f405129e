"""What the command line and the page tell alike: words, records without secrets, timelines."""
