"""Tables as LaTeX with booktabs and graphicx."""

import re
import unicodedata

from analysis.artefacts.artefact import Artefact, Cell, Measured, Published, Table
from analysis.artefacts.number_format import groups_of, notes_of, to_text

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "#": r"\#", "$": r"\$", "%": r"\%", "&": r"\&", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''",
    "[": "{[}", "]": "{]}", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$",
    "→": r"$\rightarrow$", "·": r"$\cdot$", "≈": r"$\approx$", "∞": r"$\infty$", "†": r"\textsuperscript{$\dagger$}",
    "–": "--", "—": "---", "…": r"\ldots{}", "“": "``", "”": "''", "‘": "`", "’": "'", "√": r"$\surd$",
    "°": r"$^\circ$", "²": "$^2$", "³": "$^3$", "µ": r"$\mu$", "½": "1/2",
}


def escape(text: str) -> str:
    """Text that LaTeX sets as it is; of letters that it lacks the code is left."""
    return "".join(map(_escape, " ".join(str(text).split())))


def _escape(letter: str) -> str:
    if letter in SPECIAL or letter.isascii():
        return SPECIAL.get(letter, letter)
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(letter, ""))
    if greek and greek[2] not in ("OMICRON", "LAMDA"):
        name = greek[2].lower()
        # Capitals that look like Latin ones have no command.
        if greek[1] == "SMALL" or name in ("gamma", "delta", "theta", "xi", "pi", "sigma", "upsilon", "phi", "psi"):
            return f"$\\{name if greek[1] == 'SMALL' else name.capitalize()}$"
    if greek and greek[2] == "LAMDA":
        return r"$\lambda$" if greek[1] == "SMALL" else r"$\Lambda$"
    latin = letter.isprintable() and ("À" <= letter <= "ÿ") and letter not in "×÷Ðð"
    return letter if latin else f"U+{ord(letter):04X}"


def to_latex(artefact: Artefact) -> str:
    """All tables of an artefact, for a document that loads booktabs and graphicx."""
    tables = [
        _table(artefact, table, section.setting, f"-{place + 1}" if place else "")
        for place, section in enumerate(artefact.sections)
        for table in section.tables
    ]
    return "\n".join(["% needs \\usepackage{booktabs,graphicx}", *tables])


def _table(artefact: Artefact, table: Table, setting: str, suffix: str) -> str:
    # LaTeX numbers tables itself: the paper's number comes last.
    number, title = artefact.title.split(": ", 1)
    title = f"{title[0].upper()}{title[1:]}. {table.title}" + (f" ({setting})" if setting else "")
    title += f". {number} of the paper."
    numbers = [any(not isinstance(row[at], str) for row in table.rows) for at in range(len(table.columns))]
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{escape(title)}}}",
        rf"\label{{tab:{artefact.name}-{table.name}{suffix}}}", r"\small",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{% as wide as the text at most",
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numbers)}}}", r"\toprule",
        *_heading(table), r"\midrule", *(_row(map(_cell, row)) for row in table.rows), r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\smallskip{{\footnotesize {escape(note)}}}" for note in notes_of(table)), r"\end{table}", "",
    ]
    return "\n".join(lines)


def _heading(table: Table) -> list[str]:
    names = _row(escape(name) for _, name in table.columns)
    groups, first, cells, rules = groups_of(table.columns), 1, [], []
    for group, span in groups:
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(group)}}}")
        rules += [rf"\cmidrule(lr){{{first}-{first + span - 1}}}"] if group else []
        first += span
    return [_row(cells), " ".join(rules), names] if rules else [names]


def _row(cells) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = escape(to_text(cell))
    if isinstance(cell, Measured | Published) and cell.best:
        text = rf"\textbf{{{text}}}"
    return rf"\textit{{{text}}}" if isinstance(cell, Published) else text
