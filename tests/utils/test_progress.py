from src.utils.progress import progress_bar


def test_a_bar_goes_on_after_what_was_done_before():
    with progress_bar(["c", "d", "e"], "letters", done=2) as bar:
        assert str(bar).startswith("letters:  40%") and " 2/5 " in str(bar)
        assert list(bar) == ["c", "d", "e"] and " 5/5 " in str(bar)
    assert list(progress_bar(iter("ab"), "letters", shown=False)) == ["a", "b"]  # of which nobody knows how many
