"""Writing artefacts, claims and runs as Markdown, LaTeX, CSV, PNG, PDF, SVG and one HTML page."""
