import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from analysis.report.latex import escape, to_latex
from tests.analysis.report.samples import ODD, sample_artefact, sample_table


def test_a_table_is_booktabs():
    expected = r"""% needs \usepackage{booktabs,graphicx}
\begin{table}
\centering
\caption{$<$ablation$>$. $\delta$ \& 100\% of\_it (recipe=mini). Table 1 of the paper.}
\label{tab:table1-ablation}
\small
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{% as wide as the text at most
\begin{tabular}{lrrrrr}
\toprule
\multicolumn{1}{c}{} & \multicolumn{2}{c}{ours} & \multicolumn{1}{c}{paper} & \multicolumn{2}{c}{AP from 1} \\
\cmidrule(lr){2-3} \cmidrule(lr){4-4} \cmidrule(lr){5-6}
$\delta$ & AP & AP75 & AP & ours & n \\
\midrule
1 $<$b$>$ & \textbf{29.0 $\pm$ 0.5} & missing & \textit{\textbf{53.1}} & -- & 7 \\
a$|$b\_c & 26.0 \textsuperscript{$\dagger$} & 26.0 \textsuperscript{$\dagger$} & \textit{50.2} & $-$3.0 $\pm$ 0.9 & 7 \\
\bottomrule
\end{tabular}}
\par\smallskip{\footnotesize A note of \$5.}
\par\smallskip{\footnotesize \textsuperscript{$\dagger$} one seed, no interval}
\end{table}
"""
    assert to_latex(sample_artefact()) == expected


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("$a_1$ \\ 100% {b}", r"\$a\_1\$ \textbackslash{} 100\% \{b\}"),
        ("a--b ''", "a-{}-b '{}'"),
        ("α Δ Α λ Ω ϛ", r"$\alpha$ $\Delta$ U+0391 $\lambda$ $\Omega$ U+03DB"),
        ("é 数 \x07", "é U+6570 U+0007"),
    ],
)
def test_text_is_set_as_it_is(text, escaped):
    assert escape(text) == escaped


@pytest.mark.latex
def test_latex_compiles_whatever_the_characters(tmp_path):
    if not shutil.which("pdflatex"):
        message = "pdflatex is not installed"
        pytest.fail(message) if os.environ.get("REQUIRE_LATEX") else pytest.skip(message)
    odd_table = replace(sample_table("other", ODD), columns=[("", "δ"), *[("", 3 * ODD[:20])] * 5])
    body = to_latex(sample_artefact(tables=[sample_table(), odd_table], setting=ODD))
    greek_and_latin = "".join(map(chr, [*range(0x00, 0x180), *range(0x370, 0x400)]))
    packages = r"\usepackage{booktabs,graphicx}"
    words = " ".join(map(escape, [ODD, " ".join(greek_and_latin)]))
    document = (
        rf"\documentclass{{article}}{packages}\begin{{document}}{body}\begin{{sloppypar}}{words}\end{{sloppypar}}"
    )
    (tmp_path / "paper.tex").write_text(document + r"\end{document}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Missing character" not in log and "Overfull" not in log
