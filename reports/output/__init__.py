"""What a report is written as: HTML, Markdown, LaTeX, CSV, and text for a terminal."""
