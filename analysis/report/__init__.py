"""Writing artefacts: figures, Markdown, LaTeX, CSV and the HTML report."""
